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
from lictor.errors import (
    ApiError,
    ConflictError,
    LictorError,
    ObjectNotFoundError,
    SettingsError,
)
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

_RELEASE_SECONDS: Final = 5.0
_LAST_CALL_SECONDS: Final = 1.0
"""Shorter calls than this would fail for no other reason."""

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

        Raises:
            SettingsError: the times of the Lease do not leave room for each other.
        """
        _check(settings)
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
        self._written = False

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
        """Acquire the Lease and renew it; cancel it to stop, and `release` when all work has.

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
        if not self._written:
            return
        try:
            async with asyncio.timeout(_RELEASE_SECONDS):
                while not await self._given_up():
                    pass  # a renewal that was still on its way came first: read again
        except (ApiError, TimeoutError) as err:
            _LOG.warning("lease.kept", lease=self._settings.name, error=str(err))
        self._written = False
        self._held = None

    async def _renew(self) -> None:
        while True:
            left = self._left()
            await asyncio.sleep(min(self._settings.retry_seconds, max(left, 0.0)))
            # A call that stalls must leave time for another one, on another connection.
            left = self._left()
            if left > 0:
                await self._try(deadline=max(left / 2, min(left, _LAST_CALL_SECONDS)))
            if self._left() <= 0:
                raise LeaseLostError(
                    f"lease {self._key} was not renewed for "
                    f"{self._settings.renew_deadline_seconds:.0f} s"
                )

    def _left(self) -> float:
        age = self._clock.monotonic() - self._renewed
        return self._settings.renew_deadline_seconds - age

    async def _try(self, *, deadline: float) -> bool:
        """Take or renew the Lease where that is allowed; a failure is a no.

        Raises:
            LeaseLostError: another candidate holds what this one held.
        """
        began = self._clock.monotonic()
        try:
            async with asyncio.timeout(deadline):
                taken = await self._update_held() or await self._take()
        except (ApiError, TimeoutError) as err:
            _LOG.warning(
                "lease.unwritten", lease=self._settings.name, error=str(err) or type(err).__name__
            )
            return False
        if taken:
            self._renewed = began
        return taken

    async def _update_held(self) -> bool:
        """Renew from the state of our last write, which saves the read."""
        if self._held is None:
            return False
        held, self._held = self._held, None
        try:
            self._held = await self._writer.write(self._key, self._renewal(held))
        except (ConflictError, ObjectNotFoundError):
            return False
        return True

    async def _take(self) -> bool:
        found = await self._writer.read(self._key)
        if found is not None and not self._may_take(_spec(found)):
            if self.is_leader():
                holder = _spec(found).get("holderIdentity")
                raise LeaseLostError(f"lease {self._key} is held by {holder}")
            return False
        # From here on it may be ours, also where the answer never comes.
        self._written = True
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

    async def _given_up(self) -> bool:
        found = await self._writer.read(self._key)
        if found is None or _spec(found).get("holderIdentity") != self._identity:
            return True
        spec = dict(_spec(found)) | {"holderIdentity": "", "leaseDurationSeconds": 1}
        try:
            await self._writer.write(self._key, self._lease(found, spec))
        except ConflictError:
            return False
        return True

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
        _LOG.info("lease.held" if leading else "lease.ended", lease=self._settings.name)
        self._changed()


def _check(settings: LeaseSettings) -> None:
    """Demand what client-go demands: each time leaves room for the next shorter one."""
    lease, deadline = settings.duration_seconds, settings.renew_deadline_seconds
    if not lease > deadline > JITTER * settings.retry_seconds > 0:
        raise SettingsError(
            f"lease: durationSeconds {lease:g}, renewDeadlineSeconds {deadline:g}, retrySeconds "
            f"{settings.retry_seconds:g}: expected the first above the second, and the second "
            f"above {JITTER} times the third"
        )


def _spec(lease: Document) -> JsonObject:
    spec = lease.tree.get("spec")
    return spec if isinstance(spec, dict) else {}


def _micro_time(moment: datetime) -> str:
    """Write a `metav1.MicroTime`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
