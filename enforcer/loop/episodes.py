"""Episodes of drift: one an object, from the first sight of a violation to its end."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from lictor.audit import canonical, digest
from lictor.jsontypes import Json, JsonObject
from lictor.model.names import BoundPolicyId, Digest, Uid
from lictor.model.verdict import Verdict
from lictor.ports.state_store import StateKind, StateStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Episode:
    """What is remembered of an object in violation.

    Attributes:
        fingerprint: of what is violated, under which revision of the law.
        since: when each violated policy was first seen violated; Unix seconds.
        reads: how many reads in a row have shown this fingerprint.
        drift: `wseq` of its record; None until that is durable.
        attempts: intents so far.
        held: the reason that was recorded last; "" where none was.
        escalated_until: Unix seconds until when nothing is tried.
    """

    fingerprint: str
    since: dict[BoundPolicyId, float] = field(default_factory=dict)
    reads: int = 1
    drift: int | None = None
    attempts: int = 0
    held: str = ""
    escalated_until: float = 0.0

    @property
    def began(self) -> float:
        """When the oldest violation was first seen."""
        return min(self.since.values(), default=0.0)

    def began_for(self, policies: Iterable[BoundPolicyId]) -> float:
        """Return when the oldest violation of these policies was first seen."""
        return min((self.since[one] for one in policies if one in self.since), default=self.began)


class Episodes:
    """Keeps episodes through restarts, so that no drift is reported twice."""

    def __init__(self, states: StateStore) -> None:
        self._states = states
        self._open: dict[Uid, Episode] = {}

    def load(self) -> None:
        """Read what was kept; the reads in a row begin anew.

        Raises:
            StoreError: the store could not be read.
        """
        for key, state in self._states.items(StateKind.EPISODE):
            self._open[Uid(key)] = _from_state(state)

    def observe(
        self, uid: Uid, verdicts: Sequence[Verdict], *, policy_set: Digest, now: float
    ) -> Episode:
        """Note that an object is in violation; returns its episode, a new one where need be.

        A policy that stays violated keeps the time at which that began, even when others come
        and go: settling cannot be put off by adding violations.
        """
        fingerprint = fingerprint_of(verdicts, policy_set)
        known = self._open.get(uid)
        ids = [verdict.bound.id for verdict in verdicts]
        earlier = known.since if known is not None else {}
        since = {one: earlier.get(one, now) for one in ids}
        if known is not None and known.fingerprint == fingerprint:
            episode = replace(known, reads=known.reads + 1)
        else:
            reads = known.reads + 1 if known is not None and set(ids) <= set(earlier) else 1
            episode = Episode(fingerprint=fingerprint, since=since, reads=reads)
        # It is kept with the first thing that is recorded of it.
        self._open[uid] = episode
        return episode

    async def recorded(self, uid: Uid, drift: int) -> Episode:
        """Note that the drift is on record.

        Raises:
            StoreError: the store could not be written.
        """
        return await self._keep(uid, replace(self._open[uid], drift=drift))

    def tried(self, uid: Uid) -> Episode:
        """Note one more attempt; kept in memory, since the intent itself is on record."""
        self._open[uid] = replace(self._open[uid], attempts=self._open[uid].attempts + 1)
        return self._open[uid]

    async def hold(self, uid: Uid, reason: str) -> bool:
        """Note what holds it; returns whether that is news.

        Raises:
            StoreError: the store could not be written.
        """
        if self._open[uid].held == reason:
            return False
        await self._keep(uid, replace(self._open[uid], held=reason))
        return True

    async def escalate(self, uid: Uid, *, until: float) -> None:
        """Try nothing until then, in Unix seconds: the API server has refused.

        Raises:
            StoreError: the store could not be written.
        """
        await self._keep(uid, replace(self._open[uid], escalated_until=until))

    async def mended(self, uid: Uid, policies: Iterable[BoundPolicyId]) -> None:
        """End the episode for these policies; what others still find keeps its age.

        Raises:
            StoreError: the store could not be written.
        """
        known, done = self._open.get(uid), frozenset(policies)
        since = {one: at for one, at in known.since.items() if one not in done} if known else {}
        if known is not None and since:
            # Without a fingerprint the next sight is another drift, to be recorded again.
            rest = Episode(fingerprint="", since=since, reads=known.reads)
            await self._keep(uid, rest)
        else:
            await self.close(uid)

    async def close(self, uid: Uid) -> Episode | None:
        """End the episode: the object complies, or is gone.

        Raises:
            StoreError: the store could not be written.
        """
        episode = self._open.pop(uid, None)
        if episode is not None:
            await asyncio.to_thread(self._states.write, StateKind.EPISODE, uid, None)
        return episode

    async def prune(self, alive: Iterable[Uid]) -> None:
        """End the episodes of objects that went unseen.

        Raises:
            StoreError: the store could not be written.
        """
        for uid in self._open.keys() - set(alive):
            await self.close(uid)

    async def _keep(self, uid: Uid, episode: Episode) -> Episode:
        self._open[uid] = episode
        await asyncio.to_thread(self._states.write, StateKind.EPISODE, uid, _to_state(episode))
        return episode


def fingerprint_of(verdicts: Sequence[Verdict], policy_set: Digest) -> str:
    """Return what tells one drift from another: law, policies, rules and places; no message."""
    parts: list[Json] = [
        [verdict.bound.id, violation.rule, violation.field_path]
        for verdict in verdicts
        for violation in verdict.violations
    ]
    return digest(canonical([policy_set, *parts]))


def _to_state(episode: Episode) -> JsonObject:
    return {
        "fingerprint": episode.fingerprint,
        "since": {key: round(at * 1000) for key, at in episode.since.items()},
        "drift": episode.drift,
        "held": episode.held,
        "escalatedUntil": round(episode.escalated_until * 1000),
    }


def _from_state(state: JsonObject) -> Episode:
    since, drift = state.get("since"), state.get("drift")
    until = state.get("escalatedUntil")
    return Episode(
        fingerprint=str(state.get("fingerprint", "")),
        since={
            BoundPolicyId(key): at / 1000
            for key, at in (since if isinstance(since, dict) else {}).items()
            if isinstance(at, int)
        },
        reads=0,
        drift=drift if isinstance(drift, int) else None,
        held=str(state.get("held", "")),
        escalated_until=until / 1000 if isinstance(until, int) else 0.0,
    )
