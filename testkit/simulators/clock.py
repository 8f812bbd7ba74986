"""Virtual time: an event loop whose clock jumps to the next timer when nothing else is to do."""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar, TypeVarTuple

from typing_extensions import override

from lictor.ports.clock import Clock

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

EPOCH: Final = datetime(2026, 1, 1, tzinfo=UTC)


class _Selector(selectors.DefaultSelector):
    """Where nothing has come, the time that it was to wait for is over at once."""

    now = 0.0
    threads = 0
    """Calls that run in threads: time stands still until they are done."""

    @override
    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout and self.threads:
            return super().select()
        found = super().select(0 if timeout else timeout)
        if timeout and not found:
            self.now += timeout
        return found


class VirtualLoop(asyncio.SelectorEventLoop):
    """Waits for no timer, but for threads; sockets that are slower than that come late."""

    def __init__(self) -> None:
        """Begin at 0."""
        self._clock = _Selector()
        super().__init__(self._clock)

    @override
    def time(self) -> float:
        """Return the virtual seconds since the loop was made."""
        return self._clock.now

    @override
    def run_in_executor(
        self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts
    ) -> asyncio.Future[T]:
        """Run the call in a thread; its end wakes the loop."""
        self._clock.threads += 1
        future = super().run_in_executor(executor, func, *args)
        future.add_done_callback(self._ended)
        return future

    def _ended(self, _future: asyncio.Future[Any]) -> None:
        self._clock.threads -= 1


def run_virtual(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end on virtual time, which costs no real time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(work)


class LoopClock(Clock):
    """The clock of the running loop, real or virtual; `skew` shifts its wall time alone."""

    def __init__(self, *, skew: timedelta = timedelta(0)) -> None:
        """Tell wall times that are wrong by `skew`."""
        self._skew = skew

    @override
    def now(self) -> datetime:
        """Return `EPOCH` plus the time of the loop, plus the skew."""
        return EPOCH + timedelta(seconds=self.monotonic()) + self._skew

    @override
    def monotonic(self) -> float:
        """Return the time of the loop."""
        return asyncio.get_running_loop().time()
