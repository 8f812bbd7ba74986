"""Judges existing objects by the same law as the gate, and keeps their last good states."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from typing_extensions import override

from lictor.audit import Digester, is_sensitive
from lictor.decide import decide
from lictor.gather import gather
from lictor.matching import NAMESPACES
from lictor.model.document import Document
from lictor.model.facts import Facts, Needs
from lictor.model.names import BoundPolicyId, Digest, ObjectKey, ObjectRef, Uid
from lictor.model.patch import PatchOperation
from lictor.model.policy import Existing
from lictor.model.request import Request
from lictor.model.review import existing_review, mutation_review
from lictor.model.verdict import Decision, Outcome, Verdict
from lictor.policy import Snapshot
from lictor.ports.baseline_store import Baseline, BaselineStore
from lictor.ports.object_cache import UnjudgedStates
from lictor.ports.reader import Reader
from lictor.telemetry import metrics

_REMEMBERED: Final = 200_000
"""Digests of baselines that are kept in memory, as many as keys in the queue."""

_REPAIRING: Final = frozenset({Existing.ENFORCE, Existing.DRY_RUN})


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessment:
    """One state of one object, judged.

    Attributes:
        failing: every bound policy that is violated or failed to evaluate.
        uncertain: a fact could not be gathered; to judge again may give another answer.
    """

    document: Document
    target: ObjectRef
    decision: Decision
    facts: Facts
    failing: frozenset[BoundPolicyId] = field(default_factory=frozenset)
    uncertain: bool = False

    @property
    def violated(self) -> tuple[Verdict, ...]:
        """The violated policies, in the order of their ids."""
        return self.decision.of(Outcome.VIOLATED)

    @property
    def errors(self) -> tuple[Verdict, ...]:
        """The policies that failed to evaluate; none of them ever leads to a write."""
        return self.decision.of(Outcome.ERROR)

    @property
    def good(self) -> bool:
        """Whether the state may become a baseline: every policy that repairs is satisfied.

        What a policy in mode `inform` says does not count, nor does a switch of the whole
        enforcer: a violation must not become good because repairing was switched off.
        """
        return not any(
            verdict.outcome in {Outcome.VIOLATED, Outcome.ERROR}
            and verdict.bound.policy.enforcement.existing in _REPAIRING
            for verdict in self.decision.verdicts
        )


class _Noting(Reader):
    """Reads for one decision and notes what was read, so that the same facts serve again."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self.namespaces: dict[str, Document | None] = {}
        self.failures: dict[str, str] = {}

    @override
    async def get(self, key: ObjectKey) -> Document | None:
        # Until there is an answer it is a failure: a timeout ends the wait from outside.
        name = f"namespace/{key.name}"
        self.failures[name] = "no answer"
        found = await self._reader.get(key)
        del self.failures[name]
        if key.resource == NAMESPACES:
            self.namespaces[key.name] = found
        return found

    @property
    def facts(self) -> Facts:
        return Facts(namespaces=self.namespaces, failures=self.failures)


class Evaluator:
    """One snapshot, one door to facts, one store of baselines."""

    def __init__(
        self,
        snapshot: Snapshot,
        reader: Reader,
        *,
        baselines: BaselineStore,
        digester: Digester,
        timeout_seconds: float = 5.0,
    ) -> None:
        self._snapshot = snapshot
        self._reader = reader
        self._baselines = baselines
        self._digester = digester
        self._timeout = timeout_seconds
        self._known: dict[Uid, Digest] = {}

    @property
    def policy_set(self) -> Digest:
        """The digest of the law that judges."""
        return self._snapshot.digest

    async def assess(self, document: Document, target: ObjectRef) -> Assessment:
        """Judge one state of an object."""
        noting = _Noting(self._reader)
        request = existing_review(document, key=target.key, kind=target.kind)
        decision = await gather(request, self._snapshot, noting, timeout_seconds=self._timeout)
        for verdict in decision.of(Outcome.ERROR):
            metrics.POLICY_ERRORS.labels(policy=verdict.bound.id, origin="existing").inc()
        return Assessment(
            document=document,
            target=target,
            decision=decision,
            facts=noting.facts,
            failing=_failing(decision),
            uncertain=bool(noting.failures),
        )

    def judge(self, assessment: Assessment) -> Callable[[Document], frozenset[BoundPolicyId]]:
        """Return what judges other states of the same object, by the same facts."""

        def failing(document: Document) -> frozenset[BoundPolicyId]:
            target = assessment.target
            review = existing_review(document, key=target.key, kind=target.kind)
            decision = self._decide(review, assessment.facts)
            # What cannot be decided satisfies nobody.
            return self._everything if decision is None else _failing(decision)

        return failing

    def mutate(
        self, assessment: Assessment
    ) -> Callable[[Document], Mapping[BoundPolicyId, tuple[PatchOperation, ...]]]:
        """Return what gives the policies' own mutations of other states of the same object."""

        def patches(document: Document) -> Mapping[BoundPolicyId, tuple[PatchOperation, ...]]:
            target = assessment.target
            review = mutation_review(document, key=target.key, kind=target.kind)
            decision = self._decide(review, assessment.facts)
            verdicts = decision.verdicts if decision is not None else ()
            return {verdict.bound.id: verdict.patch for verdict in verdicts}

        return patches

    async def keep(self, assessment: Assessment) -> bool:
        """Make a good state the baseline; returns whether it was new.

        Raises:
            StoreError: the store could not be read or written.
        """
        document, target = assessment.document, assessment.target
        if not assessment.good or not document.uid:
            return False
        digest = self._digester.attest(document)
        if await self._known_digest(document.uid) == digest:
            return False
        body = None if is_sensitive(target.kind) else document.raw
        baseline = Baseline(
            key=target.key,
            uid=document.uid,
            digest=digest,
            body=body,
            policy_set=self._snapshot.digest,
        )
        # It waits for the disk, and at a start there is one for each object.
        await asyncio.to_thread(self._baselines.put, baseline)
        self._remember(document.uid, digest)
        metrics.BASELINES.labels(result="kept").inc()
        return True

    async def keep_newest(self, assessment: Assessment, unjudged: UnjudgedStates) -> bool:
        """Make the newest good state the baseline: this one, or one that was overtaken unjudged.

        So a change that comes faster than the judging does not cost the baseline.

        Raises:
            StoreError: the store could not be read or written.
        """
        target = assessment.target
        states: Sequence[Document] = unjudged.take(target.key, target.uid)
        if assessment.good:
            states = _newer(states, than=assessment.document)
        known = await self._known_digest(target.uid)
        for state in states:
            if self._digester.attest(state) == known:
                return False
            earlier = await self.assess(state, target)
            if earlier.good:
                return await self.keep(earlier)
        return await self.keep(assessment)

    async def baseline(self, uid: Uid) -> Baseline | None:
        """Return the last good state of an object.

        Raises:
            StoreError: the store could not be read.
        """
        return await asyncio.to_thread(self._baselines.get, uid)

    async def forget(self, uid: Uid) -> None:
        """Drop the baseline of an object that is gone.

        Raises:
            StoreError: the store could not be written.
        """
        self._known.pop(uid, None)
        await asyncio.to_thread(self._baselines.forget, uid)

    @property
    def _everything(self) -> frozenset[BoundPolicyId]:
        return frozenset(bound.id for bound in self._snapshot.policies)

    def _decide(self, request: Request, facts: Facts) -> Decision | None:
        answer = decide(request, self._snapshot, facts)
        return None if isinstance(answer, Needs) else answer

    async def _known_digest(self, uid: Uid) -> Digest | None:
        known = self._known.get(uid)
        if known is None:
            stored = await self.baseline(uid)
            if stored is not None:
                self._remember(uid, stored.digest)
                known = stored.digest
        return known

    def _remember(self, uid: Uid, digest: Digest) -> None:
        if len(self._known) >= _REMEMBERED and uid not in self._known:
            metrics.LIMIT_HITS.labels(limit="baseline-digests").inc()
            self._known.pop(next(iter(self._known)))
        self._known[uid] = digest


def _newer(states: Sequence[Document], *, than: Document) -> Sequence[Document]:
    """Return the states, newest first, that came while `than` was judged."""
    versions = [state.resource_version for state in states]
    # A state that was not overtaken itself is the newest of all.
    return (
        states[: versions.index(than.resource_version)] if than.resource_version in versions else ()
    )


def _failing(decision: Decision) -> frozenset[BoundPolicyId]:
    return frozenset(
        verdict.bound.id
        for verdict in decision.verdicts
        if verdict.outcome in {Outcome.VIOLATED, Outcome.ERROR}
    )
