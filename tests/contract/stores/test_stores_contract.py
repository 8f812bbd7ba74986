"""What every BaselineStore and StateStore does, simulated or real."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from lictor.model.names import Digest, Gvr, ObjectKey, Uid
from lictor.ports.baseline_store import Baseline, BaselineStore
from lictor.ports.state_store import StateKind, StateStore
from lictor.stores.sqlite import open_stores
from testkit.simulators.baseline_store import MemoryBaselineStore
from testkit.simulators.state_store import MemoryStateStore

BASELINE = Baseline(
    key=ObjectKey(Gvr("apps", "v1", "deployments"), "shop", "web"),
    uid=Uid("u-1"),
    digest=Digest("sha256:1"),
    body=b'{"kind":"Deployment"}' * 100,
    policy_set=Digest("sha256:2"),
)


@pytest.fixture(params=["memory", "sqlite"])
def baselines(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BaselineStore]:
    """Yield each implementation."""
    if request.param == "memory":
        yield MemoryBaselineStore()
        return
    with open_stores(tmp_path / "state.db") as stores:
        yield stores.baselines


@pytest.fixture(params=["memory", "sqlite"])
def states(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StateStore]:
    """Yield each implementation."""
    if request.param == "memory":
        yield MemoryStateStore()
        return
    with open_stores(tmp_path / "state.db") as stores:
        yield stores.states


def test_get_without_a_baseline_is_none(baselines: BaselineStore) -> None:
    """A lost baseline is said to be lost."""
    assert baselines.get(Uid("u-1")) is None


def test_put_is_read_back(baselines: BaselineStore) -> None:
    """All fields come back as they were."""
    baselines.put(BASELINE)

    assert baselines.get(BASELINE.uid) == BASELINE


def test_put_without_a_body(baselines: BaselineStore) -> None:
    """A Secret has a digest and no body; an empty body is another thing."""
    secret = replace(BASELINE, uid=Uid("u-2"), body=None)
    empty = replace(BASELINE, uid=Uid("u-3"), body=b"")
    for baseline in (secret, empty):
        baselines.put(baseline)

    assert baselines.get(secret.uid) == secret
    assert baselines.get(empty.uid) == empty


@pytest.mark.parametrize("times", [1, 2])
def test_put_replaces(baselines: BaselineStore, times: int) -> None:
    """The newest baseline counts, however often it is kept."""
    newer = replace(BASELINE, digest=Digest("sha256:3"), body=b"{}")
    baselines.put(BASELINE)
    for _ in range(times):
        baselines.put(newer)

    assert baselines.get(BASELINE.uid) == newer


def test_forget_drops_one(baselines: BaselineStore) -> None:
    """Others stay, and to forget what is not there is no error."""
    other = replace(BASELINE, uid=Uid("u-2"))
    for baseline in (BASELINE, other):
        baselines.put(baseline)
    for _ in range(2):
        baselines.forget(BASELINE.uid)

    assert baselines.get(BASELINE.uid) is None
    assert baselines.get(other.uid) == other


def test_read_without_a_state_is_none(states: StateStore) -> None:
    """What was never written is not there."""
    assert states.read(StateKind.HEAT, "a") is None


def test_write_is_read_back(states: StateStore) -> None:
    """A state of a kind and key comes back; other kinds are not touched."""
    states.write(StateKind.HEAT, "a", {"heat": 1.5, "nested": {"list": [1, None, "ä"]}})

    assert states.read(StateKind.HEAT, "a") == {"heat": 1.5, "nested": {"list": [1, None, "ä"]}}
    assert states.read(StateKind.BUDGET, "a") is None


def test_write_replaces_and_none_forgets(states: StateStore) -> None:
    """The newest state counts; None removes it, also where there was none."""
    states.write(StateKind.HEAT, "a", {"n": 1})
    states.write(StateKind.HEAT, "a", {"n": 2})

    assert states.read(StateKind.HEAT, "a") == {"n": 2}
    for _ in range(2):
        states.write(StateKind.HEAT, "a", None)
    assert states.read(StateKind.HEAT, "a") is None


def test_read_gives_a_copy(states: StateStore) -> None:
    """A change of what was read or written is not a change of the state."""
    value = {"n": 1}
    states.write(StateKind.HEAT, "a", value)
    value["n"] = 2
    found = states.read(StateKind.HEAT, "a")
    assert found is not None
    found["n"] = 3

    assert states.read(StateKind.HEAT, "a") == {"n": 1}


def test_items_are_sorted_by_key(states: StateStore) -> None:
    """All states of one kind, by code points of their keys."""
    for key in ("b", "a/ä", "a", "B", "\U00010000", "\uffff"):
        states.write(StateKind.EPISODE, key, {"key": key})
    states.write(StateKind.HEAT, "other", {})

    keys = ["B", "a", "a/ä", "b", "\uffff", "\U00010000"]
    assert list(states.items(StateKind.EPISODE)) == [(key, {"key": key}) for key in keys]


def test_items_may_be_changed_on_the_way(states: StateStore) -> None:
    """A state may be forgotten while the states of its kind are gone through."""
    for key in ("a", "b", "c"):
        states.write(StateKind.HEAT, key, {})
    for key, _ in states.items(StateKind.HEAT):
        states.write(StateKind.HEAT, key, None)

    assert list(states.items(StateKind.HEAT)) == []
