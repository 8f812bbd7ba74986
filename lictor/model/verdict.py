"""What was judged: one policy on one object, and all of them together."""

from dataclasses import dataclass, field
from enum import StrEnum

from lictor.model.names import Digest
from lictor.model.owner import Owner
from lictor.model.patch import PatchOperation
from lictor.model.policy import BoundPolicy, StatusReason


class Outcome(StrEnum):
    """What one bound policy says of one object."""

    ERROR = "error"
    VIOLATED = "violated"
    PASSED = "passed"
    SKIPPED = "skipped"
    """A match condition is false."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """One broken rule.

    Attributes:
        rule: which one, as `validations[0]`.
        message: what is wrong and how to mend it.
        field_path: JSON Pointer of the place, "" where the rule names none.
    """

    rule: str
    message: str
    field_path: str = ""
    reason: StatusReason = StatusReason.FORBIDDEN


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One bound policy, one object.

    Attributes:
        error: why the policy could not be evaluated; "" unless `outcome` is ERROR.
        patch: what the policy's mutations change; empty in the phase VALIDATE.
    """

    bound: BoundPolicy
    outcome: Outcome = Outcome.ERROR
    violations: tuple[Violation, ...] = ()
    error: str = ""
    patch: tuple[PatchOperation, ...] = ()


class Cause(StrEnum):
    """What made the decision what it is (`dec.cause` of a record)."""

    POLICY = "policy"
    ERROR = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """All verdicts on one request. Deny is the zero value.

    Attributes:
        code: HTTP status of a denial; 200 where it is allowed.
        verdicts: one for each bound policy that matches, in the order of their ids.
        warnings: for `AdmissionResponse.warnings`.
        patch: all policies' patches, in order; applies to the request's object.
        policy_set: digest of the snapshot.
        facts: digest of the facts that were read.
    """

    allowed: bool = False
    code: int = 403
    reason: StatusReason = StatusReason.FORBIDDEN
    message: str = ""
    cause: Cause | None = None
    verdicts: tuple[Verdict, ...] = ()
    warnings: tuple[str, ...] = ()
    patch: tuple[PatchOperation, ...] = ()
    owner: Owner = field(default_factory=Owner)
    policy_set: Digest
    facts: Digest

    def of(self, outcome: Outcome) -> tuple[Verdict, ...]:
        """Return the verdicts with this outcome."""
        return tuple(verdict for verdict in self.verdicts if verdict.outcome is outcome)
