"""Key files: the Ed25519 key of an origin, and the key of the digests.

A key file is for its owner alone. The group may read one that somebody else owns: so a Secret
volume with `fsGroup` hands keys to a process that does not run as root.
"""

import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from typing_extensions import override

from lictor.audit import NoteError, VerifierKey, parse_trust
from lictor.audit.digests import MIN_KEY_BYTES
from lictor.errors import SettingsError
from lictor.ports.signer import Signer
from lictor.system import random_hex

_MAX_KEY_BYTES: Final = 16 * 1024
_OTHERS: Final = stat.S_IRWXO | stat.S_IWGRP | stat.S_IXGRP
_HEX: Final = re.compile(rb"[0-9a-fA-F]+")


@dataclass(frozen=True, slots=True)
class Ed25519Signer(Signer):
    """Signs with a private key in memory."""

    _name: str
    _key: Ed25519PrivateKey = field(repr=False)

    @property
    @override
    def name(self) -> str:
        """The origin."""
        return self._name

    @property
    @override
    def public(self) -> bytes:
        """The raw public key."""
        return self._key.public_key().public_bytes_raw()

    @override
    def sign(self, message: bytes) -> bytes:
        """Return the signature of `message`."""
        return self._key.sign(message)


def verifier_key(signer: Signer) -> VerifierKey:
    """Return what verifies the signatures of `signer`.

    Raises:
        NoteError: its name cannot be the name of a key.
    """
    return VerifierKey(signer.name, signer.public)


def create_signing_key(path: Path, *, origin: str) -> VerifierKey:
    """Make a new key in a new file of mode 0600.

    Raises:
        SettingsError: the file exists or cannot be written, or the origin cannot name a key.
    """
    key = Ed25519PrivateKey.generate()
    public = _named(origin, key.public_key().public_bytes_raw())
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    _write_new(path, pem)
    return public


def load_signer(path: Path, *, origin: str) -> Ed25519Signer:
    """Read the private key of `origin`.

    Raises:
        SettingsError: the file is missing, open to others, or holds no Ed25519 key; or the origin
            cannot name a key.
    """
    data = _read_private(path)
    try:
        key = serialization.load_pem_private_key(data, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as err:
        # The cause may quote the file.
        raise SettingsError(f"{path}: expected an Ed25519 private key as PEM") from err
    if not isinstance(key, Ed25519PrivateKey):
        raise SettingsError(f"{path}: a private key of another type; expected Ed25519")
    _named(origin, key.public_key().public_bytes_raw())
    return Ed25519Signer(origin, key)


def create_digest_key(path: Path) -> None:
    """Make a new key for digests in a new file of mode 0600.

    Raises:
        SettingsError: the file exists or cannot be written.
    """
    _write_new(path, random_hex(MIN_KEY_BYTES).encode() + b"\n")


def load_digest_key(path: Path) -> bytes:
    """Read the key for digests.

    Raises:
        SettingsError: no file is named, or it is missing, open to others, or holds no key.
    """
    if path == Path():
        raise SettingsError("audit.digestKey: it must be set")
    text = _read_private(path).strip()
    if not _HEX.fullmatch(text) or len(text) % 2 or len(text) < 2 * MIN_KEY_BYTES:
        raise SettingsError(f"{path}: expected at least {2 * MIN_KEY_BYTES} hexadecimal digits")
    return bytes.fromhex(text.decode())


def add_trust(path: Path, key: VerifierKey) -> None:
    """Append `key` to the trust file, which is made where it is missing.

    Raises:
        SettingsError: the file cannot be read or written, or is no trust file.
    """
    try:
        before = path.read_bytes() if path.exists() else b""
        if before.strip():
            parse_trust(before)
        with path.open("ab") as file:
            file.write(b"" if before.endswith(b"\n") or not before else b"\n")
            file.write(f"{key.vkey}\n".encode())
    except OSError as err:
        raise SettingsError(f"trust file {path}: {err.strerror}") from err
    except NoteError as err:
        raise SettingsError(f"trust file {path}: {err}") from err


def _named(origin: str, public: bytes) -> VerifierKey:
    try:
        return VerifierKey(origin, public)
    except NoteError as err:
        raise SettingsError(f"origin {origin!r}: {err}") from err


def _write_new(path: Path, data: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(path, flags, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError as err:
        raise SettingsError(f"{path}: it exists; a key is never overwritten") from err
    except OSError as err:
        raise SettingsError(f"{path}: {err.strerror}") from err


def _read_private(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
            data = file.read(_MAX_KEY_BYTES + 1)
    except OSError as err:
        raise SettingsError(f"{path}: {err.strerror}") from err
    own = found.st_uid == os.geteuid()
    if found.st_mode & _OTHERS or (own and found.st_mode & stat.S_IRGRP):
        mode = stat.S_IMODE(found.st_mode)
        raise SettingsError(f"{path}: mode {mode:04o} opens the key to others; expected 0600")
    if len(data) > _MAX_KEY_BYTES:
        raise SettingsError(f"{path}: more than {_MAX_KEY_BYTES} bytes; expected a key")
    return data
