"""The hash tree of RFC 6962, as far as a writer and a full verifier need it."""

import hashlib
from collections.abc import Sequence
from typing import Final, Self

from lictor.errors import InputError

HASH_BYTES: Final = 32
EMPTY_ROOT: Final = hashlib.sha256(b"").digest()


def leaf_hash(data: bytes) -> bytes:
    """Return the hash of a leaf (RFC 6962 2.1)."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node (RFC 6962 2.1)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class Frontier:
    """The roots of the complete subtrees of a log, largest first: at most one for each bit of size.

    It is all that a writer keeps of the tree: 63 hashes hold any log there will be.
    """

    __slots__ = ("_hashes", "_size")

    def __init__(self, size: int = 0, hashes: Sequence[bytes] = ()) -> None:
        """Take the complete subtrees of a log of `size` leaves.

        Raises:
            InputError: not one hash of 32 bytes for each bit that is set in `size`.
        """
        if size < 0 or len(hashes) != size.bit_count():
            raise InputError(f"{len(hashes)} subtrees cannot make a log of {size} leaves")
        if any(len(item) != HASH_BYTES for item in hashes):
            raise InputError("the hash of a subtree does not have 32 bytes")
        self._size = size
        self._hashes = list(hashes)

    @classmethod
    def unpack(cls, size: int, data: bytes) -> Self:
        """Read back what `pack` gave for a log of `size` leaves.

        Raises:
            InputError: it is of another length.
        """
        starts = range(0, len(data), HASH_BYTES)
        return cls(size, [data[start : start + HASH_BYTES] for start in starts])

    @property
    def size(self) -> int:
        """How many leaves were appended."""
        return self._size

    def pack(self) -> bytes:
        """Return the hashes, one after the other."""
        return b"".join(self._hashes)

    def append(self, leaf: bytes) -> None:
        """Add the hash of the next leaf."""
        # Each trailing 1 bit of the size is a complete subtree that the new leaf completes further.
        carry = self._size
        while carry & 1:
            leaf = node_hash(self._hashes.pop(), leaf)
            carry >>= 1
        self._hashes.append(leaf)
        self._size += 1

    def root(self) -> bytes:
        """Return the Merkle tree hash of all leaves so far."""
        if not self._hashes:
            return EMPTY_ROOT
        root = self._hashes[-1]
        for left in reversed(self._hashes[:-1]):
            root = node_hash(left, root)
        return root
