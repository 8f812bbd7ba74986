"""What the enforcer would write to one object, and why."""

from dataclasses import dataclass
from enum import StrEnum

from lictor.model.names import BoundPolicyId, Digest, ObjectRef, ResourceVersion
from lictor.model.patch import PatchOperation
from lictor.model.policy import ActionKind


class Risk(StrEnum):
    """How much an action can break; `HIGH` needs an approval."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


class WriteResult(StrEnum):
    """How an automated write ended: `result` of a `remediation.outcome`."""

    APPLIED = "applied"
    CONFLICT = "conflict"
    GONE = "gone"
    DENIED = "denied"
    ERROR = "error"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One write to one object, made from one read of it.

    Attributes:
        policies: the bound policies that the write satisfies, sorted.
        resource_version: of the state that was read; the write fails on any other.
        patch: against that state, without the resourceVersion; empty for DELETE and NOTIFY.
        before, after: digests of the state as read and as it will be (`attest` form, without
            status, resourceVersion, generation and managedFields); `after` is "" for DELETE.
        replicas: `spec.replicas` before and after, where the plan changes it.
        reason: why nothing better than NOTIFY was possible; "" otherwise.
        digest: of all the above: equal inputs give equal digests.
    """

    kind: ActionKind
    target: ObjectRef
    policies: tuple[BoundPolicyId, ...]
    resource_version: ResourceVersion
    patch: tuple[PatchOperation, ...] = ()
    risk: Risk
    before: Digest
    after: Digest
    replicas: tuple[int, int] | None = None
    reason: str = ""
    digest: Digest
