"""The owner from labels: the object's own, then its namespace's."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from lictor.model.owner import FoundBy, Owner


@dataclass(frozen=True, slots=True, kw_only=True)
class Ownership:
    """Which labels name an owner, first match wins, and which owners are known."""

    label_keys: tuple[str, ...] = ("lictor.dev/owner", "lictor.dev/team")
    registry: frozenset[str] = frozenset()


def resolve_owner(
    labels: Mapping[str, str],
    namespace_labels: Mapping[str, str],
    *,
    label_keys: Sequence[str],
    registry: Collection[str],
) -> Owner:
    """Return the owner that the labels name; nobody where they name none.

    An empty value names nobody. The owner chain (`ownerReferences`) is not followed: such a
    reference is a claim until the owner with that uid was seen.
    """
    for found_by, where in ((FoundBy.LABEL, labels), (FoundBy.NAMESPACE, namespace_labels)):
        for key in label_keys:
            name = where.get(key, "")
            if name:
                return Owner(name=name, found_by=found_by, known=name in registry)
    return Owner()
