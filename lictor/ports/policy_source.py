"""Where policies come from."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class PolicyFile:
    """One file, or one object, of a source: its name for messages, and its bytes."""

    name: str
    data: bytes


class PolicySource(Protocol):
    """Gives all that it holds as one revision."""

    def read(self) -> Sequence[PolicyFile]:
        """Return every policy file, sorted by name.

        Raises:
            InputError: the source is not there, is empty, cannot be read, or exceeds its limits.
        """
        ...
