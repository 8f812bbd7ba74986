"""Tasks that run beside a test."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Final

POLL_SECONDS: Final = 0.01


@asynccontextmanager
async def running(*work: Coroutine[Any, Any, object]) -> AsyncIterator[None]:
    """Run coroutines while the context lasts; one that fails ends it."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one) for one in work]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()


async def eventually(condition: Callable[[], bool], *, timeout_seconds: float = 5.0) -> None:
    """Wait until a condition holds.

    Raises:
        TimeoutError: it never did.
    """
    async with asyncio.timeout(timeout_seconds):
        while not condition():  # noqa: ASYNC110 - what is waited for knows no event
            await asyncio.sleep(POLL_SECONDS)
