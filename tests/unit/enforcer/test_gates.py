"""The gates: each alone, and their order."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from enforcer.gates import (
    GateInput,
    Pause,
    PolicyState,
    Reason,
    Scaling,
    Switches,
    check,
    hold_of_policy,
    is_paused,
    pause_of,
    paused_until,
)
from lictor.errors import InputError
from lictor.model.document import Document
from lictor.model.names import (
    BoundPolicyId,
    Digest,
    Gvk,
    Gvr,
    ObjectKey,
    ObjectRef,
    PolicyName,
    ResourceVersion,
    Uid,
)
from lictor.model.patch import PatchOp, PatchOperation
from lictor.model.plan import Plan, Risk
from lictor.model.policy import ActionKind, Existing

_NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
_IMAGE = PatchOperation(op=PatchOp.REPLACE, path="/spec/template/image", value="x")
_REPLICAS = PatchOperation(op=PatchOp.REPLACE, path="/spec/replicas", value=2)


def _target(
    *,
    namespace: str = "shop",
    resource: str = "deployments",
    name: str = "web",
    group: str = "apps",
) -> ObjectRef:
    key = ObjectKey(Gvr(group, "v1", resource), namespace, name)
    return ObjectRef(key, Gvk(group, "v1", "Any"), Uid("u"))


def _plan(**changes: Any) -> Plan:  # noqa: ANN401 (fields of a plan)
    plan = Plan(
        kind=ActionKind.REVERT,
        target=_target(),
        policies=(BoundPolicyId("p"),),
        resource_version=ResourceVersion("1"),
        patch=(_IMAGE,),
        risk=Risk.MEDIUM,
        before=Digest("sha256:a"),
        after=Digest("sha256:b"),
        digest=Digest("sha256:c"),
    )
    return replace(plan, **changes)


def _policy(**changes: Any) -> PolicyState:  # noqa: ANN401 (fields of a policy's state)
    return replace(PolicyState(id=BoundPolicyId("p"), mode=Existing.ENFORCE), **changes)


_FREE = GateInput(
    plan=_plan(),
    now=_NOW,
    switches=Switches(own_namespace="lictor-system", protected_namespaces=("kube-system",)),
    leader=True,
    policies=(_policy(),),
)
_SCALE_DOWN = _plan(patch=(_REPLICAS,), replicas=(5, 2))
_OWNER = ObjectKey(Gvr("apps", "v1", "deployments"), "shop", "top")

_HOLDS = [
    pytest.param({"leader": False}, Reason.NOT_LEADER, id="G0 not leader"),
    pytest.param({"policies": (_policy(mode=Existing.OFF),)}, Reason.MODE_OFF, id="G3 off"),
    pytest.param(
        {"policies": (_policy(mode=Existing.INFORM),)}, Reason.MODE_INFORM, id="G3 inform"
    ),
    pytest.param(
        {"policies": (_policy(mode=Existing.DRY_RUN),)}, Reason.MODE_DRY_RUN, id="G3 dry-run"
    ),
    pytest.param(
        {"policies": (_policy(), _policy(mode=Existing.INFORM))},
        Reason.MODE_INFORM,
        id="G3 one of two",
    ),
    pytest.param(
        {"plan": _plan(target=_target(namespace="lictor-system"))},
        Reason.OWN_NAMESPACE,
        id="G4 own namespace",
    ),
    pytest.param(
        {
            "plan": _plan(
                target=_target(namespace="", resource="namespaces", name="kube-system", group="")
            )
        },
        Reason.PROTECTED_NAMESPACE,
        id="G4 the protected namespace itself",
    ),
    pytest.param(
        {"plan": _plan(target=_target(namespace="kube-system"))},
        Reason.PROTECTED_NAMESPACE,
        id="G4 protected namespace",
    ),
    pytest.param(
        {"plan": _plan(target=_target(namespace="", group="admissionregistration.k8s.io"))},
        Reason.WEBHOOK_CONFIGURATION,
        id="G4 webhook configuration",
    ),
    pytest.param({"terminating": True}, Reason.TERMINATING, id="G4 terminating"),
    pytest.param({"paused_by": "its namespace"}, Reason.PAUSED, id="G5 annotation"),
    pytest.param({"policies": (_policy(paused_seconds=5.0),)}, Reason.PAUSED, id="G5 Pause object"),
    pytest.param(
        {"plan": _SCALE_DOWN, "scaling": Scaling(autoscaled=True, ready=9)},
        Reason.AUTOSCALED,
        id="G7 autoscaled",
    ),
    pytest.param(
        {"plan": _SCALE_DOWN, "scaling": Scaling(ready=9, minimum=3)},
        Reason.SCALE_DOWN_MINIMUM,
        id="G7 minimum",
    ),
    pytest.param(
        {"plan": _SCALE_DOWN, "scaling": Scaling(ready=9, disruptions_allowed=2)},
        Reason.SCALE_DOWN_DISRUPTION,
        id="G7 disruption budget",
    ),
    pytest.param(
        {"plan": _SCALE_DOWN, "scaling": Scaling(ready=1)},
        Reason.SCALE_DOWN_UNREADY,
        id="G7 readiness",
    ),
    pytest.param({"owner": _OWNER, "owner_governed": True}, Reason.OWNED, id="G8 owner"),
    pytest.param(
        {"policies": (_policy(settle_seconds=5.0, age_seconds=4.9, reads=9),)},
        Reason.SETTLING,
        id="G9 too young",
    ),
    pytest.param(
        {"policies": (_policy(settle_seconds=5.0, age_seconds=6.0, reads=1),)},
        Reason.SETTLING,
        id="G9 read once",
    ),
    pytest.param({"heat": 3.0}, Reason.FIGHT_DELAY, id="G10 delay"),
    pytest.param({"heat": 5.0}, Reason.QUARANTINED, id="G10 heat"),
    pytest.param({"quarantined": True}, Reason.QUARANTINED, id="G10 quarantine"),
    pytest.param({"escalated_seconds": 10.0}, Reason.ESCALATED, id="escalated"),
    pytest.param(
        {"policies": (_policy(spent=5, allowance=5),)}, Reason.BUDGET_POLICY, id="G12 policy"
    ),
    pytest.param(
        {"cluster_spent": 60, "cluster_allowance": 60}, Reason.BUDGET_CLUSTER, id="G12 cluster"
    ),
    pytest.param({"plan": _plan(risk=Risk.HIGH)}, Reason.APPROVAL_NEEDED, id="G14 high risk"),
]


def test_check_lets_a_plan_through_that_nothing_holds() -> None:
    """With every condition absent there is no hold."""
    assert check(_FREE) is None


@pytest.mark.parametrize(("changes", "reason"), _HOLDS)
def test_check_holds(changes: dict[str, Any], reason: Reason) -> None:
    """Each condition by itself holds the plan, with its own reason."""
    hold = check(replace(_FREE, **changes))

    assert hold is not None
    assert hold.reason is reason


def test_check_names_the_first_gate_that_fails() -> None:
    """With everything wrong, each mended condition uncovers the next gate in the order."""
    mends: list[tuple[Reason, dict[str, Any]]] = [
        (Reason.NOT_LEADER, {"leader": True}),
        (Reason.MODE_INFORM, {"policies": (_policy(settle_seconds=1.0, spent=1),)}),
        (Reason.PROTECTED_NAMESPACE, {"plan": _plan(replicas=(5, 0), risk=Risk.HIGH)}),
        (Reason.TERMINATING, {"terminating": False}),
        (Reason.PAUSED, {"paused_by": ""}),
        (Reason.AUTOSCALED, {"scaling": Scaling(ready=9)}),
        (Reason.OWNED, {"owner": None}),
        (Reason.SETTLING, {"policies": (_policy(spent=1),)}),
        (Reason.QUARANTINED, {"quarantined": False}),
        (Reason.FIGHT_DELAY, {"heat": 0.0}),
        (Reason.ESCALATED, {"escalated_seconds": 0.0}),
        (Reason.BUDGET_POLICY, {"policies": (_policy(),)}),
        (Reason.BUDGET_CLUSTER, {"cluster_spent": 0}),
        (Reason.APPROVAL_NEEDED, {"plan": _plan()}),
    ]
    given = replace(
        _FREE,
        leader=False,
        plan=_plan(target=_target(namespace="kube-system"), replicas=(5, 0), risk=Risk.HIGH),
        policies=(_policy(mode=Existing.INFORM),),
        terminating=True,
        paused_by="the object",
        scaling=Scaling(autoscaled=True),
        owner=_OWNER,
        quarantined=True,
        heat=4.0,
        escalated_seconds=5.0,
        cluster_spent=1,
    )

    for reason, mend in mends:
        hold = check(given)
        assert hold is not None
        assert hold.reason is reason
        given = replace(given, **mend)
    assert check(given) is None


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"paused_by": "the object"}, id="G5 annotation"),
        pytest.param({"policies": (_policy(paused_seconds=5.0),)}, id="G5 Pause object"),
        pytest.param({"policies": (_policy(settle_seconds=5.0),)}, id="G9 settle"),
    ],
)
def test_check_lets_a_scaling_event_through(changes: dict[str, Any]) -> None:
    """A pause and the settling time never stand in the way of scaling alone."""
    up = _plan(patch=(_REPLICAS,), replicas=(1, 2))

    assert check(replace(_FREE, plan=up, **changes)) is None
    assert check(replace(_FREE, plan=replace(up, patch=(_REPLICAS, _IMAGE)), **changes)) is not None


@pytest.mark.parametrize(
    "facts",
    [
        pytest.param(Scaling(ready=2), id="ready"),
        pytest.param(Scaling(ready=5, disruptions_allowed=3), id="disruptions allowed"),
        pytest.param(Scaling(ready=5, minimum=2), id="at the minimum"),
    ],
)
def test_check_lets_a_safe_scale_down_through(facts: Scaling) -> None:
    """Scaling down goes on when its precheck is satisfied."""
    assert check(replace(_FREE, plan=_SCALE_DOWN, scaling=facts)) is None


def test_check_names_the_owner_to_look_at() -> None:
    """A governed owner is handed over; of another one people are told."""
    governed = check(replace(_FREE, owner=_OWNER, owner_governed=True))
    other = check(replace(_FREE, owner=_OWNER))

    assert governed is not None
    assert governed.delegate == _OWNER
    assert other is not None
    assert other.delegate is None


def test_check_waits_a_minute_only_for_a_hot_object() -> None:
    """The delay of a fight counts from when its drift was seen."""
    hot = replace(_FREE, heat=3.5)

    young = check(replace(hot, drift_age_seconds=20.0))

    assert young is not None
    assert young.recheck_seconds == pytest.approx(40.0)
    assert check(replace(hot, drift_age_seconds=60.0)) is None


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        pytest.param(_policy(), None, id="free"),
        pytest.param(_policy(mode=Existing.INFORM), Reason.MODE_INFORM, id="mode"),
        pytest.param(_policy(paused_seconds=1.0), Reason.PAUSED, id="paused"),
        pytest.param(_policy(settle_seconds=1.0), Reason.SETTLING, id="settling"),
        pytest.param(_policy(spent=1), Reason.BUDGET_POLICY, id="budget"),
    ],
)
def test_hold_of_policy_sees_one_policy(state: PolicyState, reason: Reason | None) -> None:
    """A policy that is held by itself is told apart from those that may act."""
    hold = hold_of_policy(state)

    assert (hold.reason if hold else None) is reason


def _pause_object(**spec: Any) -> Document:  # noqa: ANN401 (JSON)
    return Document.of(
        {
            "apiVersion": "lictor.dev/v1alpha1",
            "kind": "Pause",
            "metadata": {"name": "stop", "creationTimestamp": "2026-11-20T11:59:00Z"},
            "spec": {"durationSeconds": 300, "reason": "x", **spec},
        }
    )


def test_pause_of_counts_from_the_creation() -> None:
    """A pause ends its duration after it was created, four hours at most."""
    assert pause_of(_pause_object()) == Pause(name="stop", until=_NOW + timedelta(minutes=4))
    longest = pause_of(_pause_object(durationSeconds=10**9))
    assert longest is not None
    assert longest.until == _NOW - timedelta(minutes=1) + timedelta(hours=4)


def test_pause_of_leaves_other_components_alone() -> None:
    """A pause of the gate does not pause the enforcer; one without components pauses all."""
    assert pause_of(_pause_object(scope={"components": ["gate"]})) is None
    assert pause_of(_pause_object(scope={"components": ["gate", "enforcer"]})) is not None


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param({"durationSeconds": "x"}, id="duration"),
        pytest.param({"scope": {"namespaces": "shop"}}, id="scope"),
    ],
)
def test_pause_of_refuses_another_shape(spec: dict[str, Any]) -> None:
    """What is no Pause is an error with its name."""
    with pytest.raises(InputError, match="Pause stop"):
        pause_of(_pause_object(**spec))


@pytest.mark.parametrize(
    ("scope", "covered"),
    [
        pytest.param({}, True, id="everything"),
        pytest.param({"namespaces": ["shop"]}, True, id="namespace"),
        pytest.param({"namespaces": ["other"]}, False, id="other namespace"),
        pytest.param({"policies": ["p"]}, True, id="policy"),
        pytest.param({"policies": ["q"]}, False, id="other policy"),
        pytest.param({"namespaces": ["shop"], "policies": ["q"]}, False, id="both must match"),
    ],
)
def test_paused_until_looks_at_the_scope(scope: dict[str, list[str]], *, covered: bool) -> None:
    """Namespaces and policies of the scope both have to match; an empty list matches all."""
    pause = pause_of(_pause_object(scope=scope))
    assert pause is not None

    until = paused_until([pause], _NOW, namespace="shop", policy=PolicyName("p"))

    assert (until is not None) is covered


def test_paused_until_ends() -> None:
    """A pause that is over pauses nothing, and the longest one counts."""
    short = Pause(name="a", until=_NOW + timedelta(minutes=1))
    long = Pause(name="b", until=_NOW + timedelta(minutes=9))
    name = PolicyName("p")

    assert paused_until([short, long], _NOW, namespace="", policy=name) == long.until
    assert paused_until([short], short.until, namespace="", policy=name) is None


def test_is_paused_reads_exactly_true() -> None:
    """Only the word `true` pauses."""
    tree: dict[str, Any] = {"kind": "X", "metadata": {"annotations": {"lictor.dev/paused": "true"}}}
    assert is_paused(Document.of(tree))
    tree["metadata"]["annotations"]["lictor.dev/paused"] = "yes"
    assert not is_paused(Document.of(dict(tree)))
    assert not is_paused(Document.of({"kind": "X"}))
