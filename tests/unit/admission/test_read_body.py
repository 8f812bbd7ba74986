import asyncio
import sys

import pytest
from aiohttp import ClientPayloadError

from admission.body import BodyReader, Budget
from admission.parse import Fault, MalformedReviewError
from lictor.telemetry import metrics

HEAD = b'{"request":{"uid":"u-1","object":{'


class Chunks:
    """A stream that gives what it was told to, then ends, fails or hangs."""

    def __init__(self, *chunks: bytes, end: Exception | None = None, hang: bool = False) -> None:
        self.chunks = list(chunks)
        self.end = end
        self.hang = hang
        self.given = 0

    async def readany(self) -> bytes:
        """Give the next chunk."""
        if self.chunks:
            self.given += 1
            return self.chunks.pop(0)
        if self.hang:
            await asyncio.Event().wait()
        if self.end:
            raise self.end
        return b""


async def read(
    stream: Chunks,
    budget: Budget | None = None,
    *,
    length: int | None = None,
    limit: int = 10_000,
) -> bytes:
    """Read one body as the server does."""
    with (budget or Budget(1_000_000)).share() as share:
        return await BodyReader(share, length=length, limit=limit).read(
            stream, timeout_seconds=0.05
        )


async def refusal(
    stream: Chunks,
    budget: Budget | None = None,
    *,
    length: int | None = None,
    limit: int = 10_000,
) -> MalformedReviewError:
    """Return the error that reading gives."""
    with pytest.raises(MalformedReviewError, match="review") as caught:
        await read(stream, budget, length=length, limit=limit)
    return caught.value


async def test_read_joins_what_arrives() -> None:
    """A body is what came, in order."""
    assert await read(Chunks(b"ab", b"c", b"")) == b"abc"
    assert await read(Chunks()) == b""


async def test_read_holds_a_body_once() -> None:
    """The parts are gone once they are joined, though the reader lives on until the answer."""
    with Budget(1_000_000).share() as share:
        reader = BodyReader(share, length=None, limit=10_000)
        parts = [bytes([number]) * 1000 for number in range(3)]
        held = [sys.getrefcount(part) for part in parts]

        body = await reader.read(Chunks(*parts), timeout_seconds=0.05)

        assert len(body) == 3000
        assert [sys.getrefcount(part) for part in parts] == held


async def test_read_takes_a_body_of_exactly_the_limit() -> None:
    """The limit itself is allowed, one byte more is not."""
    assert await read(Chunks(b"x" * 10), limit=10) == b"x" * 10
    assert (await refusal(Chunks(b"x" * 11), limit=10)).fault is Fault.TOO_LARGE


async def test_read_refuses_an_announced_size_at_once() -> None:
    """A Content-Length beyond the limit is refused with the first bytes, which hold the uid."""
    stream = Chunks(HEAD, b"never read")

    error = await refusal(stream, length=10_001)

    assert (error.fault, error.uid) == (Fault.TOO_LARGE, "u-1")
    assert stream.given == 1


async def test_read_refuses_a_chunked_body_when_it_passes_the_limit() -> None:
    """Without a Content-Length the bytes are counted, and no more of them are held."""
    stream = Chunks(HEAD, *[b"x" * 1000] * 20)

    error = await refusal(stream)

    assert (error.fault, error.uid) == (Fault.TOO_LARGE, "u-1")
    assert stream.given == 11


async def test_read_reads_on_for_the_uid_of_a_refused_body() -> None:
    """Where the first bytes do not hold the uid yet, a few more are read, at most 4 KiB."""
    late = await refusal(Chunks(b'{"request":', b'{"ui', b'd":"u-2",', b"?"), length=10_001)
    never = Chunks(*[b" " * 1000] * 20)
    without = await refusal(never, length=10_001)

    assert late.uid == "u-2"
    assert without.uid is None
    assert never.given == 5


async def test_read_refuses_what_does_not_fit_the_budget() -> None:
    """All bodies together are bounded; what is refused, or done, gives its bytes back."""
    budget = Budget(1000)
    with budget.share() as other:
        assert other.take(900)
        error = await refusal(Chunks(HEAD, b"x" * 100), budget)
        assert budget.held == 900

    assert (error.fault, error.uid, error.code) == (Fault.BUSY, "u-1", 429)
    assert budget.held == 0
    assert await read(Chunks(HEAD, b"x" * 100), budget) == HEAD + b"x" * 100
    assert budget.held == 0


async def test_read_does_not_count_what_is_only_announced() -> None:
    """A client that announces much and sends nothing takes nothing from the others."""
    budget = Budget(1000)

    async with asyncio.TaskGroup() as group:
        slow = group.create_task(refusal(Chunks(hang=True), budget, length=999))
        await asyncio.sleep(0)
        assert budget.held == 0
        await read(Chunks(b"x" * 1000), budget)

    assert slow.result().fault is Fault.TOO_SLOW


async def test_read_refuses_a_body_that_does_not_come_in_time() -> None:
    """A slow client holds a review no longer than the webhook's timeout."""
    error = await refusal(Chunks(HEAD, hang=True))

    assert (error.fault, error.uid, error.code) == (Fault.TOO_SLOW, "u-1", 504)


@pytest.mark.parametrize("end", [ClientPayloadError("gone"), ConnectionResetError("gone")])
async def test_read_refuses_a_body_that_is_cut_short(end: Exception) -> None:
    """A connection that breaks is no end of the body."""
    error = await refusal(Chunks(HEAD, end=end))

    assert (error.fault, error.uid) == (Fault.CUT_SHORT, "u-1")


async def test_read_counts_the_limits_that_it_hits() -> None:
    """Every limit shows in a metric when it is reached."""

    def hits(limit: str) -> float:
        return metrics.REGISTRY.get_sample_value("lictor_limit_hits_total", {"limit": limit}) or 0

    before = hits("gate_review_bytes"), hits("gate_in_flight_bytes")

    await refusal(Chunks(HEAD), length=10_001)
    await refusal(Chunks(HEAD), Budget(1))

    assert hits("gate_review_bytes") == before[0] + 1
    assert hits("gate_in_flight_bytes") == before[1] + 1
