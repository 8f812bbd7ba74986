"""What is in violation now, as a gauge that goes down again."""

from collections import Counter

from lictor.model.names import Uid
from lictor.model.owner import Owner
from lictor.model.verdict import Verdict
from lictor.telemetry import metrics

UNKNOWN_OWNER = "unknown"


def owner_label(owner: Owner) -> str:
    """Return the owner as a metric label: only owners that the registry knows have their own."""
    return owner.name if owner.known else UNKNOWN_OWNER


class OpenViolations:
    """Counts objects in violation by policy, severity and owner."""

    def __init__(self) -> None:
        self._of_object: dict[Uid, frozenset[tuple[str, str, str]]] = {}
        self._totals: Counter[tuple[str, str, str]] = Counter()

    def update(self, uid: Uid, violated: tuple[Verdict, ...], owner: Owner) -> None:
        """Note what an object violates now."""
        label = owner_label(owner)
        fresh = frozenset(
            (verdict.bound.id, verdict.bound.policy.severity.value, label) for verdict in violated
        )
        before = self._of_object.get(uid, frozenset())
        for labels in fresh ^ before:
            self._totals[labels] += 1 if labels in fresh else -1
            metrics.OPEN_VIOLATIONS.labels(*labels).set(self._totals[labels])
        if fresh:
            self._of_object[uid] = fresh
        else:
            self._of_object.pop(uid, None)
