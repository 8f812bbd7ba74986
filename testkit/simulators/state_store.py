"""A StateStore in memory."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec
from typing_extensions import override

from lictor.errors import StoreError
from lictor.jsontypes import JsonObject
from lictor.ports.state_store import StateKind, StateStore


@dataclass(slots=True, kw_only=True)
class MemoryStateStore(StateStore):
    """Keeps states as bytes, so that none is shared; raises StoreError while `failing`."""

    failing: bool = False
    states: dict[tuple[StateKind, str], bytes] = field(default_factory=dict)

    @override
    def read(self, kind: StateKind, key: str) -> JsonObject | None:
        """Return the state."""
        self._check()
        data = self.states.get((kind, key))
        return None if data is None else msgspec.json.decode(data, type=dict)

    @override
    def write(self, kind: StateKind, key: str, value: JsonObject | None) -> None:
        """Keep or forget the state."""
        self._check()
        if value is None:
            self.states.pop((kind, key), None)
        else:
            self.states[kind, key] = msgspec.json.encode(value)

    @override
    def items(self, kind: StateKind) -> Iterator[tuple[str, JsonObject]]:
        """Yield the states of `kind` by key."""
        self._check()
        for found, key in sorted(self.states):
            if found is kind:
                yield key, msgspec.json.decode(self.states[found, key], type=dict)

    def _check(self) -> None:
        if self.failing:
            raise StoreError("the simulated store failed")
