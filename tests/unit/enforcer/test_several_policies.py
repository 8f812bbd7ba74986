"""Several policies on one object, and states that overtake each other: none hides another."""

from collections.abc import Callable

from enforcer.evaluate import Assessment
from enforcer.loop import Result
from lictor.jsontypes import JsonObject
from lictor.model.document import Document
from lictor.model.names import Gvr, ObjectKey, ObjectRef
from lictor.policy import Snapshot, load
from lictor.ports.policy_source import PolicyFile
from testkit.enforcing import DEPLOYMENTS, deployment
from testkit.simulators.enforcer import SimulatedEnforcer

_KEY = ObjectKey(DEPLOYMENTS, "shop", "web")
_LABEL = "!('{label}' in object.metadata.labels)"
_POLICY = """
apiVersion: lictor.dev/v1alpha1
kind: Policy
metadata: {{name: {name}}}
spec:
  title: any
  severity: high
  match:
    resourceRules:
      - {{apiGroups: [apps], apiVersions: [v1], operations: [CREATE], resources: [deployments]}}
  validations:
    - cel: {{expression: "{expression}", message: mend it}}
  enforcement: {{{enforcement}}}
"""


def _no(label: str, enforcement: str) -> PolicyFile:
    return _file(f"no-{label}", _LABEL.format(label=label), enforcement)


def _file(name: str, expression: str, enforcement: str) -> PolicyFile:
    text = _POLICY.format(name=name, expression=expression, enforcement=enforcement)
    return PolicyFile(f"{name}.yaml", text.encode())


_BAD = _no("bad", "existing: enforce, settle: 0s")
_FEW = _file(
    "few",
    "object.spec.replicas <= 3",
    "existing: enforce, action: scale, settle: 0s, scale: {minimum: 1, maximum: 3}",
)


async def _enforcer(*files: PolicyFile, **labels: str) -> SimulatedEnforcer:
    law: Snapshot = load(files)
    made = SimulatedEnforcer(law=law)
    made.put(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}},
        resource=Gvr("", "v1", "namespaces"),
    )
    made.put(deployment(labels={"app": "web", **labels}))
    await made.look(_KEY)
    return made


def _put(enforcer: SimulatedEnforcer, *, replicas: int = 2, **labels: str) -> Document:
    spec: JsonObject = {"replicas": replicas}
    return enforcer.put(deployment(labels={"app": "web", **labels}, spec=spec))


def _labels(enforcer: SimulatedEnforcer) -> dict[str, str]:
    return dict(enforcer.cluster.objects[_KEY].meta.labels or {})


def _during_the_next_judging(enforcer: SimulatedEnforcer, act: Callable[[], None]) -> None:
    evaluator = enforcer.stages.evaluator
    judge = evaluator.assess

    async def assess(document: Document, target: ObjectRef) -> Assessment:
        evaluator.assess = judge  # type: ignore[method-assign]
        act()
        return await judge(document, target)

    evaluator.assess = assess  # type: ignore[method-assign]


async def test_reconcile_keeps_a_good_state_that_came_while_another_was_judged() -> None:
    """Of two good states that were overtaken the newer one becomes the baseline."""
    enforcer = await _enforcer(_BAD, tier="1")
    _put(enforcer, tier="2")

    def overtake() -> None:
        _put(enforcer, tier="3")
        _put(enforcer, tier="4", bad="1")

    _during_the_next_judging(enforcer, overtake)
    await enforcer.look(_KEY)

    baseline = enforcer.baselines.get(enforcer.cluster.objects[_KEY].uid)
    assert baseline is not None
    assert b'"tier":"3"' in (baseline.body or b"").replace(b" ", b"")


async def test_reconcile_does_not_shield_a_drift_behind_a_scaling_that_is_held() -> None:
    """Replicas that must not be written do not keep another policy from its repair."""
    enforcer = await _enforcer(_BAD, _FEW)
    _put(enforcer, replicas=9, bad="1")  # none of the 9 is ready

    done = await enforcer.look(_KEY)

    assert done.result is Result.REPAIRED
    assert "bad" not in _labels(enforcer)
    assert enforcer.cluster.objects[_KEY].tree["spec"] == {"replicas": 9}
    assert (await enforcer.look(_KEY)).result is Result.HELD
    assert enforcer.outcomes()[-1].gate == "scale-down-unready"


async def test_reconcile_comes_back_for_the_policy_that_settles() -> None:
    """A policy that is only rehearsed does not make the enforcer forget one that settles."""
    enforcer = await _enforcer(
        _no("bad", "existing: enforce, settle: 5s"), _no("odd", "existing: dry-run, settle: 0s")
    )
    _put(enforcer, bad="1", odd="1")

    done = await enforcer.look(_KEY)

    assert done.after_seconds == 5.0


async def test_reconcile_settles_through_the_repair_of_another_policy() -> None:
    """The repair of one violation does not begin the settling of another one anew."""
    enforcer = await _enforcer(_BAD, _no("slow", "existing: enforce, settle: 5s"))
    _put(enforcer, slow="1")
    await enforcer.look(_KEY)
    enforcer.clock.seconds = 4.0
    _put(enforcer, slow="1", bad="1")
    assert (await enforcer.look(_KEY)).result is Result.REPAIRED
    enforcer.clock.seconds = 5.0

    done = await enforcer.look(_KEY)

    assert done.result is Result.REPAIRED
    assert _labels(enforcer) == {"app": "web"}


async def test_reconcile_cools_an_object_that_another_policy_reports() -> None:
    """A violation that is only reported does not keep the heat of others' repairs."""
    enforcer = await _enforcer(_BAD, _no("odd", "existing: inform"), odd="1")
    for number in range(8):
        enforcer.clock.seconds = 300.0 * number
        _put(enforcer, odd="1", bad="1")

        assert (await enforcer.look(_KEY)).result is Result.REPAIRED
        await enforcer.look(_KEY)
