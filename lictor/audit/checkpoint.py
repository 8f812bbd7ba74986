"""The signed head of a log (C2SP tlog-checkpoint): origin, size and root."""

import base64
import binascii
import re
from dataclasses import dataclass
from typing import Final

from lictor.audit.note import NoteError, check_name
from lictor.audit.tree import HASH_BYTES

_SIZE: Final = re.compile(r"0|[1-9][0-9]{0,18}")
_FIXED_LINES: Final = 3


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A log's origin, how many leaves it has, and their Merkle tree hash."""

    origin: str
    size: int
    root: bytes

    @property
    def text(self) -> str:
        """The text of the note; without extension lines, which no other signature type covers."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"


def parse_checkpoint(text: str) -> Checkpoint:
    """Read the text of a note that was opened; extension lines are passed over.

    Raises:
        NoteError: it is no checkpoint.
    """
    lines = text.split("\n")
    if len(lines) <= _FIXED_LINES or lines[-1] or not all(lines[:-1]):
        raise NoteError("expected a checkpoint: origin, size and root, a line each")
    origin, size, encoded = lines[:_FIXED_LINES]
    if not _SIZE.fullmatch(size):
        raise NoteError("the size of a checkpoint must be a decimal number")
    try:
        root = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as err:
        raise NoteError("the root of a checkpoint must be base64") from err
    if len(root) != HASH_BYTES or base64.b64encode(root).decode() != encoded:
        raise NoteError("the root of a checkpoint must be the base64 of 32 bytes")
    return Checkpoint(check_name(origin), int(size), root)
