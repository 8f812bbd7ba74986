"""The order of the records of a log: holes in the numbering, and steps back in time."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from lictor.audit.leaf_check import LeafFacts

_MAX_WARNINGS: Final = 20


@dataclass(slots=True)
class SequenceCheck:
    """Takes leaves in order. What it finds is for a reader to judge; nothing of it is a fault.

    Numbers of records that were lost stand in `audit.gap` records; a hole that none accounts for
    is told. So is a number that comes twice, which no writer of ours gives.
    """

    _next: dict[tuple[str, str], int] = field(default_factory=dict)
    _missing: Counter[str] = field(default_factory=Counter)
    _declared: Counter[str] = field(default_factory=Counter)
    _last_ts: str = ""
    _found: list[str] = field(default_factory=list)
    _dropped: int = 0

    def take(self, index: int, facts: LeafFacts) -> None:
        """Look at one leaf."""
        if facts.wseq is not None:
            self._number(index, facts.wseq, facts)
        if facts.lost:
            self._declared[facts.lost_boot] += facts.lost
        if facts.ts:
            # All of one form and in UTC, so their order as text is that in time.
            if facts.ts < self._last_ts:
                self._tell(
                    f"leaf {index}: its time {facts.ts} is before that of the leaf before it"
                )
            self._last_ts = facts.ts

    def warnings(self) -> tuple[str, ...]:
        """Return what was found."""
        found = list(self._found)
        if self._dropped:
            found.append(f"{self._dropped} more of that kind")
        for boot, missing in sorted(self._missing.items()):
            open_numbers = missing - self._declared[boot]
            if open_numbers > 0:
                found.append(
                    f"boot {boot}: {open_numbers} records are missing without an audit.gap"
                )
        return tuple(found)

    def _number(self, index: int, wseq: int, facts: LeafFacts) -> None:
        source = (facts.writer, facts.boot)
        expected = self._next.get(source, 0)
        if wseq < expected:
            self._tell(
                f"leaf {index}: number {wseq} of boot {facts.boot} comes a second time or late"
            )
            return
        if wseq > expected:
            self._missing[facts.boot] += wseq - expected
        self._next[source] = wseq + 1

    def _tell(self, text: str) -> None:
        if len(self._found) < _MAX_WARNINGS:
            self._found.append(text)
        else:
            self._dropped += 1
