"""The work queue on an event loop."""

import asyncio
from datetime import datetime

import pytest

from enforcer.workqueue import Backoff, Pending, QueueClosedError, WorkQueue


class _LoopClock:
    """The time of the running loop."""

    def now(self) -> datetime:
        raise NotImplementedError

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()


def _queue(limit: int = 100) -> WorkQueue[str]:
    return WorkQueue(_LoopClock(), limit=limit)


async def test_workqueue_collapses_adds_of_a_waiting_key() -> None:
    """A key that is added three times while it waits is taken once."""
    queue = _queue()
    for _ in range(3):
        queue.add("a")

    assert await queue.get() == "a"
    assert queue.depth == 0


async def test_workqueue_repeats_a_key_that_came_while_it_was_worked_on() -> None:
    """Any number of adds during the work are exactly one more pass, after `done`."""
    queue = _queue()
    queue.add("a")
    await queue.get()
    queue.add("a")
    queue.add("a")

    assert queue.depth == 0

    queue.done("a")

    assert queue.depth == 1


async def test_workqueue_get_waits_for_a_delayed_key() -> None:
    """A delayed key comes at its time, and the earlier of two delays counts."""
    queue = _queue()
    started = asyncio.get_running_loop().time()
    queue.add_after("a", 5.0)
    queue.add_after("a", 0.02)
    queue.add_after("a", 3.0)

    assert await asyncio.wait_for(queue.get(), 1.0) == "a"
    assert 0.015 < asyncio.get_running_loop().time() - started < 1.0


async def test_workqueue_cancelled_getter_passes_its_wakeup_on() -> None:
    """A getter that is cancelled in the moment of its wake-up does not lose the key."""
    queue = _queue()
    async with asyncio.TaskGroup() as tasks:
        first = tasks.create_task(queue.get())
        second = tasks.create_task(queue.get())
        await asyncio.sleep(0)
        queue.add("a")
        first.cancel()

        assert await asyncio.wait_for(second, 1.0) == "a"


async def test_workqueue_drain_waits_for_the_work() -> None:
    """Drain refuses new keys, lets ready ones be taken, and ends when the last is done."""
    queue = _queue()
    queue.add("a")
    queue.add_after("later", 60.0)
    async with asyncio.TaskGroup() as tasks:
        drained = tasks.create_task(queue.drain())
        await asyncio.sleep(0)
        queue.add("b")

        assert await queue.get() == "a"
        with pytest.raises(QueueClosedError, match="shut down"):
            await queue.get()
        assert not drained.done()

        queue.done("a")
        await asyncio.wait_for(drained, 1.0)


async def test_workqueue_shut_down_wakes_waiting_getters() -> None:
    """A worker that waits for a key ends when the queue is shut down."""
    queue = _queue()

    async def worker() -> str:
        try:
            return await queue.get()
        except QueueClosedError:
            return "closed"

    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(worker())
        await asyncio.sleep(0)
        queue.shut_down()

        assert await asyncio.wait_for(task, 1.0) == "closed"


async def test_workqueue_drops_and_counts_beyond_its_limit() -> None:
    """A full queue drops a new key, keeps known ones, and says so in a metric."""
    from lictor.telemetry import metrics  # noqa: PLC0415 (read beside its use)

    counter = metrics.LIMIT_HITS.labels(limit="queue-keys")
    before = counter._value.get()
    queue = _queue(limit=2)
    for key in ("a", "b", "c", "a"):
        queue.add(key)

    assert queue.depth == 2
    assert counter._value.get() == before + 1


@pytest.mark.parametrize(
    ("failures", "seconds"),
    [
        pytest.param(0, 0.005, id="first"),
        pytest.param(8, 1.28, id="ninth"),
        pytest.param(14, 81.92, id="fifteenth"),
        pytest.param(17, 655.36, id="eighteenth"),
        pytest.param(18, 1000.0, id="capped"),
        pytest.param(5000, 1000.0, id="no overflow"),
    ],
)
def test_backoff_doubles_up_to_its_limit(failures: int, seconds: float) -> None:
    """The delays are those of client-go's item limiter."""
    backoff: Backoff[str] = Backoff()
    for _ in range(failures):
        backoff.next_delay("a")

    assert backoff.next_delay("a") == pytest.approx(seconds)
    assert backoff.next_delay("other") == pytest.approx(0.005)


def test_backoff_forget_starts_over() -> None:
    """After `forget` the first delay comes again."""
    backoff: Backoff[str] = Backoff()
    backoff.next_delay("a")
    backoff.next_delay("a")
    backoff.forget("a")

    assert backoff.failures("a") == 0
    assert backoff.next_delay("a") == pytest.approx(0.005)


def test_pending_heap_stays_small_when_times_only_move_forward() -> None:
    """A key that is re-added for ever earlier leaves no entry a re-add behind."""
    pending: Pending[str] = Pending(limit=10)
    for step in range(10_000):
        pending.add_at("a", 20_000.0 - step, now=0.0)

    assert len(pending._heap) < 200
    assert pending.promote(0.0) == pytest.approx(10_001.0)


def test_pending_loses_no_delayed_key_while_full() -> None:
    """A delayed key becomes ready also where others, counted twice, fill the queue meanwhile."""
    pending: Pending[str] = Pending(limit=2)
    assert pending.add("worked-on", 0.0)
    assert pending.take(0.0) == ("worked-on", 0.0)
    assert pending.add_at("delayed", 1.0, now=0.0)
    assert pending.add("worked-on", 0.0)  # known, so never refused: it counts as dirty too

    pending.promote(1.0)

    assert pending.take(1.0) == ("delayed", 0.0)
