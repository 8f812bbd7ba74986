"""One pass over one key: what is there, is it lawful, and if not, to whom it is handed."""

from dataclasses import replace
from typing import Final

from enforcer.evaluate import Assessment
from enforcer.gates import Hold, Reason
from enforcer.loop.parts import Limits, Stages
from enforcer.loop.repair import Repairer, effective_mode
from enforcer.loop.tally import OpenViolations, owner_label
from enforcer.loop.values import Next, Pass, Result
from enforcer.record import Case
from lictor.model.document import Document
from lictor.model.names import ObjectKey, ObjectRef, Uid
from lictor.model.owner import Owner
from lictor.model.policy import Existing
from lictor.telemetry import metrics
from lictor.telemetry.logs import logger

_LOG: Final = logger(__name__)

_PLANNED: Final = frozenset({Existing.ENFORCE, Existing.DRY_RUN})


class Reconciler:
    """Level-triggered: whatever happened before, a pass looks at what is there now."""

    def __init__(self, stages: Stages, limits: Limits) -> None:
        self._stages = stages
        self._limits = limits
        self._open = OpenViolations()
        self._uids: dict[ObjectKey, Uid] = {}
        self.repairer = Repairer(stages, limits)

    async def reconcile(self, key: ObjectKey) -> Next:
        """Judge one object, and repair it where the law and every gate say so.

        Raises:
            LictorError: something failed; the key is to be put back with its backoff.
        """
        document = await self._state(key)
        if document is None:
            return await self._gone(key)
        assessment = await self._assess(document, key)
        if assessment.violated and self._wants_live(assessment):
            # What is written is planned on what is there now, never on what a cache remembers.
            document = await self._stages.live.get(key)
            if document is None:
                return await self._gone(key)
            if document.resource_version != assessment.document.resource_version:
                assessment = await self._assess(document, key)
        if not assessment.violated:
            return await self._clean(assessment)
        return await self._violated(assessment)

    async def prune(self, *, complete: bool) -> None:
        """Forget what is kept of objects that no cache knows any more.

        Args:
            complete: every object has been met, so what was not met is gone.

        Raises:
            StoreError: the store could not be written.
        """
        if not self._stages.watch.synced():
            return
        for key in [one for one in self._uids if self._stages.watch.latest(one) is None]:
            await self._gone(key)
        if complete:
            await self._stages.memory.episodes.prune(self._uids.values())
        await self._stages.memory.heats.prune(self._stages.clock.now().timestamp())

    async def _state(self, key: ObjectKey) -> Document | None:
        if self._stages.watch.trusted(key):
            return self._stages.watch.latest(key)
        return await self._stages.live.get(key)

    async def _assess(self, document: Document, key: ObjectKey) -> Assessment:
        target = ObjectRef(key, self._stages.kinds[key.resource], document.uid)
        if self._uids.get(key, document.uid) != document.uid:
            await self._gone(key)
        self._uids[key] = document.uid
        evaluator = self._stages.evaluator
        assessment = await evaluator.assess(document, target)
        unjudged = self._stages.unjudged.get(key.resource)
        if unjudged is not None:
            await evaluator.keep_newest(assessment, unjudged)
        else:
            await evaluator.keep(assessment)
        self._open.update(target.uid, assessment.violated, assessment.decision.owner)
        return assessment

    def _wants_live(self, assessment: Assessment) -> bool:
        return self._stages.fence() and bool(self._modes(assessment) & _PLANNED)

    def _acts_on(self, assessment: Assessment) -> bool:
        return Existing.ENFORCE in self._modes(assessment)

    def _modes(self, assessment: Assessment) -> set[Existing]:
        return {effective_mode(one.bound, self._limits) for one in assessment.violated}

    async def _gone(self, key: ObjectKey) -> Next:
        uid = self._uids.pop(key, None)
        if uid is not None:
            self._open.update(uid, (), Owner())
            await self._stages.evaluator.forget(uid)
            await self._stages.memory.episodes.close(uid)
            await self._stages.memory.heats.forget(uid)
        return Next(result=Result.GONE)

    async def _clean(self, assessment: Assessment) -> Next:
        await self._stages.memory.episodes.close(assessment.target.uid)
        # An error that a missing fact caused may pass; any other comes again each time.
        return Next(result=Result.CLEAN, retry=assessment.uncertain)

    async def _violated(self, assessment: Assessment) -> Next:
        stages, target = self._stages, assessment.target
        now = stages.clock.now().timestamp()
        episode = stages.memory.episodes.observe(
            target.uid,
            assessment.violated,
            policy_set=stages.evaluator.policy_set,
            now=now,
        )
        case = Case(
            target=target,
            owner=assessment.decision.owner,
            violated=assessment.violated,
            policy_set=assessment.decision.policy_set,
            facts=assessment.decision.facts,
            drift=episode.drift,
            change=stages.new_id(),
            reconcile=stages.new_id(),
        )
        this = Pass(assessment=assessment, episode=episode, case=case, now=now)
        if not stages.fence():
            # The leader reports and acts; the others keep watch, and say why they do not.
            if not self._acts_on(assessment):
                return Next(result=Result.HELD)
            hold = Hold(reason=Reason.NOT_LEADER, text="another process holds the Lease")
            return await self.repairer.held(this, hold=hold)
        if episode.drift is None:
            this = await self._report(this)
        return await self.repairer.repair(this)

    async def _report(self, this: Pass) -> Pass:
        drift = await self._stages.scribe.drift(this.case, this.assessment.document)
        episode = await self._stages.memory.episodes.recorded(this.uid, drift)
        key, owner = this.target.key, owner_label(this.case.owner)
        for verdict in this.case.violated:
            policy = verdict.bound.policy
            metrics.DRIFT.labels(
                policy=verdict.bound.id, kind=key.resource.resource, owner=owner
            ).inc()
            metrics.VIOLATIONS.labels(
                policy=verdict.bound.id,
                severity=policy.severity.value,
                owner=owner,
                action=effective_mode(verdict.bound, self._limits).value,
                origin="existing",
            ).inc()
        _LOG.warning(
            "drift",
            uid=this.uid,
            gvk=this.target.kind.kind,
            namespace=key.namespace,
            name=key.name,
            policy=[verdict.bound.id for verdict in this.case.violated],
        )
        return replace(this, episode=episode, case=replace(this.case, drift=drift))
