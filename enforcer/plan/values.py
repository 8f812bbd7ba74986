"""What a plan is made from."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from lictor.audit import Digester
from lictor.model.document import Document
from lictor.model.names import BoundPolicyId, ObjectRef
from lictor.model.patch import PatchOperation
from lictor.model.plan import Plan
from lictor.model.policy import BoundPolicy

Judge: TypeAlias = Callable[[Document], frozenset[BoundPolicyId]]
"""Gives the bound policies that a state violates, or that fail to evaluate on it."""

Mutate: TypeAlias = Callable[[Document], Mapping[BoundPolicyId, tuple[PatchOperation, ...]]]
"""Gives what each policy's own mutations would change of a state, in the order of the ids."""


class Obstacle(StrEnum):
    """Why nothing better than a notice is possible: `reason` of a plan."""

    BASELINE_MISSING = "baseline-missing"
    BASELINE_DIGEST_ONLY = "baseline-digest-only"
    BASELINE_VIOLATES = "baseline-violates"
    AUTOSCALED = "autoscaled"
    ADDS_VIOLATION = "repair-adds-violation"
    MUTATION_INSUFFICIENT = "mutation-insufficient"
    NO_BOUNDS = "no-scale-bounds"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One object in violation.

    Attributes:
        failing: every bound policy that the live state violates or that fails to evaluate on it.
        repair: those that are to be repaired now, in the order of their ids.
        baseline: the last known good state, with a body.
        obstacle: why there is no baseline.
        ignored: JSON Pointers of what others own, as an autoscaler its `/spec/replicas`.
    """

    live: Document
    target: ObjectRef
    failing: frozenset[BoundPolicyId]
    repair: tuple[BoundPolicy, ...]
    baseline: Document | None = None
    obstacle: Obstacle = Obstacle.BASELINE_MISSING
    ignored: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """The pure functions that planning calls back.

    Attributes:
        evaluations: how often a plan may call `judge` to make itself smaller.
    """

    judge: Judge
    mutate: Mutate
    digester: Digester
    evaluations: int = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A plan, and what it cost.

    Attributes:
        exhausted: the limit of evaluations ended the search; the plan is right, but it may
            write more than it must.
    """

    plan: Plan
    evaluations: int = 0
    exhausted: bool = False
