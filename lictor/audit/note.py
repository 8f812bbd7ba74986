"""Signed notes and verifier keys (C2SP signed-note), Ed25519 only.

What a note says counts only after `open_note` has found a signature of a key from outside it.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from lictor.errors import InputError
from lictor.ports.signer import Signer

MAX_NOTE_BYTES: Final = 1_000_000
"""As golang.org/x/mod/sumdb/note."""

MAX_SIGNATURES: Final = 100
"""As golang.org/x/mod/sumdb/note: each is a public key operation for whoever opens the note."""

_ED25519: Final = b"\x01"
_KEY_BYTES: Final = 32
_ID_BYTES: Final = 4
_SIGNATURE_BYTES: Final = 64
_MARK: Final = "\N{EM DASH} "
_NAME: Final = re.compile(r"[^\s+\x00-\x20\x7f\ud800-\udfff]+")
_KEY_ID: Final = re.compile(r"[0-9a-f]{8}")


class NoteError(InputError):
    """A note or key is malformed, or no key that counts has signed it."""


def check_name(name: str) -> str:
    """Return `name`, if a key can have it.

    Raises:
        NoteError: it is empty, or has a space, a plus sign or a control character.
    """
    if not _NAME.fullmatch(name):
        raise NoteError("a key name must not be empty nor have spaces, plus signs or controls")
    return name


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A public key and the name that it signs under."""

    name: str
    public: bytes

    def __post_init__(self) -> None:
        """Check both.

        Raises:
            NoteError: no key can have that name, or the key does not have 32 bytes.
        """
        check_name(self.name)
        if len(self.public) != _KEY_BYTES:
            raise NoteError(f"an Ed25519 public key has 32 bytes, this one {len(self.public)}")

    @property
    def id(self) -> bytes:
        """The four bytes that tell keys of one name apart; no proof of anything."""
        data = self.name.encode() + b"\n" + _ED25519 + self.public
        return hashlib.sha256(data).digest()[:_ID_BYTES]

    @property
    def vkey(self) -> str:
        """The key as `<name>+<id>+<base64 of type and key>`."""
        return f"{self.name}+{self.id.hex()}+{base64.b64encode(_ED25519 + self.public).decode()}"

    def verify(self, message: bytes, signature: bytes) -> bool:
        """Tell whether `signature` is this key's over `message` (RFC 8032)."""
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, message)
        except (InvalidSignature, ValueError):
            return False
        return True


def parse_vkey(text: str) -> VerifierKey:
    """Read a key as `VerifierKey.vkey` writes it.

    Raises:
        NoteError: it is malformed, not of type Ed25519, or its id is not that of its key.
    """
    # base64 has plus signs too, a name has none: the first two separate.
    name, _, rest = text.partition("+")
    key_id, _, encoded = rest.partition("+")
    data = _unbase64(encoded)
    if not _KEY_ID.fullmatch(key_id) or not data:
        raise NoteError("expected a verifier key: <name>+<8 hex digits>+<base64>")
    if data[:1] != _ED25519:
        raise NoteError(f"key {name!r} is of type {data[0]}; only Ed25519 (1) is read")
    key = VerifierKey(name, data[1:])
    if key.id.hex() != key_id:
        raise NoteError(f"key {name!r} has the id {key.id.hex()}, not {key_id}: it was changed")
    return key


def sign_note(text: str, signer: Signer) -> bytes:
    """Return `text` as a note with one signature.

    Raises:
        NoteError: a note cannot hold that text.
    """
    _check_text(text)
    if not text.endswith("\n"):
        raise NoteError("the text of a note must end with a line break")
    key = VerifierKey(signer.name, signer.public)
    signature = base64.b64encode(key.id + signer.sign(text.encode())).decode()
    return f"{text}\n{_MARK}{signer.name} {signature}\n".encode()


def open_note(note: bytes, keys: Sequence[VerifierKey]) -> tuple[str, tuple[VerifierKey, ...]]:
    """Return the text of `note` and which of `keys` have signed it, in the order of its lines.

    Signatures of other keys are passed over, as the specification asks for.

    Raises:
        NoteError: the note is malformed, two keys cannot be told apart, a signature under one of
            `keys` is wrong, or there is none.
    """
    text, lines = _split(note)
    known = _by_name_and_id(keys)
    signers: dict[VerifierKey, None] = {}
    for line in lines:
        name, key_id, signature = _parse_signature(line)
        key = known.get((name, key_id))
        if key is None or key in signers:
            continue
        if len(signature) != _SIGNATURE_BYTES or not key.verify(text.encode(), signature):
            raise NoteError(f"the signature of key {name!r} is wrong")
        signers[key] = None
    if not signers:
        raise NoteError("no trusted key has signed it")
    return text, tuple(signers)


def _split(note: bytes) -> tuple[str, list[str]]:
    if len(note) > MAX_NOTE_BYTES:
        raise NoteError(f"{len(note)} bytes; a note has at most {MAX_NOTE_BYTES}")
    try:
        whole = note.decode()
    except UnicodeDecodeError as err:
        raise NoteError("a note must be valid UTF-8") from err
    _check_text(whole)
    text, separator, signatures = whole.rpartition("\n\n")
    if not separator or not signatures.endswith("\n"):
        raise NoteError("expected a text, an empty line and signature lines")
    lines = signatures.removesuffix("\n").split("\n")
    if len(lines) > MAX_SIGNATURES:
        raise NoteError(f"{len(lines)} signatures; a note has at most {MAX_SIGNATURES}")
    return text + "\n", lines


def _check_text(text: str) -> None:
    if any(char < " " and char != "\n" for char in text):
        raise NoteError("a note must not have control characters but line breaks")


def _parse_signature(line: str) -> tuple[str, bytes, bytes]:
    name, separator, encoded = line.removeprefix(_MARK).partition(" ")
    data = _unbase64(encoded)
    if not line.startswith(_MARK) or not separator or len(data) <= _ID_BYTES:
        raise NoteError("expected a signature line: an em dash, a key name and base64")
    return check_name(name), data[:_ID_BYTES], data[_ID_BYTES:]


def _by_name_and_id(keys: Sequence[VerifierKey]) -> dict[tuple[str, bytes], VerifierKey]:
    known: dict[tuple[str, bytes], VerifierKey] = {}
    for key in keys:
        if known.setdefault((key.name, key.id), key) != key:
            raise NoteError(f"two keys {key.name!r} have the same id and cannot be told apart")
    return known


def _unbase64(text: str) -> bytes:
    # One text for each value: Python alone would pass over stray bits and missing padding.
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""
    return data if base64.b64encode(data).decode() == text else b""
