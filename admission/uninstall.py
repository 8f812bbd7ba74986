"""Removes what makes the API server call the gate, while the gate still runs."""

import asyncio
from datetime import UTC
from typing import Final

from admission.registration import Registrar
from lictor.errors import ApiError, ConflictError
from lictor.jsontypes import JsonObject
from lictor.model.document import Document
from lictor.model.names import ObjectKey
from lictor.ports.clock import Clock
from lictor.ports.lease_writer import LeaseWriter
from lictor.telemetry.logs import logger

HELD_SECONDS: Final = 60
"""How long a gate that still runs is kept from registering itself again."""

IDENTITY: Final = "lictor-gate-uninstall"

_ATTEMPTS: Final = 10

_LOG = logger(__name__)


async def uninstall(
    registrar: Registrar,
    leases: LeaseWriter,
    *,
    lease: ObjectKey,
    secret: ObjectKey,
    settle_seconds: float,
    clock: Clock,
) -> None:
    """Take the lease, remove both configurations, then the Secret.

    The order is what matters: nothing may point at a gate that is gone, and a gate that still runs
    must not put back what was removed. `settle_seconds` is how long a leader may take to learn
    that it has lost its lease; what it has put back until then is removed again.

    Raises:
        ApiError: the API server refused or could not answer.
    """
    seized = await seize(leases, lease, clock=clock)
    await registrar.remove()
    if seized:
        await asyncio.sleep(settle_seconds)
        await registrar.remove()
    _LOG.info("registration.removed", name=registrar.settings.name)
    await registrar.writer.remove(secret)
    _LOG.info("certificate.removed", namespace=secret.namespace, name=secret.name)


async def seize(leases: LeaseWriter, key: ObjectKey, *, clock: Clock) -> bool:
    """Take the lease from whoever holds it; False where there is none to take.

    Raises:
        ApiError: the API server refused, or its holder renewed it faster each time.
    """
    for _ in range(_ATTEMPTS):
        found = await leases.read(key)
        if found is None:
            return False
        try:
            await leases.write(key, _taken(found, clock))
        except ConflictError:
            continue
        return True
    raise ApiError(f"{key} is renewed too often to be taken", code=409, reason="Conflict")


def _taken(lease: Document, clock: Clock) -> Document:
    tree = dict(lease.tree)
    spec = tree.get("spec")
    before: JsonObject = spec if isinstance(spec, dict) else {}
    transitions = before.get("leaseTransitions")
    # `MicroTime`: RFC 3339 with exactly six digits.
    now = clock.now().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    tree["spec"] = {
        **before,
        "holderIdentity": IDENTITY,
        "leaseDurationSeconds": HELD_SECONDS,
        "acquireTime": now,
        "renewTime": now,
        "leaseTransitions": (transitions if isinstance(transitions, int) else 0) + 1,
    }
    return Document.of(tree)
