"""What a decision lacks, and what was found out for it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from lictor.model.document import Document


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """Facts to be gathered before the request can be decided."""

    namespaces: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What was gathered.

    Attributes:
        namespaces: by name; None is a namespace that is known not to exist.
        failures: by the name of the fact (`namespace/<name>`), why it could not be gathered.
            A fact that failed is not asked for again: who needs it yields an error verdict.
    """

    namespaces: Mapping[str, Document | None] = field(default_factory=dict)
    failures: Mapping[str, str] = field(default_factory=dict)
