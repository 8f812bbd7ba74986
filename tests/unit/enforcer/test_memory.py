"""What the enforcer remembers through a restart: episodes, heat, budgets."""

import asyncio
import threading

import pytest
from typing_extensions import override

from enforcer.loop import Budgets, Episodes, Heats
from lictor.jsontypes import JsonObject
from lictor.model.names import BoundPolicyId, Digest, Uid
from lictor.model.verdict import Outcome, Verdict, Violation
from lictor.ports.state_store import StateKind
from testkit.enforcing import bound
from testkit.simulators.state_store import MemoryStateStore

_UID = Uid("u")
_SET = Digest("sha256:1")
_P = BoundPolicyId("p")


def _verdict(name: str, *, path: str = "") -> Verdict:
    violation = Violation(rule="validations[0]", message="any", field_path=path)
    return Verdict(bound=bound(name), outcome=Outcome.VIOLATED, violations=(violation,))


async def test_episodes_are_one_a_drift() -> None:
    """The same violation seen again, also after a restart, is the same episode."""
    store = MemoryStateStore()
    first = Episodes(store)
    first.observe(_UID, [_verdict("p")], policy_set=_SET, now=100.0)
    await first.recorded(_UID, 7)
    again = first.observe(_UID, [_verdict("p")], policy_set=_SET, now=105.0)

    restarted = Episodes(store)
    restarted.load()
    later = restarted.observe(_UID, [_verdict("p")], policy_set=_SET, now=200.0)

    assert (again.drift, again.reads, again.began) == (7, 2, 100.0)
    assert (later.drift, later.reads, later.began) == (7, 1, 100.0)


@pytest.mark.parametrize(
    ("verdict", "policy_set"),
    [
        pytest.param(_verdict("q"), _SET, id="another policy"),
        pytest.param(_verdict("p", path="/spec"), _SET, id="another place"),
        pytest.param(_verdict("p"), Digest("sha256:2"), id="another revision"),
    ],
)
async def test_episodes_begin_anew_with_another_drift(verdict: Verdict, policy_set: Digest) -> None:
    """Another policy, place or revision of the law is another drift, to be recorded again."""
    episodes = Episodes(MemoryStateStore())
    episodes.observe(_UID, [_verdict("p")], policy_set=_SET, now=100.0)
    await episodes.recorded(_UID, 7)
    await episodes.hold(_UID, "settling")

    other = episodes.observe(_UID, [verdict], policy_set=policy_set, now=101.0)

    assert other.drift is None
    assert other.held == ""


async def test_episodes_keep_the_age_of_a_violation_that_others_join() -> None:
    """Settling cannot be put off by adding and removing other violations."""
    episodes = Episodes(MemoryStateStore())
    episodes.observe(_UID, [_verdict("p")], policy_set=_SET, now=100.0)
    joined = episodes.observe(_UID, [_verdict("p"), _verdict("q")], policy_set=_SET, now=104.0)
    alone = episodes.observe(_UID, [_verdict("p")], policy_set=_SET, now=106.0)

    assert joined.since == {"p": 100.0, "q": 104.0}
    assert alone.since == {"p": 100.0}


async def test_episodes_hold_is_news_once() -> None:
    """The same reason is not reported twice in a row."""
    episodes = Episodes(MemoryStateStore())
    episodes.observe(_UID, [_verdict("p")], policy_set=_SET, now=0.0)

    assert [await episodes.hold(_UID, one) for one in ("a", "a", "b", "a")] == [
        True,
        False,
        True,
        True,
    ]


async def test_episodes_close_and_prune_forget() -> None:
    """A closed episode, and one of an object that is gone, leave nothing behind."""
    store = MemoryStateStore()
    episodes = Episodes(store)
    for uid in ("a", "b", "c"):
        episodes.observe(Uid(uid), [_verdict("p")], policy_set=_SET, now=0.0)
        await episodes.recorded(Uid(uid), 1)

    await episodes.close(Uid("a"))
    await episodes.prune([Uid("b")])

    assert [key for key, _ in store.items(StateKind.EPISODE)] == ["b"]


async def test_heats_find_a_fast_fight_at_the_sixth_write() -> None:
    """Writes a second apart reach the threshold of 5 as in Config Sync; waits do not cool."""
    heats = Heats(MemoryStateStore())
    now, writes = 1000.0, 0
    while heats.at(_UID, now) < 5.0:
        heat = heats.at(_UID, now)
        # The drift begins at `now`; a delay of ours postpones the write, not the heat.
        wait = 60.0 if heat >= 3.0 else 0.0
        await heats.add(_UID, heat=heat, now=now + wait)
        now += wait + 1.0
        writes += 1
        assert writes < 20

    assert writes == 6


async def test_heats_cool_and_survive() -> None:
    """Heat falls by e a minute, is there after a restart, and never rises with a clock set back."""
    store = MemoryStateStore()
    await Heats(store).add(_UID, heat=1.0, now=1000.0)
    heats = _loaded(store)

    assert heats.at(_UID, 1000.0) == pytest.approx(2.0)
    assert heats.at(_UID, 1060.0) == pytest.approx(0.736, abs=0.001)
    assert heats.at(_UID, 500.0) == pytest.approx(2.0)
    await heats.prune(1000.0 + 3600.0)
    assert heats.at(_UID, 1000.0) == 0.0
    assert _loaded(store).at(_UID, 1000.0) == 0.0


async def test_heats_quarantine_ends_with_the_law_or_a_quiet_day() -> None:
    """A restart does not clear it; another law does, and 24 hours without a foreign write."""
    store = MemoryStateStore()

    def held(policy_set: Digest, *, state: str, now: float) -> bool:
        return _loaded(store).quarantined(_UID, policy_set=policy_set, state=Digest(state), now=now)

    async def keep(state: str, *, now: float) -> None:
        await _loaded(store).quarantine(_UID, policy_set=_SET, state=Digest(state), now=now)

    await keep("5", now=0.0)
    assert held(_SET, state="5", now=86_399.0)
    assert not held(_SET, state="5", now=86_400.0)
    assert not held(Digest("sha256:2"), state="5", now=1.0)

    await keep("5", now=86_000.0)  # the same state: the time goes on
    assert not held(_SET, state="5", now=86_400.0)
    await keep("6", now=86_399.0)  # written by somebody: the day begins anew
    assert held(_SET, state="6", now=86_401.0)
    assert not held(_SET, state="6", now=86_399.0 + 86_400.0)


async def test_heats_release_begins_cold() -> None:
    """With its quarantine the heat of an object ends too; without one it stays."""
    store = MemoryStateStore()
    heats = Heats(store)
    await heats.add(_UID, heat=5.0, now=0.0)
    await heats.release(_UID)
    assert heats.at(_UID, 0.0) == pytest.approx(6.0)

    await heats.quarantine(_UID, policy_set=_SET, state=Digest("1"), now=0.0)
    await heats.release(_UID)

    assert heats.at(_UID, 0.0) == 0.0
    assert not store.states


def _loaded(store: MemoryStateStore) -> Heats:
    heats = Heats(store)
    heats.load()
    return heats


async def test_budgets_count_within_the_window() -> None:
    """A write counts for its whole window, through a restart, and then no more."""
    store = MemoryStateStore()
    budgets = Budgets(store, window_seconds=600.0)
    for second in range(5):
        await budgets.charge([_P], 1000.0 + second)

    restarted = Budgets(store, window_seconds=600.0)
    restarted.load()

    assert restarted.of_policy(_P, 1005.0).spent == 5
    assert restarted.of_policy(_P, 1600.0).spent == 5
    assert restarted.of_policy(_P, 1620.0).spent == 0
    assert restarted.of_cluster(1005.0).spent == 5
    assert restarted.of_cluster(1070.0).spent == 0


async def test_budgets_say_when_there_is_room() -> None:
    """When the time has passed that is promised, there is room."""
    budgets = Budgets(MemoryStateStore(), window_seconds=600.0)
    await budgets.charge([_P], 1000.0)
    room = budgets.of_policy(_P, 1300.0).room_seconds

    assert 290.0 < room < 320.0
    assert budgets.of_policy(_P, 1300.0 + room).spent == 0


async def test_budgets_refund_what_was_never_sent() -> None:
    """A write that was not sent does not count, and a refund never makes room for more."""
    budgets = Budgets(MemoryStateStore(), window_seconds=600.0)
    await budgets.charge([_P], 1000.0)
    await budgets.refund([_P], 1000.0)
    await budgets.refund([_P], 1000.0)
    await budgets.charge([_P], 1000.0)

    assert budgets.of_policy(_P, 1000.0).spent == 1


async def test_budgets_state_stays_small() -> None:
    """However much is written, what is kept of a window is bounded."""
    store = MemoryStateStore()
    budgets = Budgets(store, window_seconds=600.0)
    for tick in range(5_000):
        await budgets.charge([_P], 1000.0 + tick / 2.5)

    assert all(len(state) <= 61 for _, state in store.items(StateKind.BUDGET))
    assert budgets.of_policy(_P, 3000.0).spent == pytest.approx(1500, rel=0.05)


class _SlowFirst(MemoryStateStore):
    """The first write reaches the disk after all others."""

    def __init__(self) -> None:
        super().__init__()
        self.writes = 0
        self.other = threading.Event()

    @override
    def write(self, kind: StateKind, key: str, value: JsonObject | None) -> None:
        self.writes += 1
        if self.writes == 1:
            self.other.wait(0.2)
        super().write(kind, key, value)
        self.other.set()


async def test_budgets_keep_each_charge_of_two_workers() -> None:
    """What two workers charge at a time is all kept, whichever write comes first."""
    store = _SlowFirst()
    budgets = Budgets(store, window_seconds=600.0)
    async with asyncio.TaskGroup() as workers:
        for _ in range(2):
            workers.create_task(budgets.charge([_P], 1000.0))

    restarted = Budgets(store, window_seconds=600.0)
    restarted.load()

    assert restarted.of_policy(_P, 1000.0).spent == 2


async def test_heats_prune_leaves_what_is_heated_meanwhile() -> None:
    """A write during the pruning of others is not forgotten with them."""
    store = _SlowFirst()
    heats = Heats(store)
    store.writes = 1  # the slow one is the first deletion
    for uid in ("a", "b"):
        await heats.add(Uid(uid), heat=0.0, now=0.0)
    store.writes = 0
    store.other.clear()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(heats.prune(3600.0))
        await asyncio.sleep(0.01)
        await heats.add(Uid("b"), heat=0.0, now=3600.0)

    assert heats.at(Uid("b"), 3600.0) == 1.0
    assert _loaded(store).at(Uid("b"), 3600.0) == 1.0
