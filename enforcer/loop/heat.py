"""How hot an object is: writes of ours that somebody undoes each time."""

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

    def at(self, uid: Uid, moment: float) -> float:
        """Return the heat of an object at `moment`, Unix seconds.

        Raises:
            StoreError: the store could not be read.
        """
        state = self._states.read(StateKind.HEAT, uid)
        return _cooled(state, moment) if state is not None else 0.0

    def add(self, uid: Uid, *, heat: float, now: float) -> None:
        """Count one write upon an object that had `heat` when its drift began.

        Raises:
            StoreError: the store could not be written.
        """
        state: JsonObject = {"milliheat": round((heat + 1.0) * 1000), "at": round(now * 1000)}
        self._states.write(StateKind.HEAT, uid, state)

    def quarantine(self, uid: Uid, *, policy_set: Digest, version: str, now: float) -> None:
        """Leave the object alone until the law changes or 24 hours bring no foreign write.

        Raises:
            StoreError: the store could not be written.
        """
        state: JsonObject = {
            "policySet": policy_set,
            "version": version,
            "since": round(now * 1000),
        }
        self._states.write(StateKind.QUARANTINE, uid, state)

    def quarantined(self, uid: Uid, *, policy_set: Digest, version: str, now: float) -> bool:
        """Return whether the object is still in quarantine; ends it where its time is over.

        Raises:
            StoreError: the store could not be read or written.
        """
        state = self._states.read(StateKind.QUARANTINE, uid)
        if state is None:
            return False
        since = state.get("since")
        quiet = now - (since if isinstance(since, int) else 0) / 1000
        if state.get("policySet") != policy_set or (
            state.get("version") == version and quiet >= _RELEASE_SECONDS
        ):
            self._states.write(StateKind.QUARANTINE, uid, None)
            self._states.write(StateKind.HEAT, uid, None)
            return False
        if state.get("version") != version:
            self.quarantine(uid, policy_set=policy_set, version=version, now=now)
        return True

    def forget(self, uid: Uid) -> None:
        """Drop what is known of an object that is gone.

        Raises:
            StoreError: the store could not be written.
        """
        self._states.write(StateKind.HEAT, uid, None)
        self._states.write(StateKind.QUARANTINE, uid, None)

    def prune(self, now: float) -> None:
        """Drop what has cooled down.

        Raises:
            StoreError: the store could not be read or written.
        """
        for key, state in tuple(self._states.items(StateKind.HEAT)):
            if _cooled(state, now) < _COLD:
                self._states.write(StateKind.HEAT, key, None)


def _cooled(state: JsonObject, moment: float) -> float:
    heat, at = state.get("milliheat"), state.get("at")
    if not isinstance(heat, int) or not isinstance(at, int):
        return 0.0
    # A clock that was set back must not heat anything up.
    elapsed = max(0.0, moment - at / 1000)
    return heat / 1000 * math.exp(-elapsed / _COOLING_SECONDS)
