"""What an informer keeps: the newest states, and those that were overtaken unjudged."""

from collections.abc import Iterable
from typing import Any

import pytest

from lictor.kube import store as module
from lictor.kube.store import Entry, Store
from lictor.model.document import Document
from lictor.model.names import Gvr, ObjectKey, Uid
from lictor.telemetry import metrics

MAPS = Gvr("", "v1", "configmaps")
KEY = ObjectKey(MAPS, "shop", "web")
PLACE = ("shop", "web")


def _entry(version: int, *, uid: str = "u1", **more: Any) -> Entry:  # noqa: ANN401
    metadata = {"name": "web", "namespace": "shop", "uid": uid, "resourceVersion": str(version)}
    return Entry.of(Document.of({"metadata": metadata, **more}))


def _store(*, keep_overtaken: bool = True) -> Store:
    return Store(MAPS, keep_overtaken=keep_overtaken)


def _versions(store: Store, uid: str = "u1") -> list[str]:
    return [state.resource_version for state in store.take(KEY, Uid(uid))]


def _names(keys: Iterable[ObjectKey]) -> list[str]:
    return [key.name for key in keys]


def test_store_gives_the_newest_state_as_it_was_read() -> None:
    """Compression loses no byte."""
    store = _store()
    raw = b'{ "metadata": {"name":"web","namespace":"shop","uid":"u1"}, "data": {"a": "\\u003c"} }'

    store.put(PLACE, Entry.of(Document(raw)))

    held = store.get(KEY)
    assert held is not None
    assert held.document().raw == raw


def test_store_keeps_overtaken_states_until_they_are_taken() -> None:
    """Newest first, without the newest state itself, and only once."""
    store = _store()
    for version in (1, 2, 3):
        store.put(PLACE, _entry(version))

    assert _versions(store) == ["2", "1"]
    assert _versions(store) == []


def test_store_counts_a_repeated_event_once() -> None:
    """A watch that resumes may send a state again: that overtakes nothing."""
    store = _store()
    store.put(PLACE, _entry(1))
    store.put(PLACE, _entry(1))

    assert _versions(store) == []


def test_store_keeps_no_more_states_of_an_object_than_its_limit() -> None:
    """The oldest goes, and the hit is counted."""
    store = _store()
    counted = metrics.LIMIT_HITS.labels(limit="overtaken-states")
    before = counted._value.get()
    for version in range(1, module.OVERTAKEN_STATES + 3):
        store.put(PLACE, _entry(version))

    assert _versions(store) == ["5", "4", "3", "2"]
    assert counted._value.get() == before + 1


def test_store_keeps_no_more_bytes_than_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """The object whose states have waited longest loses them; the newest state never goes."""
    size = len(_entry(1).body)
    monkeypatch.setattr(module, "OVERTAKEN_BYTES", 2 * size)
    store = _store()
    for name in ("a", "b", "web"):
        store.put(("shop", name), _entry(1))
        store.put(("shop", name), _entry(2))

    assert store.take(ObjectKey(MAPS, "shop", "a"), Uid("u1")) == []
    assert _names(store.keys()) == ["a", "b", "web"]
    assert _versions(store) == ["1"]


def test_store_frees_the_bytes_that_were_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bookkeeping does not drift: ever new states fit for ever where all are taken."""
    monkeypatch.setattr(module, "OVERTAKEN_BYTES", 3 * len(_entry(1).body))
    store = _store()
    taken = 0
    for version in range(1, 50):
        store.put(PLACE, _entry(version))
        taken += len(_versions(store))

    assert taken == 48


def test_store_forgets_the_states_of_another_object_of_the_same_name() -> None:
    """A new uid is a new object: what was before it is no baseline of it."""
    store = _store()
    store.put(PLACE, _entry(1, uid="u1"))
    store.put(PLACE, _entry(2, uid="u1"))
    store.put(PLACE, _entry(3, uid="u2"))

    assert _versions(store, "u1") == []
    assert _versions(store, "u2") == []


def test_store_take_with_another_uid_gives_nothing() -> None:
    """Who asks about an object that is gone gets no state of its successor."""
    store = _store()
    store.put(PLACE, _entry(1))
    store.put(PLACE, _entry(2))

    assert _versions(store, "u9") == []


def test_store_keeps_nothing_aside_where_nobody_judges() -> None:
    """Namespaces are only read."""
    store = _store(keep_overtaken=False)
    store.put(PLACE, _entry(1))
    store.put(PLACE, _entry(2))

    assert _versions(store) == []


def test_store_remove_forgets_object_and_states() -> None:
    """A deletion leaves nothing behind."""
    store = _store()
    store.put(PLACE, _entry(1))
    store.put(PLACE, _entry(2))

    assert store.remove(PLACE, Uid("u1")) == KEY
    assert store.get(KEY) is None
    assert store.keys() == []
    assert _versions(store) == []


def test_store_remove_of_an_earlier_object_leaves_its_successor() -> None:
    """A late deletion names another uid."""
    store = _store()
    store.put(PLACE, _entry(5, uid="u2"))
    store.remove(PLACE, Uid("u1"))

    assert store.get(KEY) is not None


def test_store_replace_tells_what_came_changed_and_went() -> None:
    """What a list lacks is a tombstone; what is the same is not told."""
    store = _store()
    for name, version in (("same", 1), ("changed", 2), ("gone", 3)):
        store.put(("shop", name), _entry(version))
    fresh = {
        ("shop", "same"): _entry(1),
        ("shop", "changed"): _entry(7),
        ("shop", "new"): _entry(8),
    }

    told = store.replace(fresh)

    assert _names(told) == ["changed", "new", "gone"]
    assert _names(store.keys()) == ["changed", "new", "same"]


def test_store_replace_keeps_the_state_that_the_list_overtook() -> None:
    """A relist must not cost the baseline of what changed meanwhile."""
    store = _store()
    store.put(PLACE, _entry(1))

    store.replace({PLACE: _entry(4)})

    assert _versions(store) == ["1"]


def test_store_replace_sees_another_object_of_the_same_name() -> None:
    """Deleted and made again between two lists: told, and without the earlier states."""
    store = _store()
    store.put(PLACE, _entry(1, uid="u1"))
    store.put(PLACE, _entry(2, uid="u1"))

    assert store.replace({PLACE: _entry(9, uid="u2")}) == [KEY]
    assert _versions(store, "u1") == []


def test_store_replace_forgets_the_states_of_what_went() -> None:
    """What a list no longer has leaves nothing behind."""
    store = _store()
    store.put(PLACE, _entry(1))
    store.put(PLACE, _entry(2))

    assert store.replace({}) == [KEY]
    assert _versions(store) == []


def test_store_counts_its_objects() -> None:
    """The gauge follows puts, removals and lists."""
    gauge = metrics.CACHED_OBJECTS.labels(kind="configmaps")
    store = _store()
    store.put(PLACE, _entry(1))

    assert gauge._value.get() == 1

    store.replace({("shop", "a"): _entry(1), ("shop", "b"): _entry(2)})

    assert gauge._value.get() == 2

    store.remove(("shop", "a"), Uid("u1"))

    assert gauge._value.get() == 1
