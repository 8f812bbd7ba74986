"""Writes the records of drift, intent and outcome."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

import msgspec

from lictor.audit import Digester, canonical, is_sensitive
from lictor.errors import AuditUnavailableError
from lictor.model.audit_record import (
    AuditRecord,
    ObjectSection,
    OwnerSection,
    PolicySection,
    ReasonSection,
    RecordType,
    StateSection,
    ViolationSection,
)
from lictor.model.document import Document
from lictor.model.names import Digest, ObjectRef
from lictor.model.owner import Owner
from lictor.model.patch import operations_to_json
from lictor.model.plan import Plan, WriteResult
from lictor.model.policy import ActionKind
from lictor.model.verdict import Verdict
from lictor.ports.audit_sink import AuditSink, Receipt


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What all records of one pass over one object share.

    Attributes:
        violated: the verdicts that are the reason.
        drift: `wseq` of the record of the drift; None where it was not recorded.
        change: names one intended change, from its intent to its outcome.
        reconcile: names the pass.
    """

    target: ObjectRef
    owner: Owner
    violated: tuple[Verdict, ...]
    policy_set: Digest
    facts: Digest
    drift: int | None = None
    change: str = ""
    reconcile: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a plan ended.

    Attributes:
        intent: `wseq` of its intent; None where nothing was tried.
        http: status of the last call; 0 where no answer came, or none was made.
        gate: the reason code of what held it; "" where it was tried.
        after: the state that was read afterwards.
    """

    result: WriteResult
    intent: int | None = None
    http: int = 0
    gate: str = ""
    after: Document | None = None


class Scribe:
    """Turns what happened into drafts and hands them to the sequencer."""

    def __init__(self, sink: AuditSink, digester: Digester, *, engine: str = "") -> None:
        self._sink = sink
        self._digester = digester
        self._engine = engine

    async def drift(self, case: Case, document: Document) -> int:
        """Record that an object violates policies; returns the `wseq`.

        Raises:
            AuditUnavailableError: it is not durable.
        """
        return await self._append(
            msgspec.structs.replace(
                self._draft(RecordType.DRIFT_DETECTED, case),
                viol=self._violations(case),
                before=self._state(document),
            )
        )

    async def intent(self, case: Case, plan: Plan, *, attempt: int) -> int:
        """Record what is about to be written; returns the `wseq`.

        Raises:
            AuditUnavailableError: it is not durable, so nothing may be written.
        """
        return await self._append(
            msgspec.structs.replace(
                self._planned(RecordType.REMEDIATION_INTENT, case, plan=plan), attempt=attempt
            )
        )

    async def outcome(self, case: Case, plan: Plan, *, ending: Ending) -> None:
        """Record how a plan ended.

        Raises:
            AuditUnavailableError: it is not durable.
        """
        draft = self._planned(RecordType.REMEDIATION_OUTCOME, case, plan=plan)
        after = self._state(ending.after) if ending.after is not None else draft.after
        await self._append(
            msgspec.structs.replace(
                draft,
                intent=ending.intent,
                result=ending.result.value,
                gate=ending.gate,
                http=ending.http or None,
                after=after,
            )
        )

    async def held(self, case: Case, *, gate: str) -> None:
        """Record that a gate held before there was a plan.

        Raises:
            AuditUnavailableError: it is not durable.
        """
        await self._append(
            msgspec.structs.replace(
                self._draft(RecordType.REMEDIATION_OUTCOME, case),
                why=self._reason(case),
                result=WriteResult.DENIED.value,
                gate=gate,
            )
        )

    async def recovered(
        self, intent: AuditRecord, *, result: WriteResult, after: Document | None
    ) -> None:
        """Record the outcome of an intent whose process died before it knew.

        Raises:
            AuditUnavailableError: it is not durable.
        """
        state = self._state(after) if after is not None else None
        await self._append(
            AuditRecord(
                type=RecordType.REMEDIATION_OUTCOME,
                pol=intent.pol,
                owner=intent.owner,
                obj=intent.obj,
                why=intent.why,
                act=intent.act,
                before=intent.before,
                patch=intent.patch,
                after=state,
                intent=intent.src.wseq if intent.src is not None else None,
                change=intent.change,
                reconcile=intent.reconcile,
                plan=intent.plan,
                risk=intent.risk,
                result=result.value,
                attempt=intent.attempt,
            )
        )

    async def _append(self, draft: AuditRecord) -> int:
        receipt: Receipt = await self._sink.append(draft)
        # The enforcer is always strict, whatever the mode of its ledger: what is not on record
        # is not done.
        if not receipt.durable:
            raise AuditUnavailableError(f"the record {receipt.rec} is not durable")
        return receipt.wseq

    def _draft(self, record_type: RecordType, case: Case) -> AuditRecord:
        key = case.target.key
        resource = key.resource
        return AuditRecord(
            type=record_type,
            pol=PolicySection(set=case.policy_set, engine=self._engine, inputs=case.facts),
            owner=OwnerSection(name=case.owner.name, by=case.owner.found_by.value),
            obj=ObjectSection(
                gvr=(resource.group, resource.version, resource.resource),
                ns=key.namespace,
                name=key.name,
                uid=case.target.uid,
            ),
            change=case.change,
            reconcile=case.reconcile,
        )

    def _planned(self, record_type: RecordType, case: Case, *, plan: Plan) -> AuditRecord:
        sensitive = is_sensitive(plan.target.kind)
        patch = canonical(operations_to_json(plan.patch))
        return msgspec.structs.replace(
            self._draft(record_type, case),
            why=ReasonSection(drift=case.drift, policies=plan.policies),
            act=_act(plan.kind),
            before=StateSection(rv=plan.resource_version, digest=plan.before),
            patch=self._digester.raw(patch, sensitive=sensitive) if plan.patch else "",
            after=StateSection(digest=plan.after) if plan.after else None,
            plan=plan.digest,
            risk=plan.risk.value,
        )

    def _reason(self, case: Case) -> ReasonSection:
        policies = tuple(sorted(verdict.bound.id for verdict in case.violated))
        return ReasonSection(drift=case.drift, policies=policies)

    def _state(self, document: Document) -> StateSection:
        return StateSection(rv=document.resource_version, digest=self._digester.attest(document))

    def _violations(self, case: Case) -> tuple[ViolationSection, ...]:
        sensitive = is_sensitive(case.target.kind)
        return tuple(self._sections(case.violated, sensitive=sensitive))

    def _sections(self, verdicts: Sequence[Verdict], *, sensitive: bool) -> list[ViolationSection]:
        return [
            ViolationSection(
                p=verdict.bound.policy.name,
                b=verdict.bound.binding,
                r=violation.rule,
                sev=verdict.bound.policy.severity.value,
                path=violation.field_path,
                # A message may quote the value that it is about.
                msg=self._digester.message(violation.message) if sensitive else violation.message,
            )
            for verdict in verdicts
            for violation in verdict.violations
        ]


def _act(kind: ActionKind) -> str:
    match kind:
        case ActionKind.REVERT | ActionKind.PATCH | ActionKind.SCALE:
            return "patch"
        case ActionKind.DELETE:
            return "delete"
        case ActionKind.NOTIFY:
            return "notify"
        case _:
            assert_never(kind)
