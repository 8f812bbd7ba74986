"""What the parts of the loop hand to each other."""

from dataclasses import dataclass, field, replace
from enum import StrEnum

from enforcer.evaluate import Assessment
from enforcer.loop.episodes import Episode
from enforcer.loop.surroundings import Around
from enforcer.record import Case
from lictor.model.names import ObjectKey, ObjectRef, Uid


class Result(StrEnum):
    """How a pass ended: a label of `lictor_enforcer_reconciles_total`."""

    CLEAN = "clean"
    GONE = "gone"
    HELD = "held"
    NOTIFIED = "notified"
    REPAIRED = "repaired"
    RETRY = "retry"
    ERROR = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Next:
    """What the loop does with the key now.

    Attributes:
        retry: put it back with its backoff.
        after_seconds: put it back after this time.
        also: another key that is to be looked at.
    """

    result: Result
    retry: bool = False
    after_seconds: float | None = None
    also: ObjectKey | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """One pass over an object in violation.

    Attributes:
        now: when it began, Unix seconds.
    """

    assessment: Assessment
    episode: Episode
    case: Case
    now: float
    around: Around = field(default_factory=Around)

    @property
    def target(self) -> ObjectRef:
        """The object."""
        return self.assessment.target

    @property
    def uid(self) -> Uid:
        """Its uid."""
        return self.assessment.target.uid

    def with_around(self, around: Around) -> "Pass":
        """Return the pass with what surrounds the object."""
        return replace(self, around=around)
