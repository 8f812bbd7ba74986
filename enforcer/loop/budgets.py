"""How many writes were made within a window, for each policy and for the cluster."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from lictor.jsontypes import JsonObject
from lictor.model.names import BoundPolicyId
from lictor.ports.state_store import StateKind, StateStore

_SLOTS: Final = 60
"""A window is counted in this many slots: what is kept is small, whatever the allowance."""

_CLUSTER_KEY: Final = "cluster"
_CLUSTER_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Spending:
    """What was written within the window, and when there is room again."""

    spent: int
    room_seconds: float


class Budgets:
    """Sliding windows; a slot counts until it has left the window as a whole.

    So never more than the allowance is written within any window, and a restart clears none.
    """

    def __init__(self, states: StateStore, *, window_seconds: float) -> None:
        self._states = states
        self._window = window_seconds
        self._slots: dict[str, dict[int, int]] = {}

    def of_policy(self, policy: BoundPolicyId, now: float) -> Spending:
        """Return what was written for a policy.

        Raises:
            StoreError: the store could not be read.
        """
        return self._spending(f"policy/{policy}", window=self._window, now=now)

    def of_cluster(self, now: float) -> Spending:
        """Return what was written for all policies together within a minute.

        Raises:
            StoreError: the store could not be read.
        """
        return self._spending(_CLUSTER_KEY, window=_CLUSTER_SECONDS, now=now)

    def charge(self, policies: Iterable[BoundPolicyId], now: float) -> None:
        """Count one write; done before it, so that a crash never gives it back.

        Raises:
            StoreError: the store could not be written.
        """
        for policy in policies:
            self._charge(f"policy/{policy}", window=self._window, now=now)
        self._charge(_CLUSTER_KEY, window=_CLUSTER_SECONDS, now=now)

    def refund(self, policies: Iterable[BoundPolicyId], charged_at: float) -> None:
        """Take back one charge whose write was never sent.

        Raises:
            StoreError: the store could not be written.
        """
        for policy in policies:
            self._charge(f"policy/{policy}", window=self._window, now=charged_at, count=-1)
        self._charge(_CLUSTER_KEY, window=_CLUSTER_SECONDS, now=charged_at, count=-1)

    def _charge(self, key: str, *, window: float, now: float, count: int = 1) -> None:
        slots = self._current(key, window=window, now=now)
        slot = int(now * _SLOTS / window)
        slots[slot] = max(0, slots.get(slot, 0) + count)
        state: JsonObject = {str(number): count for number, count in sorted(slots.items())}
        self._states.write(StateKind.BUDGET, key, state)

    def _spending(self, key: str, *, window: float, now: float) -> Spending:
        slots = self._current(key, window=window, now=now)
        width = window / _SLOTS
        oldest = min(slots, default=None)
        room = 0.0 if oldest is None else (oldest + _SLOTS + 1) * width - now
        return Spending(spent=sum(slots.values()), room_seconds=max(0.0, room))

    def _current(self, key: str, *, window: float, now: float) -> dict[int, int]:
        slots = self._slots.get(key)
        if slots is None:
            state = self._states.read(StateKind.BUDGET, key) or {}
            slots = {int(slot): count for slot, count in state.items() if isinstance(count, int)}
            self._slots[key] = slots
        latest = int(now * _SLOTS / window)
        for slot in [one for one in slots if one < latest - _SLOTS]:
            del slots[slot]
        return slots
