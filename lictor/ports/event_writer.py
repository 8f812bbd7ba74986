"""Writes Events for people to read."""

from dataclasses import dataclass
from typing import Protocol

from lictor.model.names import ObjectRef


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """What an Event (events.k8s.io/v1) says.

    Attributes:
        reason: UpperCamelCase, at most 128 characters.
        note: at most 1 KiB; cut, with an ellipsis, beyond that. No object body.
        warning: type `Warning`; else `Normal`.
    """

    about: ObjectRef
    reason: str
    action: str
    note: str
    warning: bool


class EventWriter(Protocol):
    """Delivers notices; a lost Event loses no evidence, since the ledger has the record."""

    async def emit(self, notice: Notice) -> None:
        """Create the Event beside the object, in `default` for cluster-scoped ones.

        Raises:
            ApiError: the API server refused or could not answer.
        """
        ...
