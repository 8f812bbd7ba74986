"""The smallest part of a change that still does what the whole does."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Minimum(Generic[T]):
    """What is left.

    Attributes:
        exhausted: the limit ended the search before no single item could be left out any more.
    """

    items: tuple[T, ...]
    evaluations: int
    exhausted: bool


class _Search(Generic[T]):
    def __init__(self, holds: Callable[[tuple[T, ...]], bool], limit: int) -> None:
        self._holds = holds
        self._limit = limit
        self.evaluations = 0
        self.exhausted = False

    def holds(self, units: Sequence[tuple[T, ...]]) -> bool:
        if self.evaluations >= self._limit:
            self.exhausted = True
            return False
        self.evaluations += 1
        return self._holds(tuple(item for unit in units for item in unit))

    def shrink(self, units: list[tuple[T, ...]]) -> list[tuple[T, ...]]:
        """Leave out ever smaller runs of units, until no single one can be left out."""
        size = max(1, len(units) // 2)
        while not self.exhausted:
            before = len(units)
            units = self._drop_runs(units, size)
            if size > 1:
                size //= 2
            elif len(units) == before:
                break
        return units

    def _drop_runs(self, units: list[tuple[T, ...]], size: int) -> list[tuple[T, ...]]:
        start = 0
        while start < len(units) and not self.exhausted:
            rest = units[:start] + units[start + size :]
            if rest and self.holds(rest):
                units = rest
            else:
                start += size
        return units


def minimise(
    items: Sequence[T],
    holds: Callable[[tuple[T, ...]], bool],
    *,
    group: Callable[[T], Hashable],
    limit: int,
) -> Minimum[T]:
    """Leave out every item that `holds` does not need (delta debugging, Zeller 2002).

    Neighbours of one group are tried together first: so a large change of which little is
    needed costs few evaluations, and at the limit whole groups are already gone. What is left
    holds, provided that all `items` do; unless exhausted, no single item of it can be left out.
    """
    search = _Search(holds, limit)
    groups = [tuple(members) for _, members in groupby(items, key=group)]
    if len(groups) > 1:
        groups = search.shrink(groups)
    left = search.shrink([(item,) for members in groups for item in members])
    return Minimum(
        items=tuple(item for unit in left for item in unit),
        evaluations=search.evaluations,
        exhausted=search.exhausted,
    )
