"""Rules that hold, delay or cut what passes a proxy, so that a test can act in a chosen window."""

import asyncio
from collections.abc import Callable
from typing import Final, Generic, TypeVar

T = TypeVar("T")

CAUGHT_SECONDS: Final = 30.0


class CutError(ConnectionError):
    """What passes here is cut off: the connection is aborted, and nothing is passed on."""


class Trap(Generic[T]):
    """Acts on what its condition picks; made by `Traps`."""

    def __init__(
        self, when: Callable[[T], bool], *, times: int | None, delay_seconds: float | None
    ) -> None:
        """Hold until a decision where `delay_seconds` is None; act `times` often, None is ever."""
        self._when = when
        self._left = times
        self._delay_seconds = delay_seconds
        self._decided: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._arrived: asyncio.Queue[T] = asyncio.Queue()
        self.count = 0

    def release(self) -> None:
        """Let pass whatever is held and whatever comes."""
        if not self._decided.done():
            self._decided.set_result(True)

    def cut(self) -> None:
        """Cut whatever is held and whatever comes, as often as the trap acts."""
        if not self._decided.done():
            self._decided.set_result(False)

    async def caught(self, timeout_seconds: float = CAUGHT_SECONDS) -> T:
        """Wait for the next thing that this trap acts on, and return it.

        Raises:
            TimeoutError: nothing came.
        """
        async with asyncio.timeout(timeout_seconds):
            return await self._arrived.get()

    def takes(self, passing: T) -> bool:
        """Tell whether the trap acts on this, and count it."""
        if self._left == 0 or not self._when(passing):
            return False
        if self._left is not None:
            self._left -= 1
        self.count += 1
        return True

    async def act(self, passing: T) -> None:
        """Hold or delay what passes.

        Raises:
            CutError: it is to be cut.
        """
        self._arrived.put_nowait(passing)
        if self._delay_seconds is not None:
            await asyncio.sleep(self._delay_seconds)
        elif not await asyncio.shield(self._decided):
            raise CutError("cut by a trap")


class Traps(Generic[T]):
    """The traps of one proxy; the first one that takes something acts on it."""

    def __init__(self) -> None:
        self._traps: list[Trap[T]] = []

    def hold(self, when: Callable[[T], bool], *, times: int | None = 1) -> Trap[T]:
        """Hold the next matches until the trap is told to release or cut them."""
        return self._add(Trap(when, times=times, delay_seconds=None))

    def delay(self, when: Callable[[T], bool], *, seconds: float, times: int | None = 1) -> Trap[T]:
        """Delay the next matches by so many seconds."""
        return self._add(Trap(when, times=times, delay_seconds=seconds))

    def cut(self, when: Callable[[T], bool], *, times: int | None = 1) -> Trap[T]:
        """Cut the connection of the next matches."""
        trap = self.hold(when, times=times)
        trap.cut()
        return trap

    async def passing(self, value: T) -> None:
        """Let the first trap that takes `value` act on it.

        Raises:
            CutError: it is to be cut.
        """
        for trap in self._traps:
            if trap.takes(value):
                await trap.act(value)
                return

    def clear(self) -> None:
        """Release what is held and remove every trap."""
        for trap in self._traps:
            trap.release()
        self._traps.clear()

    def abandon(self) -> None:
        """Cut what is held and remove every trap."""
        for trap in self._traps:
            trap.cut()
        self._traps.clear()

    def _add(self, trap: Trap[T]) -> Trap[T]:
        self._traps.append(trap)
        return trap
