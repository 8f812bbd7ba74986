"""Writes down what was answered: one record a decision, and the metrics.

Validation records every decision. Mutation records what it changes and what it refuses: a refusal
there ends the request, so that validation never sees it; an empty patch changes nothing, and the
validation that follows has its record.
"""

from dataclasses import dataclass
from typing import Final

import msgspec

from admission.parse import MalformedReviewError
from lictor.audit import Digester, is_sensitive
from lictor.model.audit_record import (
    AuditRecord,
    DecisionSection,
    OwnerSection,
    PolicySection,
    RecordType,
    RequestSection,
    UserSection,
    ViolationSection,
)
from lictor.model.document import Document
from lictor.model.names import RequestUid
from lictor.model.owner import Owner
from lictor.model.policy import AdmissionAction
from lictor.model.request import Origin, Phase, Request, UserInfo
from lictor.model.verdict import Decision, Outcome, Verdict, Violation
from lictor.telemetry import metrics

_MODES: Final = {
    AdmissionAction.DENY: "enforce",
    AdmissionAction.WARN: "warn",
    AdmissionAction.AUDIT: "audit",
}
_ERROR_RULE: Final = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """What came in and what goes out.

    Attributes:
        body: as received; None where it was not read to its end.
        bytes_read: how much came in.
        answer: as sent, but for the receipt.
        patch: part of the answer, not base64.
        microseconds: from the first byte to the rendered answer.
    """

    body: bytes | None
    bytes_read: int
    answer: bytes
    patch: bytes = b""
    microseconds: int


class Emitter:
    """Makes the records of this process."""

    def __init__(self, digester: Digester, *, engine: str) -> None:
        """Take the keys of the digests, and the version of the program that decides."""
        self._digester = digester
        self._engine = engine

    def decided(self, request: Request, decision: Decision, *, exchange: Exchange) -> AuditRecord:
        """Return the draft of the record of one decision."""
        sensitive = is_sensitive(request.kind)
        return AuditRecord(
            type=RecordType.ADMISSION_DECISION,
            req=self._request(request, exchange=exchange, sensitive=sensitive),
            pol=PolicySection(
                set=decision.policy_set,
                engine=self._engine,
                inputs=decision.facts,
                evaluated=len(decision.verdicts),
            ),
            dec=DecisionSection(
                allowed=decision.allowed,
                code=decision.code,
                mode=_mode(decision),
                patch=self._raw(exchange.patch, sensitive=sensitive),
                resp=self._raw(exchange.answer, sensitive=sensitive),
                us=exchange.microseconds,
                cause=decision.cause.value if decision.cause else "",
            ),
            owner=OwnerSection(name=decision.owner.name, by=decision.owner.found_by.value),
            viol=self._violations(decision, sensitive=sensitive),
        )

    def refused(
        self, uid: RequestUid, error: MalformedReviewError, *, exchange: Exchange
    ) -> AuditRecord:
        """Return the draft of the record of a review that could not be judged.

        It may have held a Secret, so its digests are keyed.
        """
        return AuditRecord(
            type=RecordType.ADMISSION_DECISION,
            req=RequestSection(
                uid=uid,
                body=self._raw(exchange.body or b"", sensitive=True),
                bytes=exchange.bytes_read,
            ),
            pol=PolicySection(engine=self._engine, evaluated=0),
            dec=DecisionSection(
                allowed=False,
                code=error.code,
                mode=_MODES[AdmissionAction.DENY],
                resp=self._raw(exchange.answer, sensitive=True),
                us=exchange.microseconds,
                cause="error",
            ),
            detail={"fault": error.fault.value},
        )

    def _request(self, request: Request, *, exchange: Exchange, sensitive: bool) -> RequestSection:
        now, before = request.object, request.old_object
        current = now or before
        return RequestSection(
            uid=request.uid,
            op=request.operation.value,
            dry_run=request.dry_run,
            gvk=(request.kind.group, request.kind.version, request.kind.kind),
            gvr=(request.resource.group, request.resource.version, request.resource.resource),
            sub=request.sub_resource,
            ns=request.namespace,
            name=request.name or (current.meta.name if current else ""),
            obj_uid=current.uid if current else "",
            rv=(before or now or _NOTHING).resource_version,
            user=self._user(request.user) if request.user else None,
            body=self._raw(exchange.body or b"", sensitive=sensitive),
            obj=self._object(now, sensitive=sensitive),
            old=self._object(before, sensitive=sensitive),
            # A dry run persists nothing, so it attests nothing.
            attest=self._digester.attest(now, sensitive=sensitive)
            if now and not request.dry_run
            else "",
            options=self._object(request.options, sensitive=sensitive),
            bytes=exchange.bytes_read,
        )

    def _user(self, user: UserInfo) -> UserSection:
        extra = msgspec.json.encode(user.extra, order="deterministic") if user.extra else b""
        return UserSection(
            name=user.username,
            uid=user.uid,
            groups=user.groups,
            extra=self._raw(extra, sensitive=False),
        )

    def _violations(self, decision: Decision, *, sensitive: bool) -> tuple[ViolationSection, ...]:
        sections = [
            self._violation(verdict, violation, sensitive=sensitive)
            for verdict in decision.verdicts
            for violation in verdict.violations
        ]
        sections += [
            self._violation(
                verdict, Violation(rule=_ERROR_RULE, message=verdict.error), sensitive=sensitive
            )
            for verdict in decision.of(Outcome.ERROR)
        ]
        return tuple(sections)

    def _violation(
        self, verdict: Verdict, violation: Violation, *, sensitive: bool
    ) -> ViolationSection:
        message = violation.message
        return ViolationSection(
            p=verdict.bound.policy.name,
            b=verdict.bound.binding,
            r=violation.rule,
            sev=verdict.bound.policy.severity.value,
            path=violation.field_path,
            msg=self._digester.message(message) if sensitive else message,
        )

    def _object(self, document: Document | None, *, sensitive: bool) -> str:
        return self._digester.object(document, sensitive=sensitive) if document else ""

    def _raw(self, data: bytes, *, sensitive: bool) -> str:
        return self._digester.raw(data, sensitive=sensitive) if data else ""


_NOTHING: Final = Document(b"{}")


def violated(decision: Decision) -> tuple[Verdict, ...]:
    """Return the verdicts with a violation: one that ended in an error may have found some, too."""
    return tuple(verdict for verdict in decision.verdicts if verdict.violations)


def needs_record(request: Request, decision: Decision) -> bool:
    """Return whether a decision of this phase is recorded."""
    return request.phase is Phase.VALIDATE or bool(decision.patch) or not decision.allowed


def owner_label(owner: Owner) -> str:
    """Return the owner as a metric label: a name of the registry, else `unknown`."""
    return owner.name if owner.known else "unknown"


def count(request: Request, decision: Decision, *, seconds: float) -> None:
    """Count one decision; validation alone counts violations, so that each counts once."""
    metrics.REVIEW_SECONDS.labels(phase=request.phase.value).observe(seconds)
    metrics.DECISIONS.labels(
        phase=request.phase.value,
        decision=_word(decision),
        operation=request.operation.value,
    ).inc()
    for verdict in decision.of(Outcome.ERROR):
        metrics.POLICY_ERRORS.labels(policy=verdict.bound.id, origin=Origin.ADMISSION.value).inc()
    if request.phase is Phase.MUTATE:
        return
    for verdict in violated(decision):
        metrics.VIOLATIONS.labels(
            policy=verdict.bound.id,
            severity=verdict.bound.policy.severity.value,
            owner=owner_label(decision.owner),
            action=verdict.bound.policy.enforcement.admission.value,
            origin=Origin.ADMISSION.value,
        ).inc()


def count_refusal(error: MalformedReviewError, *, phase: Phase, seconds: float) -> None:
    """Count one review that could not be judged, answered or not."""
    metrics.MALFORMED.labels(fault=error.fault.value).inc()
    if error.uid is not None:
        metrics.REVIEW_SECONDS.labels(phase=phase.value).observe(seconds)
        metrics.DECISIONS.labels(phase=phase.value, decision="refuse", operation="unknown").inc()


def _word(decision: Decision) -> str:
    if not decision.allowed:
        return "deny"
    if decision.patch:
        return "patch"
    return "warn" if decision.warnings else "allow"


def _mode(decision: Decision) -> str:
    """Return the strictest action that a violated policy asked for; `enforce` where none did."""
    order = list(AdmissionAction)
    actions = [verdict.bound.policy.enforcement.admission for verdict in violated(decision)]
    strictest = min(actions, key=order.index, default=AdmissionAction.DENY)
    return _MODES[AdmissionAction.DENY if not decision.allowed else strictest]
