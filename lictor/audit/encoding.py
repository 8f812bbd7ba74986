"""A record as the bytes of its leaf: RFC 8785, within the profile of `audit/1`.

The profile (ASCII keys, no floats, integers below 2^53, valid UTF-8) is where msgspec and RFC 8785
agree byte for byte, so the hot path needs no slow encoder.
"""

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import msgspec

from lictor.errors import InputError
from lictor.model.audit_record import AuditRecord

MAX_LEAF_BYTES: Final = 32 * 1024
"""Half of what an entry of C2SP tlog-tiles can hold (65,535 bytes)."""

MAX_INTEGER: Final = 2**53 - 1
"""Beyond it a JSON number is not exact everywhere (RFC 7493 2.2)."""

KEY: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
"""What a key of a record looks like; only keys of `detail` are not fixed by the schema."""

# Integers of 16 digits and more may pass 2^53. A string can look like one, which costs time only.
_SUSPECT: Final = re.compile(rb"(?:\":|[\[,])-?(?:\d{16,}|\d+[.eE][\d.eE+-]*)[,\]}]")

_RECORDS: Final = msgspec.json.Decoder(AuditRecord)


def encode(record: AuditRecord) -> bytes:
    """Return the leaf of `record`: at most `MAX_LEAF_BYTES`, whatever its texts hold.

    Where it is larger, long texts and lists end in a digest of the whole; a text that is not valid
    Unicode is replaced by one that is, with such a digest; a number beyond the profile becomes the
    nearest within it. Equal records give equal leaves.
    """
    try:
        data = msgspec.json.encode(record, order="sorted")
    except UnicodeEncodeError:
        data = b""
    if (
        data
        and len(data) <= MAX_LEAF_BYTES
        and not _SUSPECT.search(data)
        and _has_plain_keys(record)
    ):
        return data
    tree = msgspec.to_builtins(record)
    fitting = next(filter(lambda limit: limit.fits(tree), _LIMITS[:-1]), _LIMITS[-1])
    return fitting.encode(tree)


def decode(leaf: bytes) -> AuditRecord:
    """Read a leaf back.

    Raises:
        InputError: it is no record of a type that this version knows.
    """
    try:
        return _RECORDS.decode(leaf)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as err:
        raise InputError(f"not a record: {err}") from err


def _has_plain_keys(record: AuditRecord) -> bool:
    return record.detail is None or all(map(KEY.fullmatch, record.detail))


@dataclass(frozen=True, slots=True)
class _Limit:
    characters: int
    items: int
    # A trial with marks of the right length saves hashing a huge text once for each limit.
    is_trial: bool = False

    def fits(self, tree: Mapping[str, object]) -> bool:
        return len(replace(self, is_trial=True).encode(tree)) <= MAX_LEAF_BYTES

    def encode(self, tree: Mapping[str, object]) -> bytes:
        return msgspec.json.encode(self.map(tree), order="sorted")

    def map(self, tree: Mapping[str, object]) -> dict[str, object]:
        return {_plain_key(key): self._field(key, value) for key, value in tree.items()}

    def _field(self, key: str, value: object) -> object:
        match value:
            case dict() if key == "detail":
                return self._open_map(value)
            case dict():
                return self.map(value)
            case list() | tuple():
                return self._list(key, value)
            case str():
                return self._text(value)
            case int() | float() if not isinstance(value, bool):
                return _number(value)
            case _:  # None, True or False: the schema gives nothing else
                return value

    def _open_map(self, value: Mapping[str, object]) -> dict[str, object]:
        shown = sorted(value)[: self.items]
        kept = self.map({key: value[key] for key in shown})
        if len(value) > len(shown):
            kept["truncated"] = self._mark(len(value) - len(shown), value)
        return kept

    def _list(self, key: str, value: Sequence[object]) -> list[object]:
        kept = [self._field("", item) for item in value[: self.items]]
        if len(value) > self.items:
            mark = self._mark(len(value) - self.items, value)
            name = _REST.get(key)
            kept.append({name: mark} if name else mark)
        return kept

    def _text(self, text: str) -> str:
        if len(text) <= self.characters and _is_unicode(text):
            return text
        shown = text[: self.characters].encode("utf-8", "replace").decode()
        return shown + self._mark(len(text), text)

    def _mark(self, count: int, whole: object) -> str:
        digest = "0" * 64 if self.is_trial else hashlib.sha256(_packed(whole)).hexdigest()
        return f"~{count}~sha256:{digest}"


# Tried in turn until the record fits. With the last, none passes 25 KiB: about 110 texts of at most
# 24 characters of 6 bytes, and as many digests.
_LIMITS: Final = (
    _Limit(4096, 256),
    _Limit(1024, 64),
    _Limit(256, 16),
    _Limit(96, 6),
    _Limit(24, 3),
)

# In which field of an item of these lists the digest of what was left out stands.
_REST: Final = {"viol": "msg", "exempt": "digest"}


def _plain_key(key: str) -> str:
    if KEY.fullmatch(key):
        return key
    return f"sha256.{hashlib.sha256(key.encode('utf-8', 'surrogatepass')).hexdigest()[:32]}"


def _number(value: float) -> int:
    if not math.isfinite(value):
        return 0
    return max(-MAX_INTEGER, min(MAX_INTEGER, int(value)))


def _packed(value: object) -> bytes:
    # Only hashed; the escapes of `json` also hold lone surrogates.
    return json.dumps(value, sort_keys=True).encode()


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
