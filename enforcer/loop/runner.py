"""Workers over the queue, the sweep, and the start of a leadership."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from enforcer.loop.parts import Limits, Stages
from enforcer.loop.reconcile import Reconciler
from enforcer.loop.values import Next, Result
from enforcer.record import OpenIntent, Recovery
from enforcer.workqueue import QueueClosedError, WorkQueue
from lictor.errors import ForbiddenError, InputError, LictorError, ThrottledError
from lictor.model.names import ObjectKey
from lictor.model.plan import WriteResult
from lictor.model.policy import BoundPolicy
from lictor.telemetry import metrics
from lictor.telemetry.logs import logger

_LOG: Final = logger(__name__)

_TICK_SECONDS: Final = 0.25
"""Gauges, changed surroundings and owed records: far below what anybody notices."""

_RECOVERY_SECONDS: Final = 1.0

_JITTER: Final = 0.1
"""Of the resync, as in controller-runtime."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How fast the loop runs.

    Attributes:
        random: a number in [0, 1), new at each call.
    """

    workers: int
    resync_seconds: float
    random: Callable[[], float]


class Loop:
    """Runs passes over keys until it is drained."""

    def __init__(
        self,
        stages: Stages,
        limits: Limits,
        *,
        queue: WorkQueue[ObjectKey],
        policies: Sequence[BoundPolicy],
        pace: Pace,
    ) -> None:
        led = stages.fence
        # Nothing is written before it is known what another life of this process left open.
        self._recovered = False
        stages = replace(stages, fence=lambda: self._recovered and led())
        self._stages = stages
        self._queue = queue
        self._policies = policies
        self._pace = pace
        self._reconciler = Reconciler(stages, limits)
        self._noticed: dict[ObjectKey, float] = {}
        self._sweeps = 0

    def notice(self, key: ObjectKey) -> None:
        """Add a key, and remember when it first was news."""
        self._noticed.setdefault(key, self._stages.clock.monotonic())
        self._queue.add(key)

    async def run(self) -> None:
        """Work until `drain`; the caches must be synced before."""
        self.sweep()
        async with asyncio.TaskGroup() as tasks:
            beside = tasks.create_task(self._keep_house(), name="housekeeping")
            async with asyncio.TaskGroup() as workers:
                for number in range(self._pace.workers):
                    workers.create_task(self._work(), name=f"worker-{number}")
            beside.cancel()

    async def drain(self) -> None:
        """Finish what is ready, and end `run`."""
        await self._queue.drain()

    def sweep(self) -> None:
        """Look at everything again."""
        self._stages.watch.sweep()
        self._reconciler.repairer.count_governed(self._policies)
        self._sweeps += 1

    async def lead(self, recovery: Recovery) -> None:
        """Begin as the leader: resolve what a process that died had begun, then look at it all."""
        while True:
            try:
                for intent in await asyncio.to_thread(recovery.find):
                    await self._resolve(intent)
                recovery.finish()
                self._recovered = True
                break
            except LictorError as err:
                _LOG.warning("recovery", error=str(err))
                await asyncio.sleep(_RECOVERY_SECONDS)
        self.sweep()

    async def _resolve(self, intent: OpenIntent) -> None:
        stages, document = self._stages, None
        try:
            document = await stages.live.get(intent.key)
        except (InputError, ForbiddenError):
            # It never can be looked up; the next leader would ask in vain as well.
            result = WriteResult.UNKNOWN
        else:
            result = intent.result(document, attest=stages.digester.attest)
        now = stages.clock.now().timestamp()
        if result is WriteResult.APPLIED and document is not None:
            # The process died between its write and the count of it.
            heat = stages.memory.heats.at(document.uid, now)
            await stages.memory.heats.add(document.uid, heat=heat, now=now)
        await stages.scribe.recovered(intent.record, result=result, after=document)
        _LOG.warning("recovered", op=intent.record.act, decision=result)

    async def _work(self) -> None:
        while True:
            try:
                key = await self._queue.get()
            except QueueClosedError:
                return
            started = self._stages.clock.monotonic()
            try:
                await self._pass(key)
            finally:
                self._queue.done(key)
                seconds = self._stages.clock.monotonic() - started
                metrics.RECONCILE_SECONDS.observe(seconds)

    async def _pass(self, key: ObjectKey) -> None:
        try:
            done = await self._reconciler.reconcile(key)
        except ThrottledError as err:
            done = Next(result=Result.RETRY, after_seconds=err.retry_after_seconds)
        except LictorError as err:
            _LOG.warning(
                "retry",
                resource=key.resource.resource,
                namespace=key.namespace,
                name=key.name,
                error=str(err),
            )
            done = Next(result=Result.ERROR, retry=True)
        except Exception:  # noqa: BLE001 (the root of one item: it must not stop the others)
            _LOG.exception(
                "reconcile-failed",
                resource=key.resource.resource,
                namespace=key.namespace,
                name=key.name,
            )
            done = Next(result=Result.ERROR, retry=True)
        self._schedule(key, done)

    def _schedule(self, key: ObjectKey, done: Next) -> None:
        metrics.RECONCILES.labels(kind=key.resource.resource, result=done.result).inc()
        noticed = self._noticed.get(key)
        if done.result in {Result.CLEAN, Result.GONE, Result.REPAIRED}:
            self._noticed.pop(key, None)
        if done.result is Result.REPAIRED and noticed is not None:
            metrics.CONVERGENCE_SECONDS.observe(self._stages.clock.monotonic() - noticed)
        if done.retry:
            self._queue.add_rate_limited(key)
            return
        self._queue.forget(key)
        if done.after_seconds is not None:
            self._queue.add_after(key, done.after_seconds)
        if done.also is not None:
            self._queue.add(done.also)

    async def _keep_house(self) -> None:
        clock = self._stages.clock
        due = clock.monotonic() + self._interval()
        while True:
            await asyncio.sleep(_TICK_SECONDS)
            self._queue.measure()
            self._stages.watch.flush()
            try:
                await self._reconciler.repairer.pay_owed()
                if clock.monotonic() >= due:
                    due = clock.monotonic() + self._interval()
                    await self._resync()
            except LictorError as err:
                _LOG.warning("housekeeping", error=str(err))

    async def _resync(self) -> None:
        # What no pass has met since the last sweep is not there any more.
        if self._queue.depth == 0:
            await self._reconciler.prune(complete=self._sweeps > 0)
        self.sweep()

    def _interval(self) -> float:
        return self._pace.resync_seconds * (1 - _JITTER + 2 * _JITTER * self._pace.random())
