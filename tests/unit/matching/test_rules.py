"""Resource rules match as the API server's own matcher does."""

import pytest

from lictor.matching import Clause, is_never_judged, matches_rule, mismatch
from lictor.model.document import Document
from lictor.model.names import Gvk, Gvr, RequestUid
from lictor.model.policy import (
    LabelSelector,
    Match,
    ResourceRule,
    Scope,
    SelectorOperator,
    SelectorRequirement,
)
from lictor.model.request import Operation, Origin, Phase, Request


def _rule(**changes: object) -> ResourceRule:
    fields: dict[str, object] = {
        "api_groups": ("",),
        "api_versions": ("v1",),
        "operations": ("CREATE",),
        "resources": ("pods",),
    }
    return ResourceRule(**{**fields, **changes})  # type: ignore[arg-type]  # a table of fields


def _labelled(labels: dict[str, str]) -> Document:
    return Document.of({"metadata": {"labels": dict(labels)}})


def _request(**changes: object) -> Request:
    resource = changes.get("resource", Gvr("", "v1", "pods"))
    kind = Gvk("", "v1", "Any")
    fields: dict[str, object] = {
        "uid": RequestUid("u"),
        "origin": Origin.ADMISSION,
        "phase": Phase.VALIDATE,
        "operation": Operation.CREATE,
        "kind": kind,
        "resource": resource,
        "request_kind": kind,
        "request_resource": resource,
        "namespace": "shop",
        "name": "web",
    }
    return Request(**{**fields, **changes})  # type: ignore[arg-type]  # a table of fields


@pytest.mark.parametrize(
    ("entry", "resource", "sub", "matches"),
    [
        pytest.param("pods", "pods", "", True, id="the-resource"),
        pytest.param("pods", "pods", "exec", False, id="not-its-subresources"),
        pytest.param("pods/exec", "pods", "exec", True, id="the-subresource"),
        pytest.param("pods/exec", "pods", "", False, id="not-its-resource"),
        pytest.param("pods/*", "pods", "exec", True, id="all-subresources"),
        pytest.param("pods/*", "pods", "", True, id="and-the-resource-itself"),
        pytest.param("*/scale", "deployments", "scale", True, id="one-subresource-of-all"),
        pytest.param("*/scale", "deployments", "", False, id="not-the-resources"),
        pytest.param("*", "pods", "", True, id="all-resources"),
        pytest.param("*", "pods", "exec", False, id="no-subresource"),
        pytest.param("*/*", "pods", "exec", True, id="everything"),
        pytest.param("*/*", "pods", "", True, id="everything-and-resources"),
    ],
)
def test_matches_rule_reads_subresources(
    entry: str, resource: str, sub: str, *, matches: bool
) -> None:
    """An entry of `resources` names resources and subresources as in admissionregistration/v1."""
    request = _request(resource=Gvr("", "v1", resource), sub_resource=sub)

    assert matches_rule(_rule(resources=(entry,)), request) is matches


@pytest.mark.parametrize(
    ("field", "right", "wrong"),
    [
        pytest.param("api_groups", ("apps", ""), ("apps",), id="group"),
        pytest.param("api_groups", ("*",), (), id="any-group"),
        pytest.param("api_versions", ("v2", "v1"), ("v2",), id="version"),
        pytest.param("api_versions", ("*",), (), id="any-version"),
        pytest.param("operations", ("UPDATE", "CREATE"), ("UPDATE",), id="operation"),
        pytest.param("operations", ("*",), (), id="any-operation"),
        pytest.param("resource_names", ("web",), ("db",), id="name"),
    ],
)
def test_matches_rule_needs_every_field(
    field: str, right: tuple[str, ...], wrong: tuple[str, ...]
) -> None:
    """Group, version, operation and name must all be named."""
    assert matches_rule(_rule(**{field: right}), _request())
    assert not matches_rule(_rule(**{field: wrong}), _request())


def test_matches_rule_never_matches_a_generated_name() -> None:
    """An object that is still to be named is on no list of names."""
    assert not matches_rule(_rule(resource_names=("",)), _request(name="x"))
    assert not matches_rule(_rule(resource_names=("web",)), _request(name=""))


@pytest.mark.parametrize(
    ("resource", "namespace", "scope", "matches"),
    [
        pytest.param("pods", "shop", Scope.NAMESPACED, True, id="pod-namespaced"),
        pytest.param("pods", "shop", Scope.CLUSTER, False, id="pod-cluster"),
        pytest.param("pods", "shop", Scope.ANY, True, id="pod-any"),
        pytest.param("nodes", "", Scope.NAMESPACED, False, id="node-namespaced"),
        pytest.param("nodes", "", Scope.CLUSTER, True, id="node-cluster"),
        pytest.param("namespaces", "shop", Scope.NAMESPACED, False, id="namespace-namespaced"),
        pytest.param("namespaces", "shop", Scope.CLUSTER, True, id="namespace-cluster"),
    ],
)
def test_matches_rule_knows_the_scope(
    resource: str, namespace: str, scope: Scope, *, matches: bool
) -> None:
    """A Namespace is cluster-scoped, though its requests carry a namespace."""
    request = _request(resource=Gvr("", "v1", resource), namespace=namespace)

    assert matches_rule(_rule(resources=(resource,), scope=scope), request) is matches


def test_mismatch_names_the_clause_that_excludes() -> None:
    """Excluding rules win over including ones."""
    match = Match(resource_rules=(_rule(),), exclude_resource_rules=(_rule(api_groups=("*",)),))

    assert mismatch(match, _request()) is Clause.EXCLUDE_RESOURCE_RULES
    assert mismatch(Match(resource_rules=(_rule(),)), _request()) is None
    assert mismatch(Match(resource_rules=()), _request()) is Clause.RESOURCE_RULES


@pytest.mark.parametrize(
    ("labels", "old_labels", "matches"),
    [
        pytest.param({"tier": "web"}, None, True, id="object"),
        pytest.param({}, {"tier": "web"}, True, id="old-object-alone"),
        pytest.param({"tier": "web"}, {}, True, id="object-alone"),
        pytest.param({}, {}, False, id="neither"),
        pytest.param(None, None, False, id="nothing-there"),
    ],
)
def test_mismatch_selects_by_object_or_old_object(
    labels: dict[str, str] | None, old_labels: dict[str, str] | None, *, matches: bool
) -> None:
    """Taking a label off does not take an object out of a policy in the same request."""
    selector = LabelSelector(
        requirements=(
            SelectorRequirement(key="tier", operator=SelectorOperator.IN, values=("web",)),
        )
    )
    match = Match(resource_rules=(_rule(),), object_selector=selector)

    request = _request(
        object=None if labels is None else _labelled(labels),
        old_object=None if old_labels is None else _labelled(old_labels),
    )

    found = mismatch(match, request)

    assert (found is None) is matches


def test_mismatch_of_a_negative_selector_needs_an_object() -> None:
    """Null matches no selector, not even one that any object without labels matches."""
    selector = LabelSelector(
        requirements=(SelectorRequirement(key="x", operator=SelectorOperator.DOES_NOT_EXIST),)
    )
    match = Match(resource_rules=(_rule(),), object_selector=selector)

    assert mismatch(match, _request()) is Clause.OBJECT_SELECTOR
    assert mismatch(match, _request(object=_labelled({}))) is None


@pytest.mark.parametrize(
    ("group", "resource"),
    [
        pytest.param("authentication.k8s.io", "tokenreviews", id="token-review"),
        pytest.param("authorization.k8s.io", "selfsubjectrulesreviews", id="rules-review"),
        pytest.param(
            "admissionregistration.k8s.io", "validatingwebhookconfigurations", id="webhooks"
        ),
        pytest.param("admissionregistration.k8s.io", "mutatingadmissionpolicies", id="policies"),
    ],
)
def test_is_never_judged_exempts_what_the_api_server_exempts(group: str, resource: str) -> None:
    """A policy can neither lock itself in nor stop the question who may do what."""
    request = _request(resource=Gvr(group, "v1", resource), namespace="")
    everything = Match(resource_rules=(_rule(api_groups=("*",), resources=("*/*",)),))

    assert is_never_judged(group, resource)
    assert mismatch(everything, request) is Clause.NEVER_JUDGED
    assert not is_never_judged("", resource)
