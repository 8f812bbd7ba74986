"""JSON Patch (RFC 6902) and JSON Pointer (RFC 6901) as values."""

from dataclasses import dataclass
from enum import StrEnum

from lictor.jsontypes import Json


class PatchOp(StrEnum):
    """`op` of an operation (RFC 6902 section 4)."""

    ADD = "add"
    REMOVE = "remove"
    REPLACE = "replace"
    MOVE = "move"
    COPY = "copy"
    TEST = "test"


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchOperation:
    """One operation; `value` counts for add, replace and test, `source` (`from`) for move, copy."""

    op: PatchOp
    path: str
    value: Json = None
    source: str = ""
