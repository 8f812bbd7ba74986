"""Leader election on virtual time: who leads, since when, and who must not."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from datetime import timedelta
from random import Random
from typing import Any

import pytest
from typing_extensions import override

from lictor.config.settings import LeaseSettings
from lictor.errors import ConflictError, SettingsError, UnavailableError
from lictor.jsontypes import JsonObject
from lictor.kube.election import LEASES, Elector, LeaseLostError
from lictor.model.document import Document
from lictor.model.names import ObjectKey
from testkit.simulators.clock import LoopClock, run_virtual
from testkit.simulators.cluster import MemoryCluster, MemoryLeaseWriter

SETTINGS = LeaseSettings()
KEY = ObjectKey(LEASES, "lictor-system", SETTINGS.name)


class _Writer(MemoryLeaseWriter):
    """Calls `before` first, which can stall, fail or interfere."""

    def __init__(self, cluster: MemoryCluster) -> None:
        super().__init__(cluster)
        self.before: Callable[[str], Awaitable[None]] | None = None

    @override
    async def read(self, key: ObjectKey) -> Document | None:
        await self._interfere("read")
        return await super().read(key)

    @override
    async def write(self, key: ObjectKey, lease: Document) -> Document:
        await self._interfere("write")
        return await super().write(key, lease)

    async def _interfere(self, verb: str) -> None:
        await asyncio.sleep(0.01)
        if self.before is not None:
            await self.before(verb)


class _Candidate:
    def __init__(
        self, cluster: MemoryCluster, name: str, *, skew: timedelta = timedelta(0)
    ) -> None:
        self.writer = _Writer(cluster)
        self.changes: list[bool] = []
        self.elector = Elector(
            self.writer,
            SETTINGS,
            namespace=KEY.namespace,
            identity=name,
            clock=LoopClock(skew=skew),
            changed=lambda: self.changes.append(self.elector.is_leader()),
            random=Random(name),  # noqa: S311 - a seed
        )
        self.ended_at = 0.0
        self.end: BaseException | None = None

    async def run(self) -> None:
        try:
            await self.elector.run()
        except LeaseLostError as err:
            self.end = err
        finally:
            self.ended_at = _now()


def _now() -> float:
    return asyncio.get_running_loop().time()


def _spec(cluster: MemoryCluster) -> JsonObject:
    spec = cluster.objects[KEY].tree["spec"]
    assert isinstance(spec, dict)
    return spec


def _play(play: Callable[[MemoryCluster, asyncio.TaskGroup], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        async with asyncio.TaskGroup() as group:
            await play(MemoryCluster(), group)
            # A task group waits for its tasks; electors run until they are cancelled.
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()

    run_virtual(run())


async def _stall(_: str) -> None:
    await asyncio.sleep(1e6)


async def _refuse(_: str) -> None:
    raise UnavailableError("refused")


def test_elector_takes_a_lease_that_does_not_exist() -> None:
    """It is created with all its fields, and who waits for it is woken."""

    async def play(cluster: MemoryCluster, group: asyncio.TaskGroup) -> None:
        one = _Candidate(cluster, "one")
        task = group.create_task(one.run(), name="one")
        await one.elector.wait_leader()

        assert one.elector.is_leader()
        assert one.elector.fresh()
        assert one.changes == [True]
        assert _spec(cluster)["holderIdentity"] == "one"
        assert _spec(cluster)["leaseDurationSeconds"] == 15
        assert _spec(cluster)["leaseTransitions"] == 0
        assert str(_spec(cluster)["renewTime"]).endswith("Z")
        task.cancel()

    _play(play)


def test_elector_renews_every_two_seconds_by_one_write() -> None:
    """The fast path is an update from the last state: no read."""

    async def play(cluster: MemoryCluster, group: asyncio.TaskGroup) -> None:
        one = _Candidate(cluster, "one")
        verbs: list[str] = []

        async def note(verb: str) -> None:
            verbs.append(verb)

        group.create_task(one.run(), name="one")
        await one.elector.wait_leader()
        acquired = _spec(cluster)["acquireTime"]
        one.writer.before = note
        await asyncio.sleep(21)

        assert set(verbs) == {"write"}
        assert 9 <= len(verbs) <= 11
        assert _spec(cluster)["acquireTime"] == acquired
        assert _spec(cluster)["leaseTransitions"] == 0

    _play(play)


def test_elector_waits_while_another_renews() -> None:
    """There is one leader, however long it lasts."""

    async def play(cluster: MemoryCluster, group: asyncio.TaskGroup) -> None:
        one, two = _Candidate(cluster, "one"), _Candidate(cluster, "two")
        group.create_task(one.run(), name="one")
        await one.elector.wait_leader()
        group.create_task(two.run(), name="two")
        await asyncio.sleep(300)

        assert one.elector.fresh()
        assert two.changes == []

    _play(play)


def test_elector_takes_over_when_a_leader_dies() -> None:
    """Not before 15 s without a change, soon after; the transition is counted."""

    async def play(cluster: MemoryCluster, group: asyncio.TaskGroup) -> None:
        one, two = _Candidate(cluster, "one"), _Candidate(cluster, "two")
        task = group.create_task(one.run(), name="one")
        await one.elector.wait_leader()
        group.create_task(two.run(), name="two")
        await asyncio.sleep(30)
        task.cancel()
        died = _now()
        await two.elector.wait_leader()

        # The last renewal was up to 2 s before, and is looked at every 2 to 4.4 s.
        assert 13 < _now() - died < 15 + 4.5
        assert _spec(cluster)["leaseTransitions"] == 1
        assert _spec(cluster)["holderIdentity"] == "two"

    _play(play)


@pytest.mark.parametrize("hours", [-5, 5])
def test_elector_judges_expiry_by_its_own_observation(hours: int) -> None:
    """A candidate whose clock is hours off neither takes early nor waits for hours."""

    async def play(cluster: MemoryCluster, group: asyncio.TaskGroup) -> None:
        one = _Candidate(cluster, "one")
        two = _Candidate(cluster, "two", skew=timedelta(hours=hours))
        task = group.create_task(one.run(), name="one")
        await one.elector.wait_leader()
        group.create_task(two.run(), name="two")
        await asyncio.sleep(60)
        assert two.changes == []
        task.cancel()
        died = _now()
        await two.elector.wait_leader()

        assert 13 < _now() - died < 15 + 4.5

    _play(play)


def test_elector_watches_a_stale_lease_for_its_whole_duration() -> None:
    """A renewTime of last year is no proof: the holder may just have begun to renew."""

    async def play(cluster: MemoryCluster, group: asyncio.TaskGroup) -> None:
        old = {
            "holderIdentity": "gone",
            "leaseDurationSeconds": 15,
            "renewTime": "2020-01-01T00:00:00.000000Z",
            "leaseTransitions": 4,
        }
        cluster.create(KEY, {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "spec": old})
        one = _Candidate(cluster, "one")
        group.create_task(one.run(), name="one")
        await one.elector.wait_leader()

        assert 15 < _now() < 15 + 4.5
        assert _spec(cluster)["leaseTransitions"] == 5

    _play(play)


def test_elector_survives_one_stalled_call() -> None:
    """A call that hangs is given up in time for another one within the deadline."""

    async def play(cluster: MemoryCluster, group: asyncio.TaskGroup) -> None:
        one = _Candidate(cluster, "one")
        group.create_task(one.run(), name="one")
        await one.elector.wait_leader()
        stalled = 0

        async def first(verb: str) -> None:
            nonlocal stalled
            stalled += 1
            if stalled == 1:
                await _stall(verb)

        one.writer.before = first
        await asyncio.sleep(60)

        assert stalled > 1
        assert one.end is None
        assert one.elector.fresh()
        assert one.changes == [True]

    _play(play)


@pytest.mark.parametrize("how", [_stall, _refuse])
def test_elector_stops_when_it_could_not_renew(how: Callable[[str], Awaitable[None]]) -> None:
    """After 10 s it ends, before the 15 s at which another may take over."""

    async def play(cluster: MemoryCluster, group: asyncio.TaskGroup) -> None:
        one, two = _Candidate(cluster, "one"), _Candidate(cluster, "two")
        group.create_task(one.run(), name="one")
        await one.elector.wait_leader()
        group.create_task(two.run(), name="two")
        await asyncio.sleep(20)
        one.writer.before = how
        cut = _now()
        while two.changes == []:
            assert not (one.elector.fresh() and two.elector.is_leader())
            await asyncio.sleep(0.1)

        assert isinstance(one.end, LeaseLostError)
        assert one.changes == [True, False]
        assert 8 - 0.1 <= one.ended_at - cut <= 10.1
        assert _now() > one.ended_at

    _play(play)


def test_elector_is_not_fresh_while_its_event_loop_was_held_up() -> None:
    """Who writes asks `fresh` right before sending: an old lease is none, whoever `is_leader`."""

    async def play(cluster: MemoryCluster, group: asyncio.TaskGroup) -> None:
        one = _Candidate(cluster, "one")
        group.create_task(one.run(), name="one")
        await one.elector.wait_leader()
        asyncio.get_running_loop()._clock.now += 11  # type: ignore[attr-defined]  # VirtualLoop

        assert one.elector.is_leader()
        assert not one.elector.fresh()

    _play(play)


def test_elector_counts_its_age_from_before_a_slow_call() -> None:
    """The API server may have written at the beginning of a call whose answer took 3 s."""

    async def play(cluster: MemoryCluster, group: asyncio.TaskGroup) -> None:
        one = _Candidate(cluster, "one")
        plain = MemoryLeaseWriter.write

        async def slow(key: ObjectKey, lease: Document) -> Document:
            written = await plain(one.writer, key, lease)
            await asyncio.sleep(3)
            return written

        one.writer.write = slow  # type: ignore[method-assign]  # a slow answer
        group.create_task(one.run(), name="one")
        await one.elector.wait_leader()
        one.writer.before = _refuse
        one.writer.write = _stalled  # type: ignore[method-assign]  # no answer
        await asyncio.sleep(7.5)

        assert not one.elector.fresh()

    _play(play)


async def _stalled(_: ObjectKey, lease: Document) -> Document:
    await asyncio.sleep(1e6)
    return lease


def test_elector_stops_at_once_when_another_holds_the_lease() -> None:
    """Somebody wrote the Lease over: there is no reason to wait for the deadline."""

    async def play(cluster: MemoryCluster, group: asyncio.TaskGroup) -> None:
        one = _Candidate(cluster, "one")
        group.create_task(one.run(), name="one")
        await one.elector.wait_leader()
        cluster.update(KEY, {"spec": {**_spec(cluster), "holderIdentity": "usurper"}})
        await asyncio.sleep(2.5)

        assert isinstance(one.end, LeaseLostError)
        assert "usurper" in str(one.end)
        assert not one.elector.is_leader()

    _play(play)


def test_elector_goes_on_when_somebody_else_touched_its_lease() -> None:
    """A label on the Lease is a conflict, not a loss: read again, and renew."""

    async def play(cluster: MemoryCluster, group: asyncio.TaskGroup) -> None:
        one = _Candidate(cluster, "one")
        group.create_task(one.run(), name="one")
        await one.elector.wait_leader()
        tree = cluster.objects[KEY].tree
        cluster.update(KEY, {**tree, "metadata": {**tree["metadata"], "labels": {"a": "b"}}})  # type: ignore[dict-item]  # a map
        await asyncio.sleep(10)

        assert one.elector.fresh()
        assert one.changes == [True]
        assert cluster.objects[KEY].meta.labels == {"a": "b"}

    _play(play)


def test_elector_makes_a_deleted_lease_anew() -> None:
    """Nobody else holds it, so it is still ours to take."""

    async def play(cluster: MemoryCluster, group: asyncio.TaskGroup) -> None:
        one = _Candidate(cluster, "one")
        group.create_task(one.run(), name="one")
        await one.elector.wait_leader()
        cluster.remove(KEY)
        await asyncio.sleep(5)

        assert one.elector.fresh()
        assert _spec(cluster)["holderIdentity"] == "one"

    _play(play)


def test_electors_that_race_for_a_new_lease_give_one_leader() -> None:
    """Both create it: one is told that it exists."""

    async def play(cluster: MemoryCluster, group: asyncio.TaskGroup) -> None:
        many = [_Candidate(cluster, f"c{number}") for number in range(5)]
        for one in many:
            group.create_task(one.run(), name="candidate")
        await asyncio.sleep(60)

        assert sum(one.elector.is_leader() for one in many) == 1
        assert _spec(cluster)["leaseTransitions"] == 0

    _play(play)


def test_release_lets_another_lead_within_its_retry() -> None:
    """An empty holder of one second is taken at the next look."""

    async def play(cluster: MemoryCluster, group: asyncio.TaskGroup) -> None:
        one, two = _Candidate(cluster, "one"), _Candidate(cluster, "two")
        task = group.create_task(one.run(), name="one")
        await one.elector.wait_leader()
        group.create_task(two.run(), name="two")
        await asyncio.sleep(20)
        task.cancel()
        await asyncio.sleep(0)
        await one.elector.release()
        assert _spec(cluster)["holderIdentity"] == ""
        assert _spec(cluster)["leaseDurationSeconds"] == 1
        released = _now()
        await two.elector.wait_leader()

        assert _now() - released < 4.5
        assert _spec(cluster)["leaseTransitions"] == 1
        assert _spec(cluster)["leaseDurationSeconds"] == 15

    _play(play)


def test_release_leaves_the_lease_of_another_alone() -> None:
    """Who has lost it has nothing to give up."""

    async def play(cluster: MemoryCluster, group: asyncio.TaskGroup) -> None:
        one = _Candidate(cluster, "one")
        group.create_task(one.run(), name="one")
        await one.elector.wait_leader()
        cluster.update(KEY, {"spec": {**_spec(cluster), "holderIdentity": "two"}})
        await one.elector.release()

        assert _spec(cluster)["holderIdentity"] == "two"

    _play(play)


def test_release_tries_again_after_a_conflict() -> None:
    """A renewal that was still on its way comes first."""

    async def play(cluster: MemoryCluster, group: asyncio.TaskGroup) -> None:
        one = _Candidate(cluster, "one")
        task = group.create_task(one.run(), name="one")
        await one.elector.wait_leader()
        task.cancel()
        conflicts = 0

        async def conflict(verb: str) -> None:
            nonlocal conflicts
            if verb == "write" and conflicts < 2:
                conflicts += 1
                raise ConflictError("newer", code=409)

        one.writer.before = conflict
        await one.elector.release()

        assert conflicts == 2
        assert _spec(cluster)["holderIdentity"] == ""

    _play(play)


@pytest.mark.parametrize("how", [_stall, _refuse])
def test_release_ends_where_the_api_server_is_away(how: Callable[[str], Awaitable[None]]) -> None:
    """A shutdown does not wait for it: the Lease runs out by itself."""

    async def play(cluster: MemoryCluster, group: asyncio.TaskGroup) -> None:
        one = _Candidate(cluster, "one")
        task = group.create_task(one.run(), name="one")
        await one.elector.wait_leader()
        task.cancel()
        one.writer.before = how
        began = _now()
        await one.elector.release()

        assert _now() - began <= 5.0

    _play(play)


def test_release_without_a_lease_asks_nobody() -> None:
    """A candidate that never wrote has nothing to release."""

    async def play(cluster: MemoryCluster, _: asyncio.TaskGroup) -> None:
        one = _Candidate(cluster, "one")
        one.writer.before = _refuse
        await one.elector.release()

        assert cluster.objects == {}

    _play(play)


def test_release_gives_up_a_lease_whose_answer_never_came() -> None:
    """The first write may have taken effect although its caller was cancelled."""

    async def play(cluster: MemoryCluster, group: asyncio.TaskGroup) -> None:
        one = _Candidate(cluster, "one")
        plain = MemoryLeaseWriter.write

        async def write_and_stall(key: ObjectKey, lease: Document) -> Document:
            written = await plain(one.writer, key, lease)
            await _stall("write")
            return written

        one.writer.write = write_and_stall  # type: ignore[method-assign]  # a lost answer
        task = group.create_task(one.run(), name="one")
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.sleep(0)
        del one.writer.write
        await one.elector.release()

        assert _spec(cluster)["holderIdentity"] == ""

    _play(play)


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param({"duration_seconds": 10.0}, id="lease as long as the deadline"),
        pytest.param({"renew_deadline_seconds": 2.4}, id="deadline of one retry"),
        pytest.param({"retry_seconds": 0.0}, id="no retry time"),
    ],
)
def test_elector_refuses_times_that_leave_no_room(wrong: dict[str, float]) -> None:
    """client-go demands lease > deadline > 1.2 x retry; so do we."""
    with pytest.raises(SettingsError, match="durationSeconds"):
        Elector(
            MemoryLeaseWriter(MemoryCluster()),
            replace(SETTINGS, **wrong),  # type: ignore[arg-type]  # all are floats
            namespace="n",
            identity="one",
            clock=LoopClock(),
        )
