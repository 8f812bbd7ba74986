"""Who answers for an object, and how that was found."""

from dataclasses import dataclass
from enum import StrEnum


class FoundBy(StrEnum):
    """The place that named the owner."""

    LABEL = "label"
    NAMESPACE = "namespace"
    NOBODY = "nobody"


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """The resolved owner of an object.

    Attributes:
        name: "nobody" where none is named: nobody is an owner too, and shows up first.
        known: the registry of owners has it; only then may it be a metric label.
    """

    name: str = "nobody"
    found_by: FoundBy = FoundBy.NOBODY
    known: bool = False
