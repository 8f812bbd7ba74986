"""Signs checkpoints."""

from typing import Protocol


class Signer(Protocol):
    """Holds the key of one origin and never shows it."""

    @property
    def name(self) -> str:
        """The key name of the signed note, which is the origin."""
        ...

    @property
    def public(self) -> bytes:
        """The raw Ed25519 public key, 32 bytes."""
        ...

    def sign(self, message: bytes) -> bytes:
        """Return the Ed25519 signature (RFC 8032) of `message`, 64 bytes."""
        ...
