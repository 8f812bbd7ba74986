"""Splits a watch into its events: one JSON text a line."""

from collections.abc import AsyncGenerator
from typing import Final, Protocol

from lictor.errors import TooLargeError
from lictor.telemetry import metrics

MAX_LINE_BYTES: Final = 32 * 1024 * 1024
"""As large as the largest review; an object at etcd's limit of 1.5 MB has at most 9 MB escaped."""


class ByteStream(Protocol):
    """What a watch is read from."""

    async def readany(self) -> bytes:
        """Return what has come; nothing at the end."""
        ...


async def lines(
    stream: ByteStream, *, max_bytes: int = MAX_LINE_BYTES
) -> AsyncGenerator[bytes, None]:
    """Yield each line without its end; a last line without an end is cut short and left out.

    Raises:
        TooLargeError: a line has more than `max_bytes`.
    """
    rest = bytearray()
    while chunk := await stream.readany():
        begin = len(rest)
        rest += chunk
        # Only what has just come is searched: a large line must not cost its square.
        if rest.find(b"\n", begin) >= 0:
            *whole, last = bytes(rest).split(b"\n")
            rest = bytearray(last)
            for line in whole:
                _check(len(line), max_bytes)
                if line:
                    yield line
        _check(len(rest), max_bytes)


def _check(size: int, max_bytes: int) -> None:
    if size > max_bytes:
        metrics.LIMIT_HITS.labels(limit="watch-line-bytes").inc()
        raise TooLargeError(f"a line of a watch has more than {max_bytes} bytes")
