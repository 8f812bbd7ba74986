"""The index finds what the predicates would find, and the rules to register follow from it."""

import pytest

from lictor.errors import InputError
from lictor.jsontypes import Json
from lictor.matching import Index, registration_rules
from lictor.model.names import BoundPolicyId, Digest, Gvr, PolicyName
from lictor.model.policy import (
    BoundPolicy,
    CelRule,
    Enforcement,
    Existing,
    Match,
    PatchMutation,
    Policy,
    ResourceRule,
    Scope,
    Severity,
    Source,
    Validation,
)
from lictor.model.request import Operation, Origin, Phase
from testkit.law import cel, law, pod, policy, review

CREATE_PODS = ResourceRule(
    api_groups=("",), api_versions=("v1",), operations=("CREATE",), resources=("pods",)
)


def _bound(name: str, *rules: ResourceRule, **enforcement: object) -> BoundPolicy:
    return BoundPolicy(
        id=BoundPolicyId(name),
        policy=Policy(
            name=PolicyName(name),
            title=name,
            severity=Severity.LOW,
            match=Match(resource_rules=rules),
            validations=(Validation(rule=CelRule(expression="true")),),
            mutations=(PatchMutation(operations=()),),
            enforcement=Enforcement(**enforcement),  # type: ignore[arg-type]  # a table of fields
            source=Source(name="test"),
            digest=Digest("sha256:0"),
        ),
    )


def _rule(**changes: object) -> ResourceRule:
    fields = {
        "api_groups": ("",),
        "api_versions": ("v1",),
        "operations": ("CREATE",),
        "resources": ("pods",),
    }
    return ResourceRule(**{**fields, **changes})  # type: ignore[arg-type]  # a table of fields


def test_candidates_come_in_the_order_of_their_ids() -> None:
    """Whatever the order of loading, and with wildcards among them."""
    wide = _rule(api_groups=("*",), resources=("*",))
    index = Index([_bound("c", CREATE_PODS), _bound("b", wide), _bound("a", CREATE_PODS, wide)])

    assert [bound.id for bound in index.candidates(review(pod()))] == ["a", "b", "c"]


def test_candidates_of_an_unknown_resource_are_those_with_wildcards() -> None:
    """A resource that no policy names is matched by wildcards alone."""
    index = Index([_bound("a", CREATE_PODS), _bound("b", _rule(resources=("*",)))])

    found = index.candidates(review(pod(), resource=Gvr("", "v1", "things")))

    assert [bound.id for bound in found] == ["b"]


def test_candidates_are_matched_by_version_too() -> None:
    """The index narrows; the rules decide."""
    index = Index([_bound("a", _rule(api_versions=("v2",)))])

    assert index.candidates(review(pod())) == ()


def test_candidates_exclude_policies_switched_off_for_existing_objects() -> None:
    """`existing: off` counts for existing objects alone."""
    index = Index([_bound("a", CREATE_PODS, existing=Existing.OFF)])

    assert index.candidates(review(pod(), origin=Origin.EXISTING)) == ()
    assert len(index.candidates(review(pod()))) == 1


def test_candidates_of_a_deletion_have_nothing_to_complete() -> None:
    """There are validations on DELETE, but no mutations."""
    index = Index([_bound("a", _rule(operations=("*",)))])
    gone = review(None, operation=Operation.DELETE)
    completed = review(None, operation=Operation.DELETE, phase=Phase.MUTATE)

    assert len(index.candidates(gone)) == 1
    assert index.candidates(completed) == ()


def test_registration_rules_join_what_has_operations_in_common() -> None:
    """Rules of several policies become as few as possible, in a fixed order."""
    policies = [
        _bound("a", _rule(operations=("CREATE", "UPDATE"), resources=("pods", "pods/exec"))),
        _bound("b", _rule(operations=("UPDATE",), resources=("services",))),
        _bound("c", _rule(operations=("CREATE",), resources=("services",))),
        _bound("d", _rule(api_groups=("apps",), resources=("deployments",))),
    ]

    found = registration_rules(policies, failure_class="open", phase=Phase.VALIDATE)

    assert found == (
        (
            _rule(operations=("CREATE", "UPDATE"), resources=("pods", "pods/exec", "services")),
            _rule(api_groups=("apps",), resources=("deployments",)),
        ),
    )
    assert found == registration_rules(policies[::-1], failure_class="open", phase=Phase.VALIDATE)


def test_registration_rules_write_out_all_operations() -> None:
    """Never a wildcard; what is deleted is not sent for completion."""
    policies = [_bound("a", _rule(operations=("*",)))]

    validating = registration_rules(policies, failure_class="open", phase=Phase.VALIDATE)
    mutating = registration_rules(policies, failure_class="open", phase=Phase.MUTATE)

    assert validating[0][0].operations == ("CONNECT", "CREATE", "DELETE", "UPDATE")
    assert mutating[0][0].operations == ("CONNECT", "CREATE", "UPDATE")


def test_registration_rules_name_one_version_a_webhook() -> None:
    """A webhook that names two versions would be sent objects unconverted."""
    v1 = _rule(
        api_groups=("autoscaling",),
        api_versions=("v1",),
        resources=("horizontalpodautoscalers",),
    )
    v2 = _rule(
        api_groups=("autoscaling",),
        api_versions=("v2",),
        resources=("horizontalpodautoscalers", "horizontalpodautoscalers/status"),
    )
    policies = [_bound("a", v1), _bound("b", v2, CREATE_PODS)]

    first, second = registration_rules(policies, failure_class="open", phase=Phase.VALIDATE)

    assert first == (CREATE_PODS, v1)
    assert second == (v2,)


def test_registration_rules_keep_scopes_apart() -> None:
    """The scope of a rule stays with it."""
    policies = [_bound("a", CREATE_PODS, _rule(scope=Scope.NAMESPACED, resources=("services",)))]

    (found,) = registration_rules(policies, failure_class="open", phase=Phase.VALIDATE)

    assert {rule.scope for rule in found} == {Scope.ANY, Scope.NAMESPACED}


def test_registration_rules_of_nothing_are_no_webhook() -> None:
    """Another class, another phase, or no policy at all: nothing to register."""
    judges = law(policy("p", validations=cel("true"))).policies

    assert registration_rules((), failure_class="open", phase=Phase.VALIDATE) == ()
    assert registration_rules(judges, failure_class="closed", phase=Phase.VALIDATE) == ()
    assert registration_rules(judges, failure_class="open", phase=Phase.MUTATE) == ()
    assert len(registration_rules(judges, failure_class="open", phase=Phase.VALIDATE)) == 1


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"api_groups": ("*",)}, id="group"),
        pytest.param({"api_versions": ("*",)}, id="version"),
        pytest.param({"resources": ("*/scale",)}, id="resource"),
    ],
)
def test_registration_rules_refuse_wildcards(changes: dict[str, Json]) -> None:
    """A wildcard would have objects sent in a version that a policy was not written for."""
    policies = [_bound("a", _rule(**changes))]

    with pytest.raises(InputError, match=r"a: a wildcard in match\.resourceRules"):
        registration_rules(policies, failure_class="open", phase=Phase.VALIDATE)
