"""What a policy matches: pure predicates, the index over them, and the rules to register."""

from lictor.matching.index import Index
from lictor.matching.registration import registration_rules
from lictor.matching.rules import Clause, is_never_judged, matches_rule, mismatch
from lictor.matching.selectors import (
    NAMESPACES,
    labels_of,
    matches_selector,
    namespace_labels,
    namespace_to_read,
)

__all__ = [
    "NAMESPACES",
    "Clause",
    "Index",
    "is_never_judged",
    "labels_of",
    "matches_rule",
    "matches_selector",
    "mismatch",
    "namespace_labels",
    "namespace_to_read",
    "registration_rules",
]
