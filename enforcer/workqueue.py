"""The work queue: keys, each at most once, and never two workers on one key.

The rules are client-go's (`util/workqueue`): a key that is added while it waits stays one key; a
key that is added while it is worked on is worked on once more afterwards; a delayed key keeps its
earliest time; retries back off per key, and `forget` ends that. Controller-runtime's default of
today is copied too: only the limiter per key, no bucket over all keys.
"""

import asyncio
import heapq
from collections import deque
from collections.abc import Hashable
from typing import Final, Generic, TypeVar

from lictor.errors import LictorError
from lictor.ports.clock import Clock
from lictor.telemetry import metrics

K = TypeVar("K", bound=Hashable)

BASE_SECONDS: Final = 0.005
"""client-go `DefaultTypedControllerRateLimiter`: 5, 10, 20 ms ..."""

MAX_SECONDS: Final = 1000.0
"""... up to 1000 s."""

_STALE_ENTRIES: Final = 64


class QueueClosedError(LictorError):
    """The queue is shut down and empty: the worker ends."""


class Backoff(Generic[K]):
    """How long each key waits before its next try: 5 ms * 2^failures, at most 1000 s."""

    def __init__(self, *, base: float = BASE_SECONDS, longest: float = MAX_SECONDS) -> None:
        self._base = base
        self._longest = longest
        self._failures: dict[K, int] = {}

    def next_delay(self, key: K) -> float:
        """Count one more failure of `key` and return the seconds to wait."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        # 2^64 already exceeds any limit; a larger exponent would overflow a float.
        return min(self._base * 2.0 ** min(failures, 64), self._longest)

    def failures(self, key: K) -> int:
        """Return how often `key` failed since it was last forgotten."""
        return self._failures.get(key, 0)

    def forget(self, key: K) -> None:
        """Start over: `key` succeeded, or nobody will try it again."""
        self._failures.pop(key, None)


class Pending(Generic[K]):
    """The state of a queue, without a clock or a loop of its own.

    Invariant: what is ready is dirty and not in processing. A key is in processing from `take` to
    `done`, so no key is ever taken twice at a time.
    """

    def __init__(self, *, limit: int) -> None:
        self._limit = limit
        self._ready: deque[K] = deque()
        self._dirty: set[K] = set()
        self._started: dict[K, float] = {}
        self._since: dict[K, float] = {}
        self._due: dict[K, float] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._sequence = 0
        self.closed = False

    @property
    def depth(self) -> int:
        """Return how many keys are ready."""
        return len(self._ready)

    @property
    def processing(self) -> int:
        """Return how many keys are being worked on."""
        return len(self._started)

    @property
    def delayed(self) -> int:
        """Return how many keys wait for their time."""
        return len(self._due)

    @property
    def idle(self) -> bool:
        """Return whether nothing is ready and nothing is worked on."""
        return not self._ready and not self._started

    def oldest_seconds(self, now: float) -> float:
        """Return how long the first ready key has waited; 0 where none is ready."""
        return now - self._since[self._ready[0]] if self._ready else 0.0

    def unfinished_seconds(self, now: float) -> float:
        """Return the longest time that a key has been worked on."""
        return max((now - at for at in self._started.values()), default=0.0)

    def add(self, key: K, now: float) -> bool:
        """Make `key` ready, or mark it for one more pass; False where the limit refuses it."""
        if self.closed or key in self._dirty:
            return True
        if self._full(key):
            return False
        self._dirty.add(key)
        if key not in self._started:
            self._push(key, now)
        return True

    def add_at(self, key: K, due: float, *, now: float) -> bool:
        """Add `key` at the time `due`; the earliest time of a delayed key counts."""
        if self.closed:
            return True
        if due <= now:
            return self.add(key, now)
        if self._full(key):
            return False
        if due < self._due.get(key, float("inf")):
            self._due[key] = due
            self._sequence += 1
            heapq.heappush(self._heap, (due, self._sequence, key))
            self._compact()
        return True

    def promote(self, now: float) -> float | None:
        """Add every delayed key whose time has come; return when the next one's comes."""
        while self._heap:
            due, _, key = self._heap[0]
            if self._due.get(key) == due:
                if due > now:
                    return due
                # Still known as delayed: a full queue refuses only what it does not know.
                self.add(key, now)
                del self._due[key]
            heapq.heappop(self._heap)
        return None

    def take(self, now: float) -> tuple[K, float] | None:
        """Take the first ready key, with the seconds that it waited; None where none is ready."""
        if not self._ready:
            return None
        key = self._ready.popleft()
        self._dirty.discard(key)
        self._started[key] = now
        return key, now - self._since.pop(key)

    def done(self, key: K, now: float) -> None:
        """End the work on `key`; it becomes ready again where it was added meanwhile."""
        self._started.pop(key, None)
        if key in self._dirty and key not in self._since:
            self._push(key, now)

    def close(self) -> None:
        """Refuse what comes from now on and drop what is delayed; what is ready is finished."""
        self.closed = True
        self._due.clear()
        self._heap.clear()

    def _push(self, key: K, now: float) -> None:
        self._ready.append(key)
        self._since[key] = now

    def _full(self, key: K) -> bool:
        if key in self._started or key in self._due or key in self._dirty:
            return False
        return len(self._dirty) + len(self._started) + len(self._due) >= self._limit

    def _compact(self) -> None:
        # An earlier time leaves the later entry in the heap; without this, one key that is
        # re-added for ever earlier would fill the memory.
        if len(self._heap) > 2 * len(self._due) + _STALE_ENTRIES:
            self._heap = [entry for entry in self._heap if self._due.get(entry[2]) == entry[0]]
            heapq.heapify(self._heap)


class WorkQueue(Generic[K]):
    """`Pending` for the tasks of one event loop, with waiting, time and metrics."""

    def __init__(self, clock: Clock, *, limit: int, backoff: Backoff[K] | None = None) -> None:
        self._clock = clock
        self._pending: Pending[K] = Pending(limit=limit)
        self._backoff: Backoff[K] = backoff or Backoff()
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._idle = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def depth(self) -> int:
        """Return how many keys are ready."""
        return self._pending.depth

    @property
    def idle(self) -> bool:
        """Return whether nothing is ready and nothing is worked on."""
        return self._pending.idle

    def add(self, key: K) -> None:
        """Add `key`; beyond the limit it is dropped and counted, and the resync finds it."""
        metrics.QUEUE_ADDS.inc()
        self._accept(fits=self._pending.add(key, self._clock.monotonic()))

    def add_after(self, key: K, delay_seconds: float) -> None:
        """Add `key` after a delay; the earliest of several delays counts."""
        now = self._clock.monotonic()
        self._accept(fits=self._pending.add_at(key, now + delay_seconds, now=now))

    def add_rate_limited(self, key: K) -> None:
        """Add `key` again after its backoff, which doubles until `forget`."""
        metrics.QUEUE_RETRIES.inc()
        self.add_after(key, self._backoff.next_delay(key))

    def forget(self, key: K) -> None:
        """End the backoff of `key`; a delay that is pending stays."""
        self._backoff.forget(key)

    def failures(self, key: K) -> int:
        """Return how often `key` was put back since it was last forgotten."""
        return self._backoff.failures(key)

    async def get(self) -> K:
        """Wait for a key and take it; the caller must call `done` in a `finally`.

        Raises:
            QueueClosedError: the queue is shut down and empty.
        """
        while True:
            self._tick()
            taken = self._pending.take(self._clock.monotonic())
            if taken is not None:
                metrics.QUEUE_SECONDS.observe(taken[1])
                self._measure()
                return taken[0]
            if self._pending.closed:
                raise QueueClosedError("the work queue is shut down")
            await self._wait()

    def done(self, key: K) -> None:
        """End the work on a key that `get` returned."""
        self._pending.done(key, self._clock.monotonic())
        self._wake()

    def shut_down(self) -> None:
        """Refuse new keys and finish what is ready."""
        self._pending.close()
        self._disarm()
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._settle()

    async def drain(self) -> None:
        """Shut down and wait until nothing is ready and nothing is worked on."""
        self.shut_down()
        await self._idle.wait()

    def measure(self) -> None:
        """Bring the gauges up to date; depth and age change with time alone."""
        self._measure()

    def _accept(self, *, fits: bool) -> None:
        if not fits:
            metrics.LIMIT_HITS.labels(limit="queue-keys").inc()
        self._tick()
        self._wake()

    def _tick(self) -> None:
        now = self._clock.monotonic()
        due = self._pending.promote(now)
        self._disarm()
        if due is not None:
            self._timer = asyncio.get_running_loop().call_later(due - now, self._fire)

    def _fire(self) -> None:
        self._timer = None
        self._tick()
        self._wake()

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wake(self) -> None:
        for waiter in tuple(self._waiters)[: self._pending.depth]:
            if not waiter.done():
                waiter.set_result(None)
        self._settle()

    def _settle(self) -> None:
        if self._pending.closed and self._pending.idle:
            self._idle.set()
        self._measure()

    async def _wait(self) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            # The wake-up that came with the cancellation belongs to somebody else now.
            self._waiters.remove(waiter)
            self._wake()
            raise
        self._waiters.remove(waiter)

    def _measure(self) -> None:
        now = self._clock.monotonic()
        metrics.QUEUE_DEPTH.set(self._pending.depth)
        metrics.QUEUE_AGE.set(self._pending.oldest_seconds(now))
        metrics.QUEUE_UNFINISHED.set(self._pending.unfinished_seconds(now))
