"""What is asked of the law: one review, from the gate or made by the enforcer."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from lictor.model.document import Document
from lictor.model.names import Gvk, Gvr, RequestUid


class Operation(StrEnum):
    """`AdmissionRequest.operation`."""

    CREATE = "CREATE"
    UPDATE = "UPDATE"
    DELETE = "DELETE"
    CONNECT = "CONNECT"


class Origin(StrEnum):
    """Who asks: a write at the gate, or an object that exists already."""

    ADMISSION = "admission"
    EXISTING = "existing"


class Phase(StrEnum):
    """Which rules are asked for: those that judge, or those that complete the object."""

    VALIDATE = "validate"
    MUTATE = "mutate"


@dataclass(frozen=True, slots=True, kw_only=True)
class UserInfo:
    """`AdmissionRequest.userInfo` (authentication/v1 UserInfo)."""

    username: str = ""
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """An `admission.k8s.io/v1` AdmissionRequest, read once and never changed.

    The review of an existing object is a CREATE without `old_object` and without `user`.

    Attributes:
        failure_class: the class of the webhook that was called; "" asks policies of all classes.
        kind, resource, sub_resource: as matched, after the conversion that
            `matchPolicy: Equivalent` brings.
        request_kind, request_resource, request_sub_resource: as the client wrote it.
        name: empty where the API server is still to generate it.
        object: None on DELETE.
        old_object: None on CREATE and CONNECT.
        user: None where nobody asks, which is the case for existing objects.
        bytes_read: size of the review as it arrived; 0 for existing objects.
    """

    uid: RequestUid
    origin: Origin
    phase: Phase
    failure_class: str = ""
    operation: Operation
    kind: Gvk
    resource: Gvr
    sub_resource: str = ""
    request_kind: Gvk
    request_resource: Gvr
    request_sub_resource: str = ""
    namespace: str = ""
    name: str = ""
    user: UserInfo | None = None
    object: Document | None = None
    old_object: Document | None = None
    options: Document | None = None
    dry_run: bool = False
    bytes_read: int = 0
