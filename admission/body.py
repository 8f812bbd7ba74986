"""Reads the body of a request, within a limit of its own and within what all may hold at once."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from aiohttp import ClientError

from admission.parse import HEAD_BYTES, Fault, MalformedReviewError, find_uid
from lictor.model.names import RequestUid
from lictor.telemetry import metrics


class Stream(Protocol):
    """Gives what has arrived (`aiohttp.StreamReader`); nothing at the end."""

    async def readany(self) -> bytes:
        """Wait for bytes and return them."""
        ...


class Budget:
    """Counts the bytes of all bodies that are being read or answered.

    Bytes count when they arrive, not when a Content-Length announces them: a client that announces
    much and sends nothing would else have the reviews of all others denied.
    """

    def __init__(self, limit: int) -> None:
        """Allow `limit` bytes at once."""
        self._limit = limit
        self._held = 0

    @property
    def held(self) -> int:
        """The bytes that are held now."""
        return self._held

    @contextmanager
    def share(self) -> Iterator["Share"]:
        """Give one body its share, and take it back at the end."""
        share = Share(self)
        try:
            yield share
        finally:
            self._release(share.held)

    def take(self, size: int) -> bool:
        """Count `size` more bytes, unless that would pass the limit."""
        if self._held + size > self._limit:
            metrics.LIMIT_HITS.labels(limit="gate_in_flight_bytes").inc()
            return False
        self._held += size
        metrics.IN_FLIGHT.set(self._held)
        return True

    def _release(self, size: int) -> None:
        self._held -= size
        metrics.IN_FLIGHT.set(self._held)


class Share:
    """What one body holds of a budget."""

    def __init__(self, budget: Budget) -> None:
        """Begin with nothing."""
        self._budget = budget
        self.held = 0

    def take(self, size: int) -> bool:
        """Count `size` more bytes, unless the budget is spent."""
        taken = self._budget.take(size)
        self.held += size if taken else 0
        return taken


class BodyReader:
    """Reads one body.

    Where it is refused, the rest of it stays unread: the answer goes out at once, and the server
    drains the connection after it, since a close on unread data would reset the connection and
    could cost the client the answer.
    """

    def __init__(self, share: Share, *, length: int | None, limit: int) -> None:
        """Take the share of the budget, the Content-Length (None: chunked) and the limit."""
        self._share = share
        self._length = length
        self._limit = limit
        self._head = bytearray()
        self._chunks: list[bytes] = []
        self.size = 0

    async def read(self, stream: Stream, *, timeout_seconds: float) -> bytes:
        """Return the whole body.

        Raises:
            MalformedReviewError: it is too large or too slow, does not fit the budget, or is cut
                short.
        """
        refused: Fault | None = None
        try:
            async with asyncio.timeout(timeout_seconds):
                while (refused is None or not self._uid_seen()) and (
                    chunk := await stream.readany()
                ):
                    self._note(chunk)
                    refused = refused or self._keep(chunk)
        except (ClientError, ConnectionError) as err:
            raise self._refusal(Fault.CUT_SHORT) from err
        except TimeoutError as err:
            raise self._refusal(refused or Fault.TOO_SLOW) from err
        if refused is not None:
            raise self._refusal(refused)
        body = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        # The budget counts each body once: its parts must not outlast it.
        self._chunks.clear()
        return body

    def _note(self, chunk: bytes) -> None:
        self.size += len(chunk)
        self._head += chunk[: max(0, HEAD_BYTES - len(self._head))]

    def _keep(self, chunk: bytes) -> Fault | None:
        """Add `chunk`, or drop what was kept so far and say why."""
        if max(self.size, self._length or 0) > self._limit:
            metrics.LIMIT_HITS.labels(limit="gate_review_bytes").inc()
            fault = Fault.TOO_LARGE
        elif not self._share.take(len(chunk)):
            fault = Fault.BUSY
        else:
            self._chunks.append(chunk)
            return None
        self._chunks.clear()
        return fault

    def uid(self) -> RequestUid | None:
        """Return the uid of the request, as far as the first bytes tell it."""
        return find_uid(bytes(self._head))

    def _uid_seen(self) -> bool:
        return len(self._head) >= HEAD_BYTES or self.uid() is not None

    def _refusal(self, fault: Fault) -> MalformedReviewError:
        texts = {
            Fault.TOO_LARGE: f"the review has {self._length or f'more than {self._limit}'} bytes; "
            f"at most {self._limit} are read",
            Fault.BUSY: "too many bytes of other reviews are being judged; try again",
            Fault.TOO_SLOW: f"the review did not arrive in time: {self.size} bytes came",
            Fault.CUT_SHORT: f"the review was cut short after {self.size} bytes",
        }
        return MalformedReviewError(texts[fault], fault=fault, uid=self.uid())
