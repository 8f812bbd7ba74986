"""The review of an object that exists already."""

from typing import Final

from lictor.model.document import Document
from lictor.model.names import Gvk, Gvr, ObjectKey, RequestUid
from lictor.model.request import Operation, Origin, Phase, Request

_NAMESPACES: Final = Gvr("", "v1", "namespaces")


def existing_review(document: Document, *, key: ObjectKey, kind: Gvk) -> Request:
    """Return the review that judges an existing object: a CREATE by nobody, without old object.

    Policies of all failure classes are asked. `metadata.managedFields` stays as it is.

    Args:
        document: the object as it was read.
        key: where it was read; its version is the one that policies are matched by.
        kind: the kind that the API serves there.
    """
    return _review(document, key=key, kind=kind, phase=Phase.VALIDATE)


def mutation_review(document: Document, *, key: ObjectKey, kind: Gvk) -> Request:
    """Return the review that asks how policies would complete an existing object.

    Args:
        document: the object as it was read.
        key: where it was read; its version is the one that policies are matched by.
        kind: the kind that the API serves there.
    """
    return _review(document, key=key, kind=kind, phase=Phase.MUTATE)


def _review(document: Document, *, key: ObjectKey, kind: Gvk, phase: Phase) -> Request:
    # The API server names a Namespace as its own namespace in the request for it.
    namespace = key.name if key.resource == _NAMESPACES else key.namespace
    return Request(
        uid=RequestUid(""),
        origin=Origin.EXISTING,
        phase=phase,
        operation=Operation.CREATE,
        kind=kind,
        resource=key.resource,
        request_kind=kind,
        request_resource=key.resource,
        namespace=namespace,
        name=key.name,
        object=document,
    )
