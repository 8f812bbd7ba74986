"""How many writes were made within a window, for each policy and for the cluster."""

import asyncio
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
        self._writing = asyncio.Lock()

    def load(self) -> None:
        """Read what was kept.

        Raises:
            StoreError: the store could not be read.
        """
        for key, state in self._states.items(StateKind.BUDGET):
            counts = {slot: count for slot, count in state.items() if isinstance(count, int)}
            self._slots[key] = {int(slot): count for slot, count in counts.items()}

    def of_policy(self, policy: BoundPolicyId, now: float) -> Spending:
        """Return what was written for a policy."""
        return self._spending(f"policy/{policy}", window=self._window, now=now)

    def of_cluster(self, now: float) -> Spending:
        """Return what was written for all policies together within a minute."""
        return self._spending(_CLUSTER_KEY, window=_CLUSTER_SECONDS, now=now)

    async def charge(self, policies: Iterable[BoundPolicyId], now: float) -> None:
        """Count one write; done before it, so that a crash never gives it back.

        It counts from the moment of the call, before anything is awaited.

        Raises:
            StoreError: the store could not be written.
        """
        await self._add(policies, now=now, count=1)

    async def refund(self, policies: Iterable[BoundPolicyId], charged_at: float) -> None:
        """Take back one charge whose write was never sent.

        Raises:
            StoreError: the store could not be written.
        """
        await self._add(policies, now=charged_at, count=-1)

    async def _add(self, policies: Iterable[BoundPolicyId], *, now: float, count: int) -> None:
        windows = {f"policy/{policy}": self._window for policy in policies}
        windows[_CLUSTER_KEY] = _CLUSTER_SECONDS
        for key, window in windows.items():
            slots = self._current(key, window=window, now=now)
            slot = int(now * _SLOTS / window)
            slots[slot] = max(0, slots.get(slot, 0) + count)
        async with self._writing:
            # What is kept is read here, or an older count could be written over a newer one.
            await asyncio.to_thread(self._write, {key: self._state(key) for key in windows})

    def _state(self, key: str) -> JsonObject:
        return {str(slot): count for slot, count in sorted(self._slots[key].items())}

    def _write(self, changed: dict[str, JsonObject]) -> None:
        for key, state in changed.items():
            self._states.write(StateKind.BUDGET, key, state)

    def _spending(self, key: str, *, window: float, now: float) -> Spending:
        slots = self._current(key, window=window, now=now)
        width = window / _SLOTS
        oldest = min(slots, default=None)
        room = 0.0 if oldest is None else (oldest + _SLOTS + 1) * width - now
        return Spending(spent=sum(slots.values()), room_seconds=max(0.0, room))

    def _current(self, key: str, *, window: float, now: float) -> dict[int, int]:
        slots = self._slots.setdefault(key, {})
        latest = int(now * _SLOTS / window)
        for slot in [one for one in slots if one < latest - _SLOTS]:
            del slots[slot]
        return slots
