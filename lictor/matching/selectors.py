"""Label selectors, on objects and on their namespaces (metav1.LabelSelector)."""

from collections.abc import Mapping
from typing import Final, assert_never

from lictor.model.document import Document
from lictor.model.names import Gvr
from lictor.model.policy import LabelSelector, SelectorOperator, SelectorRequirement
from lictor.model.request import Operation, Request

NAMESPACES: Final = Gvr("", "v1", "namespaces")

_NO_LABELS: Final[Mapping[str, str]] = {}


def matches_selector(selector: LabelSelector, labels: Mapping[str, str]) -> bool:
    """Return whether `labels` satisfy every requirement; an empty selector matches all."""
    return all(_satisfies(requirement, labels) for requirement in selector.requirements)


def _satisfies(requirement: SelectorRequirement, labels: Mapping[str, str]) -> bool:
    value = labels.get(requirement.key)
    match requirement.operator:
        case SelectorOperator.IN:
            return value is not None and value in requirement.values
        case SelectorOperator.NOT_IN:
            return value is None or value not in requirement.values
        case SelectorOperator.EXISTS:
            return value is not None
        case SelectorOperator.DOES_NOT_EXIST:
            return value is None
    assert_never(requirement.operator)


def labels_of(document: Document | None) -> Mapping[str, str]:
    """Return the labels of an object; none where there is no object."""
    if document is None:
        return _NO_LABELS
    return document.meta.labels or _NO_LABELS


def matches_object(selector: LabelSelector, request: Request) -> bool:
    """Return whether the object or the old object matches.

    A request without either matches no selector but the empty one (apiserver
    `matchObject`: null never matches).
    """
    if not selector.requirements:
        return True
    return any(
        document is not None and matches_selector(selector, labels_of(document))
        for document in (request.object, request.old_object)
    )


def namespace_to_read(request: Request) -> str:
    """Return the name of the namespace whose labels and object the request depends on.

    "" for what is cluster-scoped, and for Namespaces, which carry those labels themselves.
    """
    return "" if _is_namespace(request) else request.namespace


def namespace_labels(request: Request, namespace: Document | None) -> Mapping[str, str] | None:
    """Return the labels that a namespace selector sees; None where no selector applies.

    A cluster-scoped object is never skipped by a namespace selector. A Namespace matches by its own
    labels: those that are being written on CREATE and UPDATE of itself, the stored ones otherwise
    (apiserver `GetNamespaceLabels`).

    Args:
        request: what is asked.
        namespace: the namespace that `namespace_to_read` names.
    """
    if not _is_namespace(request):
        return labels_of(namespace) if request.namespace else None
    writes_labels = request.operation in {Operation.CREATE, Operation.UPDATE}
    if writes_labels and not request.sub_resource:
        return labels_of(request.object)
    return labels_of(request.old_object or request.object)


def _is_namespace(request: Request) -> bool:
    resource = request.resource
    return not resource.group and resource.resource == NAMESPACES.resource
