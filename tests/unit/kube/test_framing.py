"""Lines of a watch, cut anywhere."""

from collections import deque

import pytest

from lictor.errors import TooLargeError
from lictor.kube.framing import lines
from lictor.telemetry import metrics


class _Chunks:
    def __init__(self, *chunks: bytes) -> None:
        self._chunks = deque(chunks)

    async def readany(self) -> bytes:
        return self._chunks.popleft() if self._chunks else b""


@pytest.mark.parametrize("size", [1, 2, 3, 5, 100])
async def test_lines_are_whole_wherever_the_stream_is_cut(size: int) -> None:
    """Chunks of any size give the same lines; empty lines are left out."""
    data = b'{"a":1}\n\n{"b":"<<<"}\n{"c":3}\n'
    chunks = [data[at : at + size] for at in range(0, len(data), size)]

    found = [line async for line in lines(_Chunks(*chunks))]

    assert found == [b'{"a":1}', b'{"b":"<<<"}', b'{"c":3}']


async def test_lines_leave_out_a_last_line_that_was_cut_short() -> None:
    """A connection that ends within an event has not brought it."""
    assert [line async for line in lines(_Chunks(b"one\ntw"))] == [b"one"]


async def test_lines_accept_a_line_at_the_limit() -> None:
    """The limit itself is allowed, however the line comes."""
    whole = [line async for line in lines(_Chunks(b"12345678\n"), max_bytes=8)]
    pieces = [line async for line in lines(_Chunks(b"1234", b"5678", b"\n"), max_bytes=8)]

    assert whole == pieces == [b"12345678"]


@pytest.mark.parametrize(
    "chunks",
    [
        pytest.param((b"123456789",), id="without an end"),
        pytest.param((b"1234", b"56789\n"), id="with an end"),
        pytest.param((b"ok\n", b"1234", b"56789"), id="after another"),
    ],
)
async def test_lines_refuse_a_line_over_the_limit(chunks: tuple[bytes, ...]) -> None:
    """Memory is bounded also where no line end ever comes, and the hit is counted."""
    counted = metrics.LIMIT_HITS.labels(limit="watch-line-bytes")
    before = counted._value.get()

    with pytest.raises(TooLargeError, match="more than 8 bytes"):
        [line async for line in lines(_Chunks(*chunks), max_bytes=8)]

    assert counted._value.get() == before + 1


async def test_lines_cost_no_square_of_a_large_line() -> None:
    """A line of 16 MiB in chunks of 64 KiB is searched once: seconds would be far too long."""
    chunk = b"x" * 65_536

    found = [line async for line in lines(_Chunks(*[chunk] * 256, b"\n"))]

    assert len(found[0]) == 16 * 1024 * 1024
