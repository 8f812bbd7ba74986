"""From an object in violation to a write, or to a hold with its reason."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from http import HTTPStatus
from typing import Final

from enforcer.act import Execution
from enforcer.gates import GateInput, Hold, PolicyState, Reason, check, hold_of_policy
from enforcer.loop.parts import Limits, Stages
from enforcer.loop.values import Next, Pass, Result
from enforcer.plan import Draft, Obstacle, Subject, Tools, make_plan
from enforcer.record import Case, Ending
from enforcer.verify import Verification
from lictor.audit import is_sensitive
from lictor.errors import AuditUnavailableError
from lictor.model.document import Document
from lictor.model.names import BoundPolicyId, Digest
from lictor.model.plan import Plan, WriteResult
from lictor.model.policy import ActionKind, BoundPolicy, Existing, Policy, Severity
from lictor.model.verdict import Verdict
from lictor.telemetry import metrics
from lictor.telemetry.logs import logger

_LOG: Final = logger(__name__)

_REPLICAS: Final = "/spec/replicas"
_STRICTNESS: Final = (Existing.OFF, Existing.INFORM, Existing.DRY_RUN, Existing.ENFORCE)
_UNPLANNED: Final = frozenset({Reason.MODE_OFF, Reason.MODE_INFORM})
_TOLD: Final = frozenset({Reason.QUARANTINED, Reason.APPROVAL_NEEDED})
_DIVISIBLE: Final = frozenset(
    {
        Reason.PAUSED,
        Reason.AUTOSCALED,
        Reason.SCALE_DOWN_DISRUPTION,
        Reason.SCALE_DOWN_UNREADY,
        Reason.SCALE_DOWN_MINIMUM,
        Reason.APPROVAL_NEEDED,
    }
)
"""What a part of a plan may be the reason of, and the rest not."""

_SEVERAL: Final = 2
_SENT: Final = frozenset({WriteResult.APPLIED, WriteResult.UNKNOWN})
_OWED: Final = 1000
_UNSYNCED_SECONDS: Final = 0.5
_ESCALATION_SECONDS: Final = 600.0
"""Long enough to be no hot loop, short enough that a mended cluster is found again."""

_FORBIDDEN_SECONDS: Final = 1.0
"""An API server that has just started answers 403 until it has read its roles: about a second."""

_TELL_SECONDS: Final = 60.0
"""Who is refused for so long should tell somebody."""


def effective_mode(bound: BoundPolicy, limits: Limits) -> Existing:
    """Return the stricter of the policy's `existing` and the enforcer's mode."""
    return min(bound.policy.enforcement.existing, limits.mode, key=_STRICTNESS.index)


class Repairer:
    """Plans, asks the gates, and acts with an intent on record before and an outcome after."""

    def __init__(self, stages: Stages, limits: Limits) -> None:
        self._stages = stages
        self._limits = limits
        self._governed: dict[BoundPolicyId, int] = {}
        self._owed: list[tuple[Case, Plan, Ending]] = []

    def count_governed(self, policies: Sequence[BoundPolicy]) -> None:
        """Count the objects that each policy may match: shares of budgets are taken of these."""
        counts = self._stages.watch.counts()
        self._governed = {
            bound.id: sum(
                count
                for gvr, count in counts.items()
                if _names(bound.policy, group=gvr.group, resource=gvr.resource)
            )
            for bound in policies
        }

    async def pay_owed(self) -> None:
        """Try again to record the outcomes that could not be made durable.

        Raises:
            AuditUnavailableError: it still fails.
        """
        while self._owed:
            case, plan, ending = self._owed[0]
            await self._stages.scribe.outcome(case, plan, ending=ending)
            del self._owed[0]

    async def repair(self, this: Pass) -> Next:
        """Do what is to be done about an object in violation.

        Raises:
            AuditUnavailableError: nothing was done, since it could not be put on record.
            ApiError: the API server could not be asked what had to be known.
            StoreError: the memory could not be read or written.
        """
        states = {verdict.bound.id: self._state(this, verdict) for verdict in this.case.violated}
        holds = {one: hold_of_policy(state) for one, state in states.items()}
        free = [one for one in this.case.violated if holds[one.bound.id] is None]
        if not free and (early := _unplanned(list(holds.values()))) is not None:
            return await self.held(this, hold=early)
        done = await self._repair(this, free or self._by_strictest(this.case.violated))
        return _by_the_first(done, holds.values())

    async def _repair(self, this: Pass, chosen: Sequence[Verdict]) -> Next:
        if not self._stages.watch.synced():
            # A pause or an owner that a cache does not show yet must not be overlooked.
            return Next(result=Result.RETRY, after_seconds=_UNSYNCED_SECONDS)
        this = this.with_around(
            await self._stages.surroundings.around(this.assessment.document, this.target)
        )
        await self._end_quarantine(this)
        plan, hold = await self._choose(this, chosen)
        # From the gates to the charge nothing waits: two workers never spend the same room.
        if hold is not None:
            return await self._hold(this, plan, hold=hold)
        if plan.kind is ActionKind.NOTIFY:
            return await self._notify(this, plan)
        await self._stages.memory.budgets.charge(plan.policies, this.now)
        return await self._carry_out(this, plan)

    async def _choose(self, this: Pass, chosen: Sequence[Verdict]) -> tuple[Plan, Hold | None]:
        """Plan for all policies together, or for one that the gates let pass alone.

        What must wait for one policy would shield every other violation of the object.
        """
        plan = (await self._plan(this, chosen)).plan
        hold = self._hold_of(this, plan)
        if hold is None or hold.reason not in _DIVISIBLE or len(plan.policies) < _SEVERAL:
            return plan, hold
        for verdict in chosen:
            part = (await self._plan(this, [verdict])).plan
            if part.kind is not ActionKind.NOTIFY and self._hold_of(this, part) is None:
                return part, None
        return plan, hold

    def _hold_of(self, this: Pass, plan: Plan) -> Hold | None:
        acting = [one for one in this.case.violated if one.bound.id in plan.policies]
        return check(self._gate_input(this, plan, [self._state(this, one) for one in acting]))

    async def held(self, this: Pass, *, hold: Hold, plan: Plan | None = None) -> Next:
        """Record why nothing is done, once for each reason.

        Raises:
            AuditUnavailableError: the record is not durable.
            StoreError: the memory could not be written.
        """
        if this.episode.held != hold.reason:
            if plan is None:
                await self._stages.scribe.held(this.case, gate=hold.reason)
            else:
                ending = Ending(result=WriteResult.DENIED, gate=hold.reason)
                await self._stages.scribe.outcome(this.case, plan, ending=ending)
            policies = plan.policies if plan else [one.bound.id for one in this.case.violated]
            for policy in policies:
                metrics.GATE_HOLDS.labels(gate=hold.reason, policy=policy).inc()
            _log(this, "held", decision=hold.reason, reason=hold.text)
            await self._stages.memory.episodes.hold(this.uid, hold.reason)
        return Next(result=Result.HELD, after_seconds=hold.recheck_seconds, also=hold.delegate)

    def _by_strictest(self, verdicts: Sequence[Verdict]) -> list[Verdict]:
        """Return what may be planned at all: nothing below dry-run is."""
        planned = (Existing.ENFORCE, Existing.DRY_RUN)
        return [one for one in verdicts if effective_mode(one.bound, self._limits) in planned]

    def _state(self, this: Pass, verdict: Verdict) -> PolicyState:
        stages, bound = self._stages, verdict.bound
        enforcement = bound.policy.enforcement
        urgent = bound.policy.severity is Severity.CRITICAL
        spending = stages.memory.budgets.of_policy(bound.id, this.now)
        share = int(self._limits.policy_share * self._governed.get(bound.id, 0))
        return PolicyState(
            id=bound.id,
            mode=effective_mode(bound, self._limits),
            settle_seconds=0.0 if urgent else enforcement.settle.total_seconds(),
            age_seconds=this.now - this.episode.since.get(bound.id, this.now),
            reads=this.episode.reads,
            paused_seconds=stages.surroundings.paused_seconds(
                this.target.key.namespace, bound.policy.name, stages.clock.now()
            ),
            spent=spending.spent,
            allowance=max(self._limits.policy_objects, share),
            room_seconds=spending.room_seconds,
        )

    async def _plan(self, this: Pass, chosen: Sequence[Verdict]) -> Draft:
        stages, assessment = self._stages, this.assessment
        baseline = await stages.evaluator.baseline(this.uid)
        body = baseline.body if baseline is not None else None
        missing = Obstacle.BASELINE_MISSING if baseline is None else Obstacle.BASELINE_DIGEST_ONLY
        autoscaled = stages.watch.autoscaled(this.target)
        draft = make_plan(
            Subject(
                live=assessment.document,
                target=this.target,
                failing=assessment.failing,
                repair=tuple(verdict.bound for verdict in chosen),
                baseline=Document(body) if body is not None else None,
                obstacle=missing,
                ignored=(_REPLICAS,) if autoscaled else (),
            ),
            Tools(
                judge=stages.evaluator.judge(assessment),
                mutate=stages.evaluator.mutate(assessment),
                digester=stages.digester,
            ),
        )
        if draft.exhausted:
            metrics.LIMIT_HITS.labels(limit="plan-evaluations").inc()
        return draft

    def _gate_input(self, this: Pass, plan: Plan, states: Sequence[PolicyState]) -> GateInput:
        stages, now, memory = self._stages, this.now, self._stages.memory
        cluster = memory.budgets.of_cluster(now)
        document, episode, owner = this.assessment.document, this.episode, this.around.owner
        bounds = [one.bound.policy.enforcement.scale for one in this.case.violated]
        return GateInput(
            plan=plan,
            now=stages.clock.now(),
            switches=self._limits.switches,
            leader=stages.fence(),
            policies=tuple(states),
            terminating=this.around.terminating,
            paused_by=this.around.paused_by,
            scaling=stages.surroundings.scaling(
                document, plan, minimum=max((one.minimum for one in bounds if one), default=0)
            ),
            owner=owner,
            owner_governed=owner is not None and stages.watch.governs(owner),
            heat=memory.heats.at(this.uid, episode.began_for(plan.policies)),
            drift_age_seconds=now - episode.began_for(plan.policies),
            quarantined=self._quarantined(this),
            escalated_seconds=episode.escalated_until - now,
            cluster_spent=cluster.spent,
            cluster_allowance=self._limits.cluster_writes,
            cluster_room_seconds=cluster.room_seconds,
        )

    def _quarantined(self, this: Pass) -> bool:
        return self._stages.memory.heats.quarantined(
            this.uid,
            policy_set=self._stages.evaluator.policy_set,
            state=self._state_digest(this),
            now=this.now,
        )

    def _state_digest(self, this: Pass) -> Digest:
        # Not the resourceVersion: a workload's status changes all day, and is nobody's fight.
        return self._stages.digester.attest(this.assessment.document)

    async def _end_quarantine(self, this: Pass) -> None:
        """Let an object begin cold whose quarantine is over."""
        if not self._quarantined(this):
            await self._stages.memory.heats.release(this.uid)

    async def _hold(self, this: Pass, plan: Plan, *, hold: Hold) -> Next:
        stages = self._stages
        if hold.reason is Reason.QUARANTINED:
            await stages.memory.heats.quarantine(
                this.uid,
                policy_set=stages.evaluator.policy_set,
                state=self._state_digest(this),
                now=this.now,
            )
        news = this.episode.held != hold.reason
        if hold.reason is Reason.MODE_DRY_RUN and news and plan.patch:
            refused = await stages.actor.rehearse(
                plan,
                before=this.assessment.failing,
                judge=stages.evaluator.judge(this.assessment),
            )
            _log(this, "dry-run", decision="refused" if refused else "would-repair")
        done = await self.held(this, hold=hold, plan=plan)
        if news and (hold.reason in _TOLD or (hold.reason is Reason.OWNED and not hold.delegate)):
            await self._tell(this, reason="RepairHeld", note=hold.text)
        return done

    async def _notify(self, this: Pass, plan: Plan) -> Next:
        """Tell people what no write of ours can mend, once."""
        mark = f"notify:{plan.reason}"
        if this.episode.held == mark:
            return Next(result=Result.NOTIFIED)
        messages = [one.message for verdict in this.case.violated for one in verdict.violations]
        note = "; ".join(messages)
        sent = await self._tell(this, reason="PolicyViolation", note=note)
        result = WriteResult.DENIED if plan.reason else sent
        ending = Ending(result=result, gate=plan.reason)
        await self._stages.scribe.outcome(this.case, plan, ending=ending)
        await self._stages.memory.episodes.hold(this.uid, mark)
        for policy in plan.policies:
            metrics.REMEDIATIONS.labels(action=plan.kind, result=result, policy=policy).inc()
            if plan.reason:
                metrics.GATE_HOLDS.labels(gate=plan.reason, policy=policy).inc()
        _log(this, "notified", decision=plan.reason or "notify")
        return Next(result=Result.NOTIFIED)

    async def _tell(self, this: Pass, *, reason: str, note: str) -> WriteResult:
        # A message about a Secret, of a policy or of the API server, may quote its value.
        if is_sensitive(this.target.kind):
            note = ", ".join(verdict.bound.id for verdict in this.case.violated)
        return await self._stages.actor.notify(this.target, reason=reason, note=note)

    async def _carry_out(self, this: Pass, plan: Plan) -> Next:
        stages = self._stages
        episode = stages.memory.episodes.tried(this.uid)
        try:
            intent = await stages.scribe.intent(this.case, plan, attempt=episode.attempts)
        except AuditUnavailableError:
            await stages.memory.budgets.refund(plan.policies, this.now)
            raise
        judge = stages.evaluator.judge(this.assessment)
        execution = await stages.actor.carry_out(
            plan, before=this.assessment.failing, judge=judge, fence=stages.fence
        )
        verification = Verification(result=execution.result)
        if execution.result not in _SENT:
            await stages.memory.budgets.refund(plan.policies, this.now)
        else:
            verification = await stages.verifier.verify(plan, result=execution.result, judge=judge)
        ending = Ending(
            result=verification.result,
            intent=intent,
            http=execution.http,
            gate=Reason.NOT_LEADER if execution.fenced else "",
            after=verification.document or execution.written,
        )
        return await self._conclude(
            replace(this, episode=episode),
            plan,
            ending=ending,
            execution=execution,
            verification=verification,
        )

    async def _conclude(
        self,
        this: Pass,
        plan: Plan,
        *,
        ending: Ending,
        execution: Execution,
        verification: Verification,
    ) -> Next:
        stages, after = self._stages, ending.after
        if ending.result is WriteResult.APPLIED:
            heat = stages.memory.heats.at(this.uid, this.episode.began_for(plan.policies))
            await stages.memory.heats.add(this.uid, heat=heat, now=stages.clock.now().timestamp())
        if after is not None and after.resource_version != plan.resource_version:
            stages.watch.wrote(
                this.target.key, before=plan.resource_version, after=after.resource_version
            )
        for policy in plan.policies:
            metrics.REMEDIATIONS.labels(action=plan.kind, result=ending.result, policy=policy).inc()
        await self._settle_accounts(this.case, plan, ending)
        _log(this, "outcome", decision=ending.result, reason=execution.text)
        if verification.verified:
            await stages.memory.episodes.mended(this.uid, plan.policies)
            return Next(result=Result.REPAIRED)
        if execution.terminal:
            return await self._escalate(this, execution)
        return _again(execution)

    async def _escalate(self, this: Pass, execution: Execution) -> Next:
        """Wait before the next try: a 403 may pass, so its first waits are short."""
        seconds = _ESCALATION_SECONDS
        if execution.http in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            doubled = _FORBIDDEN_SECONDS * 2.0 ** min(this.episode.attempts - 1, 16)
            seconds = min(doubled, _ESCALATION_SECONDS)
        await self._stages.memory.episodes.escalate(this.uid, until=this.now + seconds)
        if seconds >= _TELL_SECONDS:
            await self._tell(this, reason="RepairRefused", note=execution.text)
        return Next(result=Result.HELD, after_seconds=seconds)

    async def _settle_accounts(self, case: Case, plan: Plan, ending: Ending) -> None:
        try:
            await self._stages.scribe.outcome(case, plan, ending=ending)
        except AuditUnavailableError:
            # What was done is done: the outcome is owed, and paid when the ledger is back. A
            # crash before that leaves an open intent, which the next start resolves.
            if len(self._owed) < _OWED:
                self._owed.append((case, plan, ending))
            else:
                metrics.LIMIT_HITS.labels(limit="owed-outcomes").inc()


def _again(execution: Execution) -> Next:
    if execution.retry_after_seconds is not None:
        return Next(result=Result.RETRY, after_seconds=execution.retry_after_seconds)
    if execution.result is WriteResult.GONE:
        return Next(result=Result.GONE, after_seconds=0.0)
    return Next(result=Result.RETRY, retry=True)


def _by_the_first(done: Next, holds: Iterable[Hold | None]) -> Next:
    """Come back when the first of the policies that are held by themselves may be free."""
    if done.result not in {Result.HELD, Result.NOTIFIED}:
        return done
    times = [hold.recheck_seconds for hold in holds if hold is not None]
    waits = [wait for wait in (done.after_seconds, *times) if wait is not None]
    return replace(done, after_seconds=min(waits, default=None))


def _unplanned(holds: Sequence[Hold | None]) -> Hold | None:
    """Return the hold of a violation that is only to be reported: it needs no plan."""
    if any(hold is None or hold.reason not in _UNPLANNED for hold in holds):
        return None
    return holds[0]


def _names(policy: Policy, *, group: str, resource: str) -> bool:
    return any(
        {group, "*"} & set(rule.api_groups) and {resource, "*", "*/*"} & set(rule.resources)
        for rule in policy.match.resource_rules
    )


def _log(this: Pass, event: str, *, decision: str, reason: str = "") -> None:
    key = this.target.key
    _LOG.info(
        event,
        uid=this.uid,
        policy=[verdict.bound.id for verdict in this.case.violated],
        gvk=this.target.kind.kind,
        namespace=key.namespace,
        name=key.name,
        decision=decision,
        reason="" if is_sensitive(this.target.kind) else reason,
    )
