"""Planning: what is written, what is left alone, and what cannot be repaired."""

import copy
from typing import Any

import pytest

from enforcer.plan import Obstacle, make_plan
from lictor.model.document import Document
from lictor.model.patch import PatchOp, PatchOperation, apply_patch
from lictor.model.plan import Risk
from lictor.model.policy import ActionKind, ScaleBounds
from testkit.enforcing import bound, deployment, judged_by, subject_of, tools_of

_REGISTRY = bound("allowed-registries")
_PRIVILEGED = bound("no-privileged")


def _containers(tree: dict[str, Any]) -> list[dict[str, Any]]:
    return tree["spec"]["template"]["spec"]["containers"]


def _from_registry(tree: Any) -> bool:  # noqa: ANN401 (JSON)
    return all(one["image"].startswith("registry.corp/") for one in _containers(tree))


def _unprivileged(tree: Any) -> bool:  # noqa: ANN401 (JSON)
    return not any(one.get("privileged") for one in _containers(tree))


_RULES = [(_REGISTRY, _from_registry), (_PRIVILEGED, _unprivileged)]


def _web() -> dict[str, Any]:
    containers = [{"name": "web", "image": "registry.corp/web:1", "env": [{"name": "A"}]}]
    return deployment(
        spec={"replicas": 2, "template": {"spec": {"containers": containers}}},
        labels={"app": "web"},
        annotations={"note": "x"},
    )


def _drifted() -> dict[str, Any]:
    """Six paths, of which the image and the inserted container violate."""
    live = copy.deepcopy(_web())
    live["metadata"]["resourceVersion"] = "20"
    live["metadata"]["labels"]["tier"] = "gold"
    live["metadata"]["annotations"]["note"] = "y"
    live["spec"]["replicas"] = 7
    _containers(live)[0]["image"] = "evil.example/web:1"
    _containers(live)[0]["env"].append({"name": "B"})
    _containers(live).insert(0, {"name": "miner", "image": "registry.corp/m:1", "privileged": True})
    return live


def test_plan_writes_only_what_violates() -> None:
    """Of six drifted paths exactly the two that violate are written, one of them an insertion."""
    live, baseline = _drifted(), _web()
    subject = subject_of(live, rules=_RULES, baseline=baseline, ignored=("/spec/replicas",))

    plan = make_plan(subject, tools_of(_RULES)).plan

    after = apply_patch(live, plan.patch)
    expected = copy.deepcopy(live)
    del _containers(expected)[0]
    _containers(expected)[0]["image"] = "registry.corp/web:1"
    assert after == expected
    assert [(one.op.value, one.path) for one in plan.patch] == [
        ("replace", "/spec/template/spec/containers/1/image"),
        ("remove", "/spec/template/spec/containers/0"),
    ]
    assert plan.kind is ActionKind.REVERT
    assert plan.policies == ("allowed-registries", "no-privileged")
    assert plan.risk is Risk.MEDIUM
    assert plan.replicas is None
    assert plan.reason == ""


def test_plan_leaves_an_autoscalers_replicas_alone() -> None:
    """A violation that only the autoscaler's replicas cause is not reverted."""
    few = bound("few-replicas")
    rules = [(few, lambda tree: tree["spec"]["replicas"] <= 3)]
    live, baseline = _drifted(), _web()

    left = make_plan(
        subject_of(live, rules=rules, baseline=baseline, ignored=("/spec/replicas",)),
        tools_of(rules),
    ).plan
    reverted = make_plan(subject_of(live, rules=rules, baseline=baseline), tools_of(rules)).plan

    assert (left.kind, left.reason, left.patch) == (ActionKind.NOTIFY, Obstacle.AUTOSCALED, ())
    assert [one.path for one in reverted.patch] == ["/spec/replicas"]
    assert reverted.replicas == (7, 2)


def test_plan_without_baseline_is_a_notice() -> None:
    """Nothing is invented where the last good state is lost."""
    plan = make_plan(subject_of(_drifted(), rules=_RULES), tools_of(_RULES)).plan

    assert plan.kind is ActionKind.NOTIFY
    assert plan.reason == Obstacle.BASELINE_MISSING
    assert plan.policies == ("allowed-registries", "no-privileged")


def test_plan_with_a_violating_baseline_is_a_notice() -> None:
    """A baseline older than a policy may violate it; then there is nothing to go back to."""
    baseline = _web()
    _containers(baseline)[0]["image"] = "old.example/web:1"
    rules = [(_REGISTRY, _from_registry)]

    plan = make_plan(subject_of(_drifted(), rules=rules, baseline=baseline), tools_of(rules)).plan

    assert (plan.kind, plan.reason) == (ActionKind.NOTIFY, Obstacle.BASELINE_VIOLATES)


def test_plan_repairs_what_it_can() -> None:
    """One policy that cannot be satisfied does not keep another one from its repair."""
    never = bound("never-satisfied")
    rules = [*_RULES, (never, lambda _: False)]

    plan = make_plan(subject_of(_drifted(), rules=rules, baseline=_web()), tools_of(rules)).plan

    assert plan.kind is ActionKind.REVERT
    assert plan.policies == ("allowed-registries", "no-privileged")


def test_plan_never_breaks_another_policy() -> None:
    """A revert that would bring back a violation of a younger policy is not planned."""
    young = bound("needs-sidecar")
    rules = [
        (_PRIVILEGED, _unprivileged),
        (young, lambda tree: len(_containers(tree)) > 1),
    ]

    plan = make_plan(subject_of(_drifted(), rules=rules, baseline=_web()), tools_of(rules)).plan

    assert (plan.kind, plan.reason) == (ActionKind.NOTIFY, Obstacle.ADDS_VIOLATION)


def test_plan_takes_a_part_of_a_baseline_that_breaks_a_younger_policy() -> None:
    """What a younger policy demands stays, while the rest is reverted."""
    young = bound("needs-tier")
    rules = [*_RULES, (young, lambda tree: "tier" in tree["metadata"]["labels"])]

    plan = make_plan(subject_of(_drifted(), rules=rules, baseline=_web()), tools_of(rules)).plan

    assert plan.kind is ActionKind.REVERT
    assert all(not one.path.startswith("/metadata") for one in plan.patch)


def test_plan_merges_revert_patch_and_scale() -> None:
    """Violations of one object become one write."""
    owner = bound("owner", action=ActionKind.PATCH)
    few = bound("few", action=ActionKind.SCALE, scale=ScaleBounds(minimum=1, maximum=3))
    rules = [
        *_RULES,
        (owner, lambda tree: "owner" in tree["metadata"]["labels"]),
        (few, lambda tree: tree["spec"]["replicas"] <= 3),
    ]
    add = PatchOperation(op=PatchOp.ADD, path="/metadata/labels/owner", value="team-a")

    plan = make_plan(
        subject_of(_drifted(), rules=rules, baseline=_web()),
        tools_of(rules, mutations={"owner": (add,)}),
    ).plan

    after = apply_patch(_drifted(), plan.patch)
    assert judged_by(rules)(Document.of(after)) == frozenset()
    assert after["spec"]["replicas"] == 3
    assert plan.replicas == (7, 3)
    assert plan.policies == ("allowed-registries", "few", "no-privileged", "owner")


@pytest.mark.parametrize(
    ("patch", "reason"),
    [
        pytest.param((), Obstacle.MUTATION_INSUFFICIENT, id="no mutation"),
        pytest.param(
            (PatchOperation(op=PatchOp.REMOVE, path="/spec/nothing"),),
            Obstacle.MUTATION_INSUFFICIENT,
            id="does not apply",
        ),
        pytest.param(
            (PatchOperation(op=PatchOp.ADD, path="/metadata/labels/other", value="x"),),
            Obstacle.MUTATION_INSUFFICIENT,
            id="does not help",
        ),
    ],
)
def test_plan_with_an_insufficient_mutation_is_a_notice(
    patch: tuple[PatchOperation, ...], reason: Obstacle
) -> None:
    """A policy's own patch that does not mend its violation is not written."""
    owner = bound("owner", action=ActionKind.PATCH)
    rules = [(owner, lambda tree: "owner" in tree["metadata"]["labels"])]

    plan = make_plan(
        subject_of(_drifted(), rules=rules), tools_of(rules, mutations={"owner": patch})
    ).plan

    assert (plan.kind, plan.reason) == (ActionKind.NOTIFY, reason)


def test_plan_deletes_only_as_the_last_resort() -> None:
    """Milder actions come first; a deletion is a plan of its own, and of high risk."""
    doomed = bound("doomed", action=ActionKind.DELETE)
    rules = [*_RULES, (doomed, lambda _: False)]

    first = make_plan(subject_of(_drifted(), rules=rules, baseline=_web()), tools_of(rules)).plan
    second = make_plan(subject_of(_web(), rules=rules), tools_of(rules)).plan

    assert first.kind is ActionKind.REVERT
    assert (second.kind, second.risk, second.after) == (ActionKind.DELETE, Risk.HIGH, "")


@pytest.mark.parametrize(
    ("change", "risk"),
    [
        pytest.param(("metadata", "labels", {"app": "other"}), Risk.LOW, id="labels"),
        pytest.param(("metadata", "namespace", ""), Risk.HIGH, id="cluster-scoped"),
        pytest.param(("spec", "replicas", 0), Risk.MEDIUM, id="spec"),
    ],
)
def test_plan_names_its_risk(change: tuple[str, str, Any], risk: Risk) -> None:
    """Labels are of low risk, fields of a spec of medium, cluster-scoped objects of high."""
    section, field, value = change
    live, baseline = _web(), _web()
    live[section][field] = value
    if field == "namespace":
        baseline["metadata"]["namespace"] = ""
        live["metadata"]["labels"] = {}
        section, field = "metadata", "labels"
    wanted = baseline[section][field]
    rules = [(bound("same"), lambda tree: tree[section][field] == wanted)]

    plan = make_plan(subject_of(live, rules=rules, baseline=baseline), tools_of(rules)).plan

    assert plan.risk is risk


def test_plan_to_zero_replicas_is_of_high_risk() -> None:
    """Scaling to zero is an outage by another name."""
    none = bound("none", action=ActionKind.SCALE, scale=ScaleBounds(minimum=0, maximum=0))
    rules = [(none, lambda tree: tree["spec"]["replicas"] == 0)]

    plan = make_plan(subject_of(_web(), rules=rules), tools_of(rules)).plan

    assert (plan.kind, plan.replicas, plan.risk) == (ActionKind.SCALE, (2, 0), Risk.HIGH)


def test_plan_at_its_limit_is_right_though_not_smallest() -> None:
    """With too few evaluations the plan still mends the object, and says that it is not minimal."""
    live, baseline = _drifted(), _web()
    for number in range(300):
        live["metadata"]["labels"][f"x{number}"] = "1"
        live["spec"]["template"][f"x{number}"] = "1"
    draft = make_plan(
        subject_of(live, rules=_RULES, baseline=baseline), tools_of(_RULES, evaluations=6)
    )

    after = apply_patch(live, draft.plan.patch)
    assert draft.exhausted
    assert judged_by(_RULES)(Document.of(after)) == frozenset()
    assert all(not one.path.startswith("/metadata") for one in draft.plan.patch)


def test_plan_of_many_differences_needs_few_evaluations() -> None:
    """Of 600 differences two are needed, and 200 evaluations are enough to find them."""
    live, baseline = _drifted(), _web()
    for number in range(300):
        live["metadata"]["labels"][f"x{number}"] = "1"
        live["spec"]["template"][f"x{number}"] = "1"

    draft = make_plan(subject_of(live, rules=_RULES, baseline=baseline), tools_of(_RULES))

    assert not draft.exhausted
    assert draft.evaluations < 100
    assert len(draft.plan.patch) == 2


def test_plan_ignores_what_the_api_server_keeps() -> None:
    """Status and the bookkeeping of the metadata are never brought back."""
    live, baseline = _drifted(), _web()
    baseline["status"] = {"replicas": 99}
    baseline["metadata"].update(generation=7, managedFields=[{"manager": "x"}])

    plan = make_plan(subject_of(live, rules=_RULES, baseline=baseline), tools_of(_RULES)).plan

    assert all(one.path.startswith("/spec/template/spec/containers") for one in plan.patch)


def test_plan_of_a_secret_has_a_keyed_digest() -> None:
    """What is planned for a Secret cannot be guessed from the digest."""
    live = _web() | {"kind": "Secret"}
    rules = [(bound("never"), lambda _: False)]
    subject = subject_of(live, rules=rules)
    from dataclasses import replace  # noqa: PLC0415

    secret = replace(
        subject, target=replace(subject.target, kind=replace(subject.target.kind, kind="Secret"))
    )

    assert make_plan(subject, tools_of(rules)).plan.digest.startswith("sha256:")
    assert make_plan(secret, tools_of(rules)).plan.digest.startswith("hmac-sha256:e1:")
