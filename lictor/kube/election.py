"""Leader election by a Lease (KEP-589), with client-go's rules.

The Lease is no fence: a write that is on its way can land after the loss. So every write of ours
carries preconditions, and who writes asks `fresh` right before sending.
"""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from random import Random, SystemRandom
from typing import Final

from lictor.config.settings import LeaseSettings
from lictor.errors import ApiError, ConflictError, LictorError
from lictor.jsontypes import Json, JsonObject
from lictor.model.document import Document
from lictor.model.names import Gvr, ObjectKey
from lictor.ports.clock import Clock
from lictor.ports.lease_writer import LeaseWriter
from lictor.telemetry import metrics
from lictor.telemetry.logs import logger

LEASES: Final = Gvr("coordination.k8s.io", "v1", "leases")
JITTER: Final = 1.2
"""client-go's JitterFactor: a candidate waits retry x U(1, 1 + 1.2)."""

_RELEASE_TRIES: Final = 3
_LOG = logger(__name__)


class LeaseLostError(LictorError):
    """The Lease could not be renewed in time: stop whatever needs it, and end the process."""


class Elector:
    """One candidate. `run` it beside the work; the work asks `is_leader` and `fresh`."""

    def __init__(  # noqa: PLR0913 - wiring
        self,
        writer: LeaseWriter,
        settings: LeaseSettings,
        *,
        namespace: str,
        identity: str,
        clock: Clock,
        changed: Callable[[], None] = lambda: None,
        random: Random | None = None,
    ) -> None:
        """Be no leader yet.

        Args:
            writer: on a connection of its own.
            settings: name and times of the Lease.
            namespace: of the Lease.
            identity: names this process and no other, restarts included.
            clock: expiry is judged by its monotonic time, not by remote timestamps.
            changed: called when this process begins or ceases to lead.
            random: spreads the candidates.
        """
        self._writer = writer
        self._settings = settings
        self._key = ObjectKey(LEASES, namespace, settings.name)
        self._identity = identity
        self._clock = clock
        self._changed = changed
        self._random = random or SystemRandom()
        self._leading = asyncio.Event()
        self._renewed = 0.0
        self._observed: JsonObject = {}
        self._observed_at = 0.0
        self._held: Document | None = None

    def is_leader(self) -> bool:
        """Return whether this process holds the Lease, as far as it knows."""
        return self._leading.is_set()

    def fresh(self) -> bool:
        """Return whether a write that is sent now is still within the Lease."""
        age = self._clock.monotonic() - self._renewed
        return self._leading.is_set() and age < self._settings.renew_deadline_seconds

    async def wait_leader(self) -> None:
        """Wait until this process leads."""
        await self._leading.wait()

    async def run(self) -> None:
        """Acquire the Lease and renew it.

        Raises:
            LeaseLostError: it was lost. Another run would need other work to have stopped first.
        """
        while not await self._try(deadline=self._settings.renew_deadline_seconds):
            jitter = 1 + JITTER * self._random.random()
            await asyncio.sleep(self._settings.retry_seconds * jitter)
        self._set_leading(leading=True)
        try:
            await self._renew()
        finally:
            self._set_leading(leading=False)

    async def release(self) -> None:
        """Give the Lease up, once every writer has stopped, so that another need not wait."""
        if self._held is None:
            return
        for _ in range(_RELEASE_TRIES):
            try:
                await self._give_up()
            except ConflictError:
                continue
            except ApiError as err:
                _LOG.warning("lease not released", lease=self._settings.name, error=str(err))
            self._held = None
            return

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(self._settings.retry_seconds)
            left = self._settings.renew_deadline_seconds - (self._clock.monotonic() - self._renewed)
            # What is left bounds one stalled call, so that it can't outlast the deadline.
            if left > 0 and await self._try(deadline=left):
                continue
            if self._clock.monotonic() - self._renewed >= self._settings.renew_deadline_seconds:
                raise LeaseLostError(
                    f"lease {self._key} was not renewed for "
                    f"{self._settings.renew_deadline_seconds:.0f} s"
                )

    async def _try(self, *, deadline: float) -> bool:
        """Take or renew the Lease where that is allowed; every failure is a no."""
        began = self._clock.monotonic()
        try:
            async with asyncio.timeout(deadline):
                taken = await self._take()
        except (ApiError, TimeoutError) as err:
            _LOG.warning("lease not written", lease=self._settings.name, error=str(err))
            return False
        if taken:
            self._renewed = began
        return taken

    async def _take(self) -> bool:
        found = await self._writer.read(self._key)
        if found is not None and not self._may_take(_spec(found)):
            return False
        self._held = await self._writer.write(self._key, self._renewal(found))
        return True

    def _may_take(self, spec: JsonObject) -> bool:
        """Judge expiry by how long the record stood unchanged here: clock skew cannot matter."""
        if spec != self._observed:
            self._observed, self._observed_at = spec, self._clock.monotonic()
        holder = spec.get("holderIdentity")
        if not holder or holder == self._identity:
            return True
        duration = spec.get("leaseDurationSeconds")
        seconds = duration if isinstance(duration, int) else self._settings.duration_seconds
        return self._clock.monotonic() - self._observed_at > seconds

    def _renewal(self, found: Document | None) -> Document:
        now = _micro_time(self._clock.now())
        spec: JsonObject = dict(_spec(found)) if found else {}
        if spec.get("holderIdentity") != self._identity:
            transitions = spec.get("leaseTransitions")
            before = transitions if isinstance(transitions, int) else -1
            spec |= {"acquireTime": now, "leaseTransitions": before + 1}
        spec |= {
            "holderIdentity": self._identity,
            "renewTime": now,
            "leaseDurationSeconds": max(1, round(self._settings.duration_seconds)),
        }
        return self._lease(found, spec)

    async def _give_up(self) -> None:
        found = await self._writer.read(self._key)
        if found is None or _spec(found).get("holderIdentity") != self._identity:
            return
        spec = dict(_spec(found)) | {"holderIdentity": "", "leaseDurationSeconds": 1}
        await self._writer.write(self._key, self._lease(found, spec))

    def _lease(self, found: Document | None, spec: JsonObject) -> Document:
        metadata: Json = (
            found.tree["metadata"]
            if found
            else {"name": self._key.name, "namespace": self._key.namespace}
        )
        return Document.of(
            {
                "apiVersion": LEASES.api_version,
                "kind": "Lease",
                "metadata": metadata,
                "spec": spec,
            }
        )

    def _set_leading(self, *, leading: bool) -> None:
        (self._leading.set if leading else self._leading.clear)()
        metrics.LEADER.labels(lease=self._settings.name).set(leading)
        _LOG.info("leading" if leading else "not leading", lease=self._settings.name)
        self._changed()


def _spec(lease: Document) -> JsonObject:
    spec = lease.tree.get("spec")
    return spec if isinstance(spec, dict) else {}


def _micro_time(moment: datetime) -> str:
    """Write a `metav1.MicroTime`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
