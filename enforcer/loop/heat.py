"""How hot an object is: writes of ours that somebody undoes each time."""

import asyncio
import math
from typing import Final

from lictor.jsontypes import JsonObject
from lictor.model.names import Digest, Uid
from lictor.ports.state_store import StateKind, StateStore

_COOLING_SECONDS: Final = 60.0
"""Config Sync's fight detector: heat = heat * exp(-minutes) + 1 at each write."""

_COLD: Final = 0.01
_RELEASE_SECONDS: Final = 24 * 3600.0


class Heats:
    """Heat and quarantine by object; a restart clears neither."""

    def __init__(self, states: StateStore) -> None:
        self._states = states
        self._known: dict[tuple[StateKind, Uid], JsonObject] = {}
        self._writing = asyncio.Lock()

    def load(self) -> None:
        """Read what was kept.

        Raises:
            StoreError: the store could not be read.
        """
        for kind in (StateKind.HEAT, StateKind.QUARANTINE):
            for key, state in self._states.items(kind):
                self._known[kind, Uid(key)] = state

    def at(self, uid: Uid, moment: float) -> float:
        """Return the heat of an object at `moment`, Unix seconds."""
        state = self._known.get((StateKind.HEAT, uid))
        return _cooled(state, moment) if state is not None else 0.0

    async def add(self, uid: Uid, *, heat: float, now: float) -> None:
        """Count one write upon an object that had `heat` when its drift began.

        Raises:
            StoreError: the store could not be written.
        """
        state: JsonObject = {"milliheat": round((heat + 1.0) * 1000), "at": round(now * 1000)}
        await self._keep(StateKind.HEAT, uid, state)

    async def quarantine(self, uid: Uid, *, policy_set: Digest, state: Digest, now: float) -> None:
        """Leave the object alone until the law changes or 24 hours bring no foreign write.

        A write during that time begins the 24 hours anew; `state` is the object's digest in
        `attest` form, which a change of its status leaves alone.

        Raises:
            StoreError: the store could not be written.
        """
        before = self._known.get((StateKind.QUARANTINE, uid), {})
        if (before.get("policySet"), before.get("state")) == (policy_set, state):
            return
        kept: JsonObject = {"policySet": policy_set, "state": state, "since": round(now * 1000)}
        await self._keep(StateKind.QUARANTINE, uid, kept)

    def quarantined(self, uid: Uid, *, policy_set: Digest, state: Digest, now: float) -> bool:
        """Return whether the object is in quarantine still."""
        kept = self._known.get((StateKind.QUARANTINE, uid))
        if kept is None or kept.get("policySet") != policy_set:
            return False
        since = kept.get("since")
        quiet = now - (since if isinstance(since, int) else 0) / 1000
        return kept.get("state") != state or quiet < _RELEASE_SECONDS

    async def release(self, uid: Uid) -> None:
        """End a quarantine whose time is over, and begin cold.

        Raises:
            StoreError: the store could not be written.
        """
        if (StateKind.QUARANTINE, uid) in self._known:
            await self.forget(uid)

    async def forget(self, uid: Uid) -> None:
        """Drop what is known of an object that is gone.

        Raises:
            StoreError: the store could not be written.
        """
        for kind in (StateKind.HEAT, StateKind.QUARANTINE):
            if (kind, uid) in self._known:
                await self._keep(kind, uid, None)

    async def prune(self, now: float) -> None:
        """Drop what has cooled down.

        Raises:
            StoreError: the store could not be written.
        """
        for kind, uid in tuple(self._known):
            # It is read when its turn comes: it may have been heated up meanwhile.
            state = self._known.get((kind, uid))
            if state and kind is StateKind.HEAT and _cooled(state, now) < _COLD:
                await self._keep(kind, uid, None)

    async def _keep(self, kind: StateKind, uid: Uid, state: JsonObject | None) -> None:
        if state is None:
            self._known.pop((kind, uid), None)
        else:
            self._known[kind, uid] = state
        async with self._writing:
            newest = self._known.get((kind, uid))
            await asyncio.to_thread(self._states.write, kind, uid, newest)


def _cooled(state: JsonObject, moment: float) -> float:
    heat, at = state.get("milliheat"), state.get("at")
    if not isinstance(heat, int) or not isinstance(at, int):
        return 0.0
    # A clock that was set back must not heat anything up.
    elapsed = max(0.0, moment - at / 1000)
    return heat / 1000 * math.exp(-elapsed / _COOLING_SECONDS)
