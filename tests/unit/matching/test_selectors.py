"""Label selectors and what a namespace selector looks at."""

import pytest

from lictor.matching import matches_selector, namespace_labels, namespace_to_read
from lictor.model.document import Document
from lictor.model.names import Gvk, Gvr, RequestUid
from lictor.model.policy import LabelSelector, SelectorOperator, SelectorRequirement
from lictor.model.request import Operation, Origin, Phase, Request


def _labelled(labels: dict[str, str]) -> Document:
    return Document.of({"metadata": {"labels": dict(labels)}})


def _request(resource: str, **changes: object) -> Request:
    kind = Gvk("", "v1", "Any")
    fields: dict[str, object] = {
        "uid": RequestUid("u"),
        "origin": Origin.ADMISSION,
        "phase": Phase.VALIDATE,
        "operation": Operation.CREATE,
        "kind": kind,
        "resource": Gvr("", "v1", resource),
        "request_kind": kind,
        "request_resource": Gvr("", "v1", resource),
    }
    return Request(**{**fields, **changes})  # type: ignore[arg-type]  # a table of fields


@pytest.mark.parametrize(
    ("operator", "values", "labels", "matches"),
    [
        pytest.param(SelectorOperator.IN, ("a",), {"k": "a"}, True, id="in"),
        pytest.param(SelectorOperator.IN, ("a",), {"k": "b"}, False, id="in-other"),
        pytest.param(SelectorOperator.IN, ("a",), {}, False, id="in-absent"),
        pytest.param(SelectorOperator.NOT_IN, ("a",), {"k": "a"}, False, id="not-in"),
        pytest.param(SelectorOperator.NOT_IN, ("a",), {"k": "b"}, True, id="not-in-other"),
        pytest.param(SelectorOperator.NOT_IN, ("a",), {}, True, id="not-in-absent"),
        pytest.param(SelectorOperator.EXISTS, (), {"k": ""}, True, id="exists-empty"),
        pytest.param(SelectorOperator.EXISTS, (), {}, False, id="exists-absent"),
        pytest.param(SelectorOperator.DOES_NOT_EXIST, (), {}, True, id="does-not-exist"),
        pytest.param(SelectorOperator.DOES_NOT_EXIST, (), {"k": ""}, False, id="but-does"),
    ],
)
def test_matches_selector_follows_each_operator(
    operator: SelectorOperator, values: tuple[str, ...], labels: dict[str, str], *, matches: bool
) -> None:
    """Operators treat an absent label as Kubernetes does."""
    requirement = SelectorRequirement(key="k", operator=operator, values=values)

    assert matches_selector(LabelSelector(requirements=(requirement,)), labels) is matches


def test_matches_selector_needs_all_requirements_and_empty_matches_all() -> None:
    """Requirements are joined by and; none of them match everything."""
    both = tuple(
        SelectorRequirement(key=key, operator=SelectorOperator.EXISTS) for key in ("a", "b")
    )

    assert matches_selector(LabelSelector(), {})
    assert matches_selector(LabelSelector(requirements=both), {"a": "", "b": ""})
    assert not matches_selector(LabelSelector(requirements=both), {"a": ""})


def test_namespace_labels_are_those_of_the_namespace() -> None:
    """A namespaced object is selected by the labels of its namespace."""
    request = _request("pods", namespace="shop", object=_labelled({"of": "object"}))

    assert namespace_to_read(request) == "shop"
    assert namespace_labels(request, _labelled({"of": "namespace"})) == {"of": "namespace"}
    assert namespace_labels(request, None) == {}


def test_namespace_labels_do_not_apply_in_cluster_scope() -> None:
    """A cluster-scoped object is never left out by a namespace selector."""
    request = _request("nodes", object=_labelled({}))

    assert namespace_to_read(request) == ""
    assert namespace_labels(request, None) is None


@pytest.mark.parametrize(
    ("operation", "sub", "expected"),
    [
        pytest.param(Operation.CREATE, "", "new", id="create"),
        pytest.param(Operation.UPDATE, "", "new", id="update"),
        pytest.param(Operation.UPDATE, "status", "old", id="update-of-a-subresource"),
    ],
)
def test_namespace_labels_of_a_namespace_are_its_own(
    operation: Operation, sub: str, expected: str
) -> None:
    """A Namespace is selected by the labels that it is given, so that it cannot slip out."""
    request = _request(
        "namespaces",
        namespace="shop",
        operation=operation,
        sub_resource=sub,
        object=_labelled({"is": "new"}),
        old_object=_labelled({"is": "old"}),
    )

    assert namespace_to_read(request) == ""
    assert namespace_labels(request, None) == {"is": expected}


def test_namespace_labels_of_a_deleted_namespace_are_the_stored_ones() -> None:
    """DELETE has no object: the old one has the labels."""
    request = _request(
        "namespaces",
        namespace="shop",
        operation=Operation.DELETE,
        old_object=_labelled({"is": "o"}),
    )

    assert namespace_labels(request, None) == {"is": "o"}
