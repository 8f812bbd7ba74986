"""Reviews as values: that of an object that exists already, and what rules read of any."""

from typing import Final

from lictor.jsontypes import Json, JsonObject
from lictor.model.document import Document
from lictor.model.names import Gvk, Gvr, ObjectKey, RequestUid
from lictor.model.request import Operation, Origin, Phase, Request, UserInfo

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


def request_variable(request: Request) -> JsonObject:
    """Return what a rule reads as `request`: the AdmissionRequest without uid and objects.

    Empty fields that the API server leaves out are left out here too, so that `has()` answers
    alike. Where nobody asks, `userInfo` is missing: a rule that reads it fails instead of judging
    a user that there is not.

    Raises:
        InputError: the options cannot be decoded.
    """
    value: JsonObject = {
        "kind": _kind(request.kind),
        "resource": _resource(request.resource),
        "requestKind": _kind(request.request_kind),
        "requestResource": _resource(request.request_resource),
        "operation": request.operation.value,
        "dryRun": request.dry_run,
    }
    texts = {
        "subResource": request.sub_resource,
        "requestSubResource": request.request_sub_resource,
        "name": request.name,
        "namespace": request.namespace,
    }
    value.update({name: text for name, text in texts.items() if text})
    if request.user is not None:
        value["userInfo"] = _user(request.user)
    if request.options is not None:
        value["options"] = request.options.tree
    return value


def _kind(kind: Gvk) -> JsonObject:
    return {"group": kind.group, "version": kind.version, "kind": kind.kind}


def _resource(resource: Gvr) -> JsonObject:
    return {
        "group": resource.group,
        "version": resource.version,
        "resource": resource.resource,
    }


def _user(user: UserInfo) -> JsonObject:
    extra: JsonObject = {key: list(values) for key, values in user.extra.items()}
    fields: dict[str, Json] = {
        "username": user.username,
        "uid": user.uid,
        "groups": list(user.groups),
        "extra": extra,
    }
    return {name: value for name, value in fields.items() if value}


def without_nulls(value: Json) -> Json:
    """Return `value` without the members that are null; elements of lists stay.

    Built-in kinds arrive with `creationTimestamp: null` when they are created and without it when
    they are read back: a rule must judge both alike.
    """
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [without_nulls(item) for item in value]
    return value
