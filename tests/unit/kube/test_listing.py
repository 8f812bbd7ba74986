"""Lists: pages, sizes, and what cannot be read."""

import pytest

from lictor.errors import ApiError, ExpiredError, UnavailableError
from lictor.kube import listing as module
from lictor.kube.errors import AnswerTooLargeError
from lictor.kube.listing import CONSISTENT, FROM_CACHE, list_all
from lictor.model.names import Gvk, Gvr
from lictor.telemetry import metrics
from testkit.simulators.scripted_api import ScriptedApi, listing

MAPS = Gvr("", "v1", "configmaps")
MAP = Gvk("", "v1", "ConfigMap")
TOO_LARGE = AnswerTooLargeError("too large")
MORE = "more"


def _map(name: str, **more: object) -> dict[str, object]:
    return {"metadata": {"name": name, "namespace": "shop", "uid": name, **more}}


async def _names(api: ScriptedApi, version: str = CONSISTENT) -> list[str]:
    found = await list_all(api, MAPS, MAP, version=version)
    return sorted(name for _, name in found.entries)


@pytest.mark.parametrize(
    ("version", "query"),
    [
        pytest.param(CONSISTENT, {"limit": "500"}, id="consistent"),
        pytest.param(FROM_CACHE, {"limit": "500", "resourceVersion": "0"}, id="from the cache"),
        pytest.param("77", {"resourceVersion": "77"}, id="at a version: a limit would force etcd"),
    ],
)
async def test_list_asks_for_the_version(version: str, query: dict[str, str]) -> None:
    """A limit goes only where it does not send the API server past its cache."""
    api = ScriptedApi(lists=[listing(version="9")])

    await _names(api, version)

    assert {key: value for key, value in api.lists[0].items() if key != "at"} == query


async def test_list_gives_its_version() -> None:
    """The watch goes on from the last page's version."""
    api = ScriptedApi(lists=[listing(version="8", token=MORE), listing(version="9")])

    assert (await list_all(api, MAPS, MAP, version=CONSISTENT)).version == "9"


async def test_list_reads_a_list_of_nothing() -> None:
    """Go writes an empty slice as null."""
    api = ScriptedApi(lists=[b'{"metadata":{"resourceVersion":"9"},"items":null}'])

    assert await _names(api) == []


async def test_list_gives_its_items_their_kind() -> None:
    """Items of built-in kinds do not say it, those of custom resources do, and keep it."""
    own = b'{"apiVersion":"example.org/v1","kind":"Own","metadata":{"name":"own"}}'
    bare = b'  {"metadata":{"name":"bare"}}'
    api = ScriptedApi(lists=[b'{"metadata":{},"items":[' + own + b"," + bare + b"]}"])

    found = await list_all(api, MAPS, MAP, version=CONSISTENT)

    kinds = {name: entry.document().kind for (_, name), entry in found.entries.items()}
    assert kinds == {"own": Gvk("example.org", "v1", "Own"), "bare": MAP}
    assert found.entries["", "own"].document().raw == own


async def test_list_leaves_out_what_it_cannot_read() -> None:
    """One broken object must not hide all the others; it is counted."""
    counted = metrics.LIMIT_HITS.labels(limit="list-item-unreadable")
    before = counted._value.get()
    api = ScriptedApi(lists=[listing(_map("a"), _map("bad", labels=7), _map("b"), version="9")])

    assert await _names(api) == ["a", "b"]
    assert counted._value.get() == before + 1


async def test_list_leaves_out_what_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit of a watch's line holds for an item of a list too."""
    monkeypatch.setattr(module, "MAX_LINE_BYTES", 200)
    counted = metrics.LIMIT_HITS.labels(limit="list-item-bytes")
    before = counted._value.get()
    large = _map("large", annotations={"a": "x" * 200})
    api = ScriptedApi(lists=[listing(_map("a"), large, version="9")])

    assert await _names(api) == ["a"]
    assert counted._value.get() == before + 1


async def test_list_asks_for_smaller_pages_where_an_answer_is_too_large() -> None:
    """500, 50, 5, 1, and then it gives up."""
    api = ScriptedApi(lists=[TOO_LARGE, TOO_LARGE, listing(_map("a"), version="9")])

    assert await _names(api, FROM_CACHE) == ["a"]
    assert [query["limit"] for query in api.lists] == ["500", "50", "5"]
    # Version 0 lets the API server ignore the limit.
    assert "resourceVersion" not in api.lists[1]

    hopeless = ScriptedApi(lists=[TOO_LARGE] * 9)
    with pytest.raises(AnswerTooLargeError, match="too large"):
        await _names(hopeless)
    assert [query["limit"] for query in hopeless.lists] == ["500", "50", "5", "1"]


async def test_list_does_not_repeat_what_expired_at_once() -> None:
    """410 for the first page is the caller's to handle."""
    api = ScriptedApi(lists=[ExpiredError("old", code=410)] * 2)

    with pytest.raises(ExpiredError, match="old"):
        await _names(api, "77")

    assert len(api.lists) == 1


async def test_list_does_not_go_round_in_a_circle() -> None:
    """A server that gives the same token again and again ends in an error, not in a loop."""
    api = ScriptedApi(lists=[listing(_map("a"), version="9", token=MORE)] * 9)

    with pytest.raises(ApiError, match="circle"):
        await _names(api)

    assert len(api.lists) == 2


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"items":[]}', b"\xff"])
async def test_list_refuses_what_is_no_list(body: bytes) -> None:
    """A proxy's page is no empty cluster."""
    api = ScriptedApi(lists=[body])

    with pytest.raises(UnavailableError, match="no list"):
        await _names(api)
