"""How policies complete an object: in order, each on what those before it made."""

import pytest

from lictor.jsontypes import Json
from lictor.model.document import Document
from lictor.model.names import Gvr, ObjectKey
from lictor.model.patch import apply_patch
from lictor.model.request import Operation, Phase, Request
from lictor.model.review import mutation_review
from lictor.model.verdict import Outcome
from testkit.law import NAMESPACE, POD, cel, decided, law, pod, policy, review


def add(path: str, value: Json) -> dict[str, Json]:
    """Return one operation."""
    return {"op": "add", "path": path, "value": value}


def completing(tree: dict[str, Json]) -> Request:
    """Return the review that asks for mutations."""
    return review(tree, phase=Phase.MUTATE)


def result(request: Request, *policies: object) -> dict[str, Json]:
    """Return the object as the policies complete it."""
    decision = decided(request, law(*policies))  # type: ignore[arg-type]  # policy files
    assert decision.allowed, decision.message
    assert request.object is not None
    return apply_patch(request.object.tree, decision.patch)


def test_decide_applies_mutations_in_the_order_of_ids() -> None:
    """The second policy sees what the first made, in expressions and in static patches."""
    first = policy("a", mutations=[{"jsonPatch": [add("/spec/list", ["a"])]}])
    second = policy(
        "b",
        matchConditions=[{"name": "sees-a", "expression": "object.spec.list == ['a']"}],
        mutations=[
            {"jsonPatch": [add("/spec/list/-", "b")]},
            {
                "cel": {
                    "expression": "[JSONPatch{op: 'add', path: '/spec/size', "
                    "value: size(object.spec.list)}]"
                }
            },
        ],
    )

    tree = result(completing(pod(spec={})), second, first)

    assert tree["spec"] == {"list": ["a", "b"], "size": 2}


def test_decide_never_changes_the_request() -> None:
    """The object of the request stays as it was."""
    request = completing(pod(spec={}))

    result(request, policy("a", mutations=[{"jsonPatch": [add("/spec/x", 1)]}]))

    assert request.object is not None
    assert request.object.tree == pod(spec={})


def test_decide_gives_an_empty_patch_where_nothing_changes() -> None:
    """A mutation that writes what is there is no change."""
    snapshot = law(policy("a", mutations=[{"jsonPatch": [add("/spec/x", 1)]}]))

    decision = decided(completing(pod(spec={"x": 1})), snapshot)

    assert decision.patch == ()
    assert decision.verdicts[0].outcome is Outcome.PASSED


def test_decide_skips_a_patch_whose_test_fails() -> None:
    """A failed `test` asks whether the patch applies; it is no error (MutatingAdmissionPolicy)."""
    operations = [{"op": "test", "path": "/spec/x", "value": 2}, add("/spec/y", 1)]
    snapshot = law(policy("a", mutations=[{"jsonPatch": operations}]))  # type: ignore[list-item]  # JSON

    untouched = decided(completing(pod(spec={"x": 1})), snapshot)
    changed = decided(completing(pod(spec={"x": 2})), snapshot)

    assert (untouched.allowed, untouched.patch) == (True, ())
    assert [operation.path for operation in changed.patch] == ["/spec/y"]


@pytest.mark.parametrize("on_error", ["deny", "allow"])
def test_decide_undoes_a_policy_that_fails_half_way(on_error: str) -> None:
    """A patch that does not apply takes the policy's earlier ones back, and no other policy's."""
    broken = [{"jsonPatch": [add("/spec/x", 1)]}, {"jsonPatch": [{"op": "remove", "path": "/no"}]}]
    snapshot = law(
        policy("a", mutations=broken, enforcement={"onError": on_error}),  # type: ignore[arg-type]  # JSON
        policy(
            "b",
            matchConditions=[{"name": "sees-no-x", "expression": "!has(object.spec.x)"}],
            mutations=[{"jsonPatch": [add("/spec/y", 1)]}],
        ),
    )

    decision = decided(completing(pod(spec={})), snapshot)

    assert decision.allowed is (on_error == "allow")
    assert decision.verdicts[0].outcome is Outcome.ERROR
    assert "mutations[1]" in decision.verdicts[0].error
    assert [operation.path for operation in decision.patch] == ["/spec/y"]


def test_decide_separates_the_phases() -> None:
    """A policy without rules for a phase gives no verdict in it."""
    snapshot = law(
        policy("judges", validations=cel("true")),
        policy("completes", mutations=[{"jsonPatch": [add("/spec", {})]}]),
        policy(
            "does-both",
            validations=cel("false", message="no"),
            mutations=[{"jsonPatch": [add("/spec", {})]}],
        ),
    )

    validated = decided(review(pod()), snapshot)
    mutated = decided(completing(pod()), snapshot)

    assert [verdict.bound.id for verdict in validated.verdicts] == ["does-both", "judges"]
    assert [verdict.bound.id for verdict in mutated.verdicts] == ["completes", "does-both"]
    assert not validated.allowed
    assert mutated.allowed


def test_decide_completes_nothing_that_is_deleted() -> None:
    """DELETE has no object to complete."""
    snapshot = law(policy("a", mutations=[{"jsonPatch": [add("/spec", {})]}]))
    gone = review(
        None, phase=Phase.MUTATE, operation=Operation.DELETE, old_object=Document.of(pod())
    )

    assert decided(gone, snapshot).verdicts == ()


def test_decide_completes_existing_objects_for_the_enforcer() -> None:
    """The review of an existing object can ask for mutations too; errors deny nothing."""
    key = ObjectKey(Gvr("", "v1", "pods"), NAMESPACE, "web")
    request = mutation_review(Document.of(pod()), key=key, kind=POD)
    snapshot = law(
        policy("a", mutations=[{"jsonPatch": [{"op": "remove", "path": "/no"}]}]),
        policy("b", mutations=[{"jsonPatch": [add("/spec", {})]}]),
    )

    decision = decided(request, snapshot)

    assert decision.allowed
    assert [operation.path for operation in decision.patch] == ["/spec"]
