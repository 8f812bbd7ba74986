"""Turns a decision into the answer: an AdmissionReview of `admission.k8s.io/v1`.

The answer is made in two steps. `render` gives it without a receipt: its digest goes into the
record (`dec.resp`). `seal` adds the receipt of that record (`rec` and `leaf`), which the API server
puts into its own audit log. Who takes both annotations away again has the bytes of the first step.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from admission.parse import API_VERSION, KIND, MalformedReviewError
from lictor.audit import is_sensitive
from lictor.model.names import RequestUid
from lictor.model.patch import operations_to_json
from lictor.model.request import Request
from lictor.model.verdict import Decision, Outcome
from lictor.ports.audit_sink import Receipt

_MESSAGE_LENGTH: Final = 16 * 1024
"""A person reads it in a terminal; the policies of one review rarely need a hundredth of it."""

_WARNINGS_TOTAL: Final = 4096
_WARNING_LENGTH: Final = 256
"""kube-apiserver cuts every warning to 256 characters once all of a request pass 4096."""

_ANNOTATED_VIOLATIONS: Final = 50
"""As many as the API server itself lists in `validation_failure`."""

_ANNOTATED_MESSAGE: Final = 256

# The API server drops a warning with a control character: its header could not carry it.
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]+")


class _Status(msgspec.Struct, frozen=True, omit_defaults=True):
    status: str = ""
    message: str = ""
    reason: str = ""
    code: int = 0


class _Response(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """`AdmissionResponse`; `uid` and `allowed` have no default, so that they are always sent."""

    uid: str
    allowed: bool
    status: _Status | None = None
    patch: bytes = b""
    patch_type: str = ""
    audit_annotations: dict[str, str] = msgspec.field(default_factory=dict)
    warnings: tuple[str, ...] = ()


class _Review(msgspec.Struct, frozen=True, rename="camel"):
    api_version: str
    kind: str
    response: _Response


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the API server is told.

    Attributes:
        patch: JSON Patch as bytes, not yet base64; empty unless the object is admitted, changed.
        annotations: for `auditAnnotations`: names without a prefix, which the API server adds.
    """

    uid: RequestUid
    allowed: bool = False
    code: int = 403
    reason: str = ""
    message: str = ""
    warnings: tuple[str, ...] = ()
    patch: bytes = b""
    annotations: Mapping[str, str] = field(default_factory=dict)

    def encode(self) -> bytes:
        """Write the AdmissionReview; equal answers give equal bytes."""
        response = _Response(
            uid=self.uid,
            allowed=self.allowed,
            status=None if self.allowed else self._status(),
            patch=self.patch,
            patch_type="JSONPatch" if self.patch else "",
            audit_annotations=dict(self.annotations),
            warnings=self.warnings,
        )
        return msgspec.json.encode(_Review(API_VERSION, KIND, response))

    def _status(self) -> _Status:
        return _Status("Failure", self.message, self.reason, self.code)


def render(request: Request, decision: Decision) -> Answer:
    """Return the answer to `request`, without a receipt."""
    patch = b""
    if decision.allowed and decision.patch:
        patch = msgspec.json.encode(operations_to_json(decision.patch))
    return Answer(
        uid=request.uid,
        allowed=decision.allowed,
        code=decision.code,
        reason=decision.reason.value,
        message=_cut(decision.message, length=_MESSAGE_LENGTH),
        warnings=limit_warnings(decision.warnings),
        patch=patch,
        annotations=_annotations(request, decision),
    )


def refuse(error: MalformedReviewError, uid: RequestUid) -> Answer:
    """Return the denial of a review that could not be judged."""
    message = _cut(f"lictor cannot judge this request, so it is denied: {error}", length=1024)
    return Answer(uid=uid, code=error.code, reason=error.reason, message=message)


def seal(answer: Answer, receipt: Receipt) -> bytes:
    """Write `answer` with the place of its record in the ledger."""
    annotations = {**answer.annotations, "rec": receipt.rec, "leaf": receipt.leaf}
    return Answer(
        uid=answer.uid,
        allowed=answer.allowed,
        code=answer.code,
        reason=answer.reason,
        message=answer.message,
        warnings=answer.warnings,
        patch=answer.patch,
        annotations=annotations,
    ).encode()


def limit_warnings(warnings: Sequence[str]) -> tuple[str, ...]:
    """Return the warnings, each once, such that the API server passes on every one as it is."""
    unique = tuple(dict.fromkeys(filter(None, map(_one_line, warnings))))
    if sum(map(len, unique)) <= _WARNINGS_TOTAL:
        return unique
    short = [_cut(warning, length=_WARNING_LENGTH) for warning in unique]
    # One place is kept for the line that says how many are missing.
    room = _WARNINGS_TOTAL // _WARNING_LENGTH - 1
    if len(short) <= room:
        return tuple(short)
    return (*short[:room], f"{len(short) - room} more warnings of lictor are not shown")


def _annotations(request: Request, decision: Decision) -> dict[str, str]:
    """Name the owner and what was found, for the API server's own audit log.

    Nothing of a Secret but the names of the policies goes there.
    """
    found = [
        {
            "policy": verdict.bound.id,
            "rule": violation.rule,
            "action": verdict.bound.policy.enforcement.admission.value,
            "message": (
                ""
                if is_sensitive(request.kind)
                else _cut(_one_line(violation.message), length=_ANNOTATED_MESSAGE)
            ),
        }
        for verdict in decision.verdicts
        for violation in verdict.violations
    ]
    # Mutation sees labels before the API server has checked them.
    annotations = {"owner": _cut(_one_line(decision.owner.name), length=_ANNOTATED_MESSAGE)}
    if found:
        annotations["violations"] = msgspec.json.encode(found[:_ANNOTATED_VIOLATIONS]).decode()
    errors = [verdict.bound.id for verdict in decision.of(Outcome.ERROR)]
    if errors:
        annotations["errors"] = ",".join(errors[:_ANNOTATED_VIOLATIONS])
    return annotations


def _one_line(text: str) -> str:
    return _CONTROL.sub(" ", text).strip()


def _cut(text: str, *, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
