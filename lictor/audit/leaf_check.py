"""One leaf, read by somebody who trusts nothing: is it an `audit/1` record in its one encoding?"""

import re
from dataclasses import dataclass
from typing import Final

import msgspec
import rfc8785

from lictor.audit.encoding import KEY, MAX_INTEGER, MAX_LEAF_BYTES
from lictor.errors import LictorError
from lictor.jsontypes import Json, JsonObject, check_depth
from lictor.model.audit_record import SCHEMA_VERSION, AuditRecord, RecordType, SourceSection

_TYPE: Final = re.compile(r"[a-z]+(\.[a-z]+)*")
_MAX_DEPTH: Final = 8


class LeafError(LictorError):
    """A leaf is not what a writer of ours writes.

    Attributes:
        field: which part of it.
    """

    def __init__(self, field: str, what: str) -> None:
        super().__init__(what)
        self.field = field


@dataclass(frozen=True, slots=True, kw_only=True)
class LeafFacts:
    """What the verification of a log needs of a leaf; all empty where it could not be read."""

    type: str = ""
    ts: str = ""
    writer: str = ""
    boot: str = ""
    wseq: int | None = None
    lost: int = 0
    lost_boot: str = ""

    @property
    def label(self) -> str:
        """The record for a person, as a suffix."""
        return f" ({self.type}, wseq {self.wseq})" if self.type else ""


def check_leaf(data: bytes) -> LeafFacts:
    """Check size, encoding, profile and schema; return what stands in it.

    A type that is not known is no fault, a field that is not known is.

    Raises:
        LeafError: the leaf is something else.
    """
    if len(data) > MAX_LEAF_BYTES:
        raise LeafError("bytes", f"{len(data)} of them; a leaf has at most {MAX_LEAF_BYTES}")
    tree = _read(data)
    _check_profile(tree, "")
    if rfc8785.dumps(tree) != data:
        raise LeafError("bytes", "they are not the one encoding that RFC 8785 gives")
    return _facts(str(tree.get("type")), _check_schema(tree))


def _read(data: bytes) -> JsonObject:
    try:
        tree: Json = msgspec.json.decode(data)
        check_depth(tree, max_depth=_MAX_DEPTH)
    except (msgspec.DecodeError, ValueError, RecursionError, LictorError) as err:
        raise LeafError("bytes", f"they are not JSON: {err}") from err
    if not isinstance(tree, dict):
        raise LeafError("bytes", "they are not a JSON object")
    return tree


def _check_profile(value: Json, path: str) -> None:
    if isinstance(value, dict):
        for key, item in value.items():
            if not KEY.fullmatch(key):
                raise LeafError(path or "record", "it has a key outside the profile")
            _check_profile(item, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for number, item in enumerate(value):
            _check_profile(item, f"{path}[{number}]")
    elif isinstance(value, float):
        raise LeafError(path, "it is a float; the profile has none")
    elif isinstance(value, int) and abs(value) > MAX_INTEGER:
        raise LeafError(path, "it is an integer beyond 2^53")


def _check_schema(tree: JsonObject) -> AuditRecord:
    if tree.get("v") != SCHEMA_VERSION:
        raise LeafError("v", f"expected {SCHEMA_VERSION!r}")
    kind = tree.get("type")
    if not isinstance(kind, str) or not _TYPE.fullmatch(kind):
        raise LeafError("type", "expected words with dots between them")
    # Checked under a type that is known, so that types which come later pass.
    known = {**tree, "type": RecordType.HEARTBEAT.value}
    try:
        record = msgspec.convert(known, AuditRecord)
    except msgspec.ValidationError as err:
        raise LeafError("record", str(err)) from err
    stray = _stray(known, msgspec.json.decode(msgspec.json.encode(record)), "")
    if stray:
        raise LeafError(stray, "the schema has no such field, or leaves it out when empty")
    return record


def _stray(tree: Json, schema: Json, path: str) -> str:
    # What the typed record does not hold any more is not of the schema.
    if isinstance(tree, dict) and isinstance(schema, dict):
        for key, value in tree.items():
            below = f"{path}.{key}" if path else key
            found = _stray(value, schema[key], below) if key in schema else below
            if found:
                return found
    elif isinstance(tree, list) and isinstance(schema, list):
        for number, value in enumerate(tree):
            found = _stray(value, schema[number], f"{path}[{number}]")
            if found:
                return found
    return ""


def _facts(kind: str, record: AuditRecord) -> LeafFacts:
    source = record.src or SourceSection()
    detail = record.detail or {}
    lost = detail.get("lost", 0) if kind == RecordType.AUDIT_GAP.value else 0
    return LeafFacts(
        type=kind,
        ts=record.ts,
        writer=source.writer,
        boot=source.boot,
        wseq=source.wseq,
        lost=lost if isinstance(lost, int) else 0,
        lost_boot=str(detail.get("boot", "")),
    )
