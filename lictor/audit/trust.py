"""The trust file: the public keys that count, from outside the log."""

from typing import Final

from lictor.audit.note import NoteError, VerifierKey, parse_vkey

MAX_TRUST_BYTES: Final = 1024 * 1024
"""Thousands of keys."""


def parse_trust(data: bytes) -> tuple[VerifierKey, ...]:
    """Read a trust file: one verifier key a line; empty lines and `#` lines are passed over.

    Raises:
        NoteError: it is too large, not UTF-8, has a malformed line, which is named, or no key.
    """
    if len(data) > MAX_TRUST_BYTES:
        raise NoteError(f"{len(data)} bytes; a trust file has at most {MAX_TRUST_BYTES}")
    try:
        lines = data.decode().splitlines()
    except UnicodeDecodeError as err:
        raise NoteError("a trust file must be UTF-8") from err
    keys: dict[VerifierKey, None] = {}
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if text and not text.startswith("#"):
            try:
                keys[parse_vkey(text)] = None
            except NoteError as err:
                raise NoteError(f"line {number}: {err}") from err
    if not keys:
        raise NoteError("it names no key, so nothing can be trusted")
    return tuple(keys)
