"""Keeps what the enforcer must not forget: heat, quarantine, budgets, breakers, episodes."""

from collections.abc import Iterator
from enum import StrEnum
from typing import Protocol

from lictor.jsontypes import JsonObject


class StateKind(StrEnum):
    """What a state is about; each kind has keys of its own."""

    HEAT = "heat"
    QUARANTINE = "quarantine"
    BUDGET = "budget"
    EPISODE = "episode"
    RECOVERY = "recovery"


class StateStore(Protocol):
    """A small durable map; a write is committed when `write` returns."""

    def read(self, kind: StateKind, key: str) -> JsonObject | None:
        """Return the state; None where there is none.

        Raises:
            StoreError: the store could not be read.
        """
        ...

    def write(self, kind: StateKind, key: str, value: JsonObject | None) -> None:
        """Keep `value`, or forget the state where it is None.

        Raises:
            StoreError: the store could not be written.
        """
        ...

    def items(self, kind: StateKind) -> Iterator[tuple[str, JsonObject]]:
        """Yield all states of a kind, sorted by key.

        Raises:
            StoreError: the store could not be read.
        """
        ...
