"""The loop: workers, the sweep, draining, and the start of a leadership, on virtual time."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from enforcer.loop import Loop, Pace
from enforcer.record import OpenIntent, Recovery
from enforcer.workqueue import WorkQueue
from lictor.errors import ForbiddenError, StoreError
from lictor.model.audit_record import AuditRecord, ObjectSection, RecordType
from lictor.model.document import Document
from lictor.model.names import Gvr, ObjectKey
from lictor.policy import load
from lictor.ports.policy_source import PolicyFile
from lictor.telemetry import metrics
from testkit.enforcing import DEPLOYMENTS, deployment
from testkit.simulators.clock import LoopClock, run_virtual
from testkit.simulators.enforcer import SimulatedEnforcer

_LAW = load(
    [
        PolicyFile(
            "no-bad.yaml",
            b"""
apiVersion: lictor.dev/v1alpha1
kind: Policy
metadata: {name: no-bad}
spec:
  title: No label bad
  severity: high
  match:
    resourceRules:
      - {apiGroups: [apps], apiVersions: [v1], operations: [CREATE], resources: [deployments]}
  validations:
    - cel: {expression: "!('bad' in object.metadata.labels)", message: remove it}
  enforcement: {existing: enforce, settle: 0s}
""",
        )
    ]
)


class _Records(Recovery):
    """A recovery that finds what it is told to."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.finished = False
        self.found: tuple[OpenIntent, ...] = ()

    def find(self) -> tuple[OpenIntent, ...]:
        if self.failures:
            self.failures -= 1
            raise StoreError("not yet")
        return self.found

    def finish(self) -> None:
        self.finished = True


def _loop(enforcer: SimulatedEnforcer, *, workers: int = 2, resync: float = 600.0) -> Loop:
    queue: WorkQueue[ObjectKey] = WorkQueue(LoopClock(), limit=1000)
    pace = Pace(workers=workers, resync_seconds=resync, random=lambda: 0.5)
    stages = replace(enforcer.stages, clock=LoopClock())
    loop = Loop(stages, enforcer.limits, queue=queue, policies=_LAW.policies, pace=pace)
    enforcer.stages.watch.start(loop.notice)
    return loop


def _enforcer(names: Sequence[str] = ("web",)) -> SimulatedEnforcer:
    enforcer = SimulatedEnforcer(law=_LAW)
    enforcer.put(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}},
        resource=Gvr("", "v1", "namespaces"),
    )
    for name in names:
        enforcer.put(deployment(name=name, labels={"app": "web"}))
    return enforcer


async def _until(probe: Any) -> None:  # noqa: ANN401
    async with asyncio.timeout(3600):
        while not probe():  # noqa: ASYNC110 (what is waited for has no event)
            await asyncio.sleep(0.1)


def _is_good(enforcer: SimulatedEnforcer, name: str = "web") -> bool:
    found = enforcer.cluster.objects[ObjectKey(DEPLOYMENTS, "shop", name)]
    return "bad" not in (found.meta.labels or {})


def test_loop_repairs_once_it_leads_and_drains() -> None:
    """Baselines are seeded, a drift is repaired after the recovery, and drain ends the loop."""
    enforcer = _enforcer(["a", "b", "c"])

    async def scene() -> None:
        loop = _loop(enforcer)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(loop.run())
            await _until(lambda: len(enforcer.baselines.baselines) == 3)
            for name in "abc":
                enforcer.put(deployment(name=name, labels={"app": "web", "bad": "1"}))
            await asyncio.sleep(5)
            assert enforcer.writes() == []
            recovery = _Records(failures=2)
            await loop.lead(recovery)
            assert recovery.finished
            await _until(lambda: all(_is_good(enforcer, name) for name in "abc"))
            await loop.drain()

    run_virtual(scene())

    assert len(enforcer.writes()) == 3
    assert len(enforcer.records(RecordType.REMEDIATION_INTENT)) == 3


class _Unreadable:
    """Refuses every read, as after a right was withdrawn."""

    async def get(self, key: ObjectKey) -> Document | None:
        raise ForbiddenError(f"{key} may not be read", code=403, reason="Forbidden")


def test_loop_leads_where_an_open_intent_may_not_be_looked_up() -> None:
    """An object that may not be read any more does not keep the enforcer from its work."""
    enforcer = _enforcer()
    record = AuditRecord(
        type=RecordType.REMEDIATION_INTENT,
        obj=ObjectSection(gvr=("apps", "v1", "deployments"), ns="shop", name="web"),
        act="delete",
        change="c1",
    )
    recovery = _Records()
    recovery.found = (OpenIntent(index=0, record=record),)
    enforcer.stages = replace(enforcer.stages, live=_Unreadable())

    async def scene() -> None:
        async with asyncio.timeout(60):
            await _loop(enforcer).lead(recovery)

    run_virtual(scene())

    assert [one.result for one in enforcer.outcomes()] == ["unknown"]
    assert recovery.finished


def test_loop_survives_what_one_object_does_to_it() -> None:
    """An unexpected failure of one pass is counted and put back, and the others go on."""
    enforcer = _enforcer(["a", "b"])

    async def scene() -> None:
        loop = _loop(enforcer, workers=1)
        reconcile = loop._reconciler.reconcile
        failures = 3

        async def fragile(key: ObjectKey) -> Any:  # noqa: ANN401
            nonlocal failures
            if key.name == "a" and failures:
                failures -= 1
                raise ZeroDivisionError("a bug")
            return await reconcile(key)

        loop._reconciler.reconcile = fragile  # type: ignore[method-assign] - a bug to survive
        errors = metrics.RECONCILES.labels(kind="deployments", result="error")
        before = errors._value.get()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(loop.run())
            await _until(lambda: len(enforcer.baselines.baselines) == 2)
            await loop.drain()
        assert errors._value.get() == before + 3

    run_virtual(scene())


def test_loop_sweeps_from_time_to_time() -> None:
    """What no event told is found by the next sweep."""
    enforcer = _enforcer()

    async def scene() -> float:
        loop = _loop(enforcer, resync=600.0)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(loop.run())
            await loop.lead(_Records())
            await _until(lambda: enforcer.baselines.baselines)
            await asyncio.sleep(5)
            # A change that the watch never tells of.
            enforcer.caches[DEPLOYMENTS]._subscribers.clear()
            enforcer.put(deployment(labels={"app": "web", "bad": "1"}))
            await _until(lambda: _is_good(enforcer))
            await loop.drain()
        return asyncio.get_running_loop().time()

    assert 590 < run_virtual(scene()) < 700


def test_loop_pays_what_it_owes() -> None:
    """An outcome that the ledger did not take is recorded when it is back."""
    enforcer = _enforcer()

    async def scene() -> None:
        loop = _loop(enforcer)
        append = enforcer.sink.append

        async def failing(draft: Any) -> Any:  # noqa: ANN401
            enforcer.sink.failing = draft.type is RecordType.REMEDIATION_OUTCOME and not late
            return await append(draft)

        late = False
        enforcer.stages.scribe._sink = _Appends(failing)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(loop.run())
            await loop.lead(_Records())
            await _until(lambda: enforcer.baselines.baselines)
            enforcer.put(deployment(labels={"app": "web", "bad": "1"}))
            await _until(lambda: _is_good(enforcer))
            await asyncio.sleep(2)
            assert len(enforcer.open_intents()) == 1
            late = True
            await _until(lambda: not enforcer.open_intents())
            await loop.drain()

    run_virtual(scene())

    assert [one.result for one in enforcer.outcomes()] == ["applied"]


class _Appends:
    def __init__(self, append: Any) -> None:  # noqa: ANN401
        self.append = append
