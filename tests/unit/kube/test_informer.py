"""The informer against a scripted API server, on virtual time."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise
from random import Random
from typing import Any

import pytest

from lictor.errors import (
    ApiError,
    ExpiredError,
    ForbiddenError,
    InvalidError,
    ThrottledError,
    UnavailableError,
)
from lictor.kube.informer import Informer
from lictor.model.names import Gvk, Gvr, ObjectKey, Uid
from testkit.simulators.clock import run_virtual
from testkit.simulators.scripted_api import (
    HANG,
    ScriptedApi,
    Step,
    bookmark,
    event,
    failure,
    listing,
)

MAPS = Gvr("", "v1", "configmaps")
MAP = Gvk("", "v1", "ConfigMap")
NO_WATCH_LIST = InvalidError("sendInitialEvents is forbidden", code=422, reason="Invalid")


def _map(name: str, version: int, *, uid: str = "") -> dict[str, Any]:
    metadata = {
        "name": name,
        "namespace": "shop",
        "uid": uid or f"uid-{name}",
        "resourceVersion": str(version),
    }
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}


def _key(name: str) -> ObjectKey:
    return ObjectKey(MAPS, "shop", name)


class _Watched:
    """An informer after some time of a script."""

    def __init__(
        self,
        *,
        lists: Sequence[bytes | ApiError] = (),
        watches: Sequence[Sequence[Step] | ApiError] = (),
        seconds: float = 100.0,
    ) -> None:
        self.api = ScriptedApi(lists=lists, watches=watches)
        self.told: list[str] = []
        run_virtual(self._run(seconds))

    async def _run(self, seconds: float) -> None:
        self.informer = Informer(self.api, MAPS, MAP, keep_overtaken=True, random=Random(1))  # noqa: S311 - a seed
        self.informer.subscribe(lambda key: self.told.append(key.name))
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.informer.run()

    @property
    def held(self) -> dict[str, str]:
        found = {}
        for key in self.informer.keys():  # noqa: SIM118 - no mapping
            document = self.informer.latest(key)
            assert document is not None
            found[key.name] = document.resource_version
        return found

    def gaps(self) -> list[float]:
        times = [query["at"] for query in self.api.queries]
        return [after - before for before, after in pairwise(times)]


def _initial(*items: dict[str, Any], version: int) -> list[bytes]:
    return [*(event("ADDED", one) for one in items), bookmark(str(version), initial_end=True)]


def test_informer_lists_within_its_watch_and_goes_on_with_it() -> None:
    """WatchList (KEP-3157): one stream brings what is there and then what changes."""
    watched = _Watched(
        watches=[
            [
                *_initial(_map("a", 3), _map("b", 1), version=5),
                event("MODIFIED", _map("a", 6)),
                event("DELETED", _map("b", 7)),
                event("ADDED", _map("c", 8)),
                HANG,
            ]
        ],
        seconds=60,
    )

    assert watched.held == {"a": "6", "c": "8"}
    assert watched.told == ["a", "b", "a", "b", "c"]
    assert watched.api.lists == []
    assert len(watched.api.watches) == 1
    query = watched.api.watches[0]
    assert query["sendInitialEvents"] == "true"
    assert query["resourceVersionMatch"] == "NotOlderThan"
    assert query["allowWatchBookmarks"] == "true"
    assert 300 <= int(query["timeoutSeconds"]) <= 600


def test_informer_shows_nothing_before_its_list_is_complete() -> None:
    """Half a list would make objects look gone that are not."""
    watched = _Watched(
        watches=[[event("ADDED", _map("a", 3)), bookmark("4"), HANG]],
        seconds=60,
    )

    assert not watched.informer.synced()
    assert watched.held == {}
    assert watched.told == []


def test_informer_leaves_out_what_goes_while_it_lists() -> None:
    """A deletion among the initial events counts."""
    watched = _Watched(
        watches=[
            [
                event("ADDED", _map("a", 3)),
                event("DELETED", _map("a", 4)),
                bookmark("5", initial_end=True),
                HANG,
            ]
        ],
        seconds=60,
    )

    assert watched.informer.synced()
    assert watched.held == {}


def test_informer_falls_back_to_a_list_where_the_server_has_no_watch_list() -> None:
    """The refusal of its parameters is remembered; items get the kind that lists leave out."""
    watched = _Watched(
        lists=[listing(_map("a", 3), version="9"), listing(_map("a", 3), version="30")],
        watches=[NO_WATCH_LIST, ExpiredError("old", code=410), [HANG]],
        seconds=30,
    )

    assert watched.held == {"a": "3"}
    latest = watched.informer.latest(_key("a"))
    assert latest is not None
    assert latest.kind == MAP
    assert [query.get("sendInitialEvents") for query in watched.api.watches] == ["true", None, None]
    assert [query["resourceVersion"] for query in watched.api.watches[1:]] == ["9", "30"]


def test_informer_falls_back_where_the_server_ignores_watch_list() -> None:
    """A server that never says that its list is complete is silent, then listed."""
    watched = _Watched(
        lists=[listing(_map("a", 3), version="9")],
        watches=[[event("ADDED", _map("a", 3)), HANG]],
        seconds=75,
    )

    assert watched.informer.synced()
    assert watched.held == {"a": "3"}


def test_informer_lists_by_pages() -> None:
    """Each page but the first is asked for with the token alone, and the last version counts."""
    watched = _Watched(
        lists=[
            listing(_map("a", 1), version="9", token="t1"),  # noqa: S106 - of a list
            listing(_map("b", 2), version="9"),
        ],
        watches=[NO_WATCH_LIST],
        seconds=30,
    )

    assert watched.held == {"a": "1", "b": "2"}
    assert watched.api.lists[0]["limit"] == "500"
    assert watched.api.lists[1]["continue"] == "t1"
    assert "resourceVersion" not in watched.api.lists[1]


def test_informer_lists_everything_where_a_page_expired() -> None:
    """What has been compacted between two pages makes one full, consistent list."""
    watched = _Watched(
        lists=[
            listing(_map("a", 1), version="9", token="t1"),  # noqa: S106 - of a list
            ExpiredError("the continue token is too old", code=410, reason="Expired"),
            listing(_map("a", 1), _map("b", 2), version="12"),
        ],
        watches=[NO_WATCH_LIST],
        seconds=30,
    )

    assert watched.held == {"a": "1", "b": "2"}
    assert not {"limit", "continue", "resourceVersion"} & set(watched.api.lists[2])


def test_informer_resumes_from_the_last_version_that_it_saw() -> None:
    """A cut connection costs no list; an event moves the version."""
    watched = _Watched(
        watches=[
            [*_initial(version=5), event("ADDED", _map("a", 6)), UnavailableError("cut")],
            [event("MODIFIED", _map("a", 8)), HANG],
        ],
        seconds=30,
    )

    assert watched.api.watches[1]["resourceVersion"] == "6"
    assert "sendInitialEvents" not in watched.api.watches[1]
    assert watched.held == {"a": "8"}
    assert watched.informer.synced()


def test_informer_resumes_from_a_bookmark() -> None:
    """A bookmark changes no object, only where to go on."""
    watched = _Watched(
        watches=[[*_initial(_map("a", 3), version=5), 60.0, bookmark("70"), 1.0], [HANG]],
        seconds=65,
    )

    assert watched.told == ["a"]
    assert watched.api.watches[1]["resourceVersion"] == "70"


@pytest.mark.parametrize(
    "how",
    [
        pytest.param(ExpiredError("too old", code=410, reason="Expired"), id="as the HTTP status"),
        pytest.param([failure(410, "Expired")], id="within the stream"),
        pytest.param([failure(410, "Gone")], id="within the stream, as Gone"),
        pytest.param([failure(500, "Expired")], id="by its reason alone"),
    ],
)
def test_informer_lists_anew_when_its_version_expired(how: Sequence[Step] | ApiError) -> None:
    """410 ends the resuming, however it comes; what vanished meanwhile is told."""
    watched = _Watched(
        watches=[
            [*_initial(_map("a", 3), _map("b", 4), version=5), 20.0],
            how,
            [*_initial(_map("a", 9), version=30), HANG],
        ],
        seconds=60,
    )

    assert watched.api.watches[2]["sendInitialEvents"] == "true"
    assert watched.held == {"a": "9"}
    assert watched.told == ["a", "b", "a", "b"]


def test_informer_waits_where_its_version_expires_again_and_again() -> None:
    """A server that answers every watch with 410 is asked less and less often."""
    gone = [*_initial(version=5), failure(410, "Expired")]

    watched = _Watched(watches=[gone] * 100, seconds=120)

    assert len(watched.api.watches) < 12


@pytest.mark.parametrize(
    "how",
    [
        pytest.param(ThrottledError("wait", retry_after_seconds=7.0), id="as the HTTP status"),
        pytest.param([failure(429, "TooManyRequests")], id="within the stream"),
    ],
)
def test_informer_does_not_list_when_it_is_throttled(how: Sequence[Step] | ApiError) -> None:
    """429 asks to wait: a list would only add to the load."""
    watched = _Watched(
        watches=[[*_initial(_map("a", 3), version=5), 20.0], how, [HANG]], seconds=60
    )

    assert [query.get("resourceVersion") for query in watched.api.watches] == [None, "5", "5"]
    assert watched.informer.synced()
    waited = watched.gaps()[1]
    assert waited >= (7.0 if isinstance(how, ThrottledError) else 0.8)


def test_informer_goes_on_through_internal_errors() -> None:
    """500 within the stream is the server's own trouble: the watch is tried again."""
    watched = _Watched(
        watches=[
            [*_initial(_map("a", 3), version=5), 20.0],
            [failure(500, "InternalError")],
            [event("MODIFIED", _map("a", 6)), HANG],
        ],
        seconds=60,
    )

    assert watched.api.watches[2]["resourceVersion"] == "5"
    assert watched.held == {"a": "6"}


def test_informer_lists_anew_when_internal_errors_do_not_end() -> None:
    """A version that the server cannot serve must not be asked for all day."""
    watched = _Watched(
        watches=[
            [*_initial(_map("a", 3), version=5), 20.0],
            *[[failure(500, "InternalError")]] * 8,
            [*_initial(_map("a", 6), version=9), HANG],
        ],
        seconds=600,
    )

    assert watched.held == {"a": "6"}
    assert [query.get("sendInitialEvents") for query in watched.api.watches[:10]] == [
        "true",
        *[None] * 8,
        "true",
    ]


def test_informer_is_ever_more_patient_where_it_is_throttled() -> None:
    """A server that names a second each time is still asked less and less often."""
    patient = ThrottledError("wait", retry_after_seconds=1.0)
    watched = _Watched(watches=[_initial(version=5), *[patient] * 200], seconds=120)

    assert len(watched.api.watches) < 12


def test_informer_treats_a_very_short_watch_as_a_failure() -> None:
    """An empty 200 that ends at once (kubernetes/kubernetes#104171) makes no busy loop."""
    watched = _Watched(watches=[_initial(version=5), *[[]] * 200], seconds=120)

    gaps = watched.gaps()
    assert len(gaps) < 12
    assert gaps[0] >= 0.8
    assert max(gaps) > 15


def test_informer_follows_a_short_watch_that_brought_something_at_once() -> None:
    """An event is progress: no failure, no wait."""
    watched = _Watched(
        watches=[_initial(version=5), [event("ADDED", _map("a", 6))], [HANG]], seconds=60
    )

    assert watched.gaps()[1] == 0
    assert watched.api.watches[2]["resourceVersion"] == "6"


def test_informer_leaves_a_silent_connection() -> None:
    """70 s without a bookmark: half open. It goes on at once, from where it was."""
    watched = _Watched(
        watches=[
            [*_initial(_map("a", 3), version=5), HANG],
            [event("DELETED", _map("a", 9)), HANG],
        ],
        seconds=100,
    )

    assert watched.gaps()[0] == 70
    assert watched.api.watches[1]["resourceVersion"] == "5"
    assert watched.held == {}


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(b"garbage\n", id="no JSON"),
        pytest.param(b'{"type":"MODIFIED"}\n', id="no object"),
        pytest.param(b'{"type":"MODIFIED","object":{"metadata":[]}}\n', id="no metadata"),
    ],
)
def test_informer_lists_over_an_event_that_it_cannot_read(line: bytes) -> None:
    """Such an event can be neither applied nor skipped: the list says what is there."""
    watched = _Watched(
        lists=[listing(_map("a", 6), version="9")],
        watches=[[*_initial(_map("a", 3), version=5), 20.0, line, HANG], [HANG]],
        seconds=60,
    )

    assert watched.held == {"a": "6"}
    assert watched.api.watches[1]["resourceVersion"] == "9"
    assert watched.informer.synced()


def test_informer_does_not_go_round_in_circles_with_an_object_that_it_cannot_read() -> None:
    """It is left out of the list, and ever new events of it are waited out ever longer."""
    bad = {"metadata": {"name": "bad", "namespace": "shop", "labels": 7}}
    watched = _Watched(
        lists=[listing(_map("a", 6), bad, version="9")] * 100,
        watches=[NO_WATCH_LIST, *[[event("MODIFIED", bad), HANG]] * 100],
        seconds=300,
    )

    assert watched.held == {"a": "6"}
    assert len(watched.api.lists) < 20


def test_informer_backs_off_as_client_go_does() -> None:
    """800 ms doubled to 30 s, each times 1 to 2."""
    watched = _Watched(watches=[UnavailableError("refused")] * 100, seconds=400)

    bases = [0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0, 30.0]
    assert all(
        base <= gap <= 2 * base + 1e-6 for base, gap in zip(bases, watched.gaps(), strict=False)
    )


def test_informer_starts_its_backoff_anew_after_two_healthy_minutes() -> None:
    """What failed yesterday does not slow today."""
    lived = [HANG]
    watched = _Watched(
        watches=[
            *[UnavailableError("refused")] * 6,
            [*_initial(version=5), 60.0, bookmark("6"), 61.0, UnavailableError("cut")],
            lived,
        ],
        seconds=1_000,
    )

    assert watched.gaps()[6] < 121 + 2


def test_informer_lists_anew_from_time_to_time() -> None:
    """A resumed watch does not repair what was missed: after an hour all is compared."""
    quiet = [60.0, bookmark("6")] * 6
    watched = _Watched(
        watches=[[*_initial(_map("a", 3), version=5), *quiet], *[quiet] * 40], seconds=3600 * 1.2
    )

    assert sum("sendInitialEvents" in query for query in watched.api.watches) >= 2
    assert watched.api.watches[1].get("sendInitialEvents") is None


def test_informer_keeps_states_that_were_overtaken_over_a_relist() -> None:
    """DESIGN, last known good: what nobody judged yet is still to be had."""
    watched = _Watched(
        watches=[
            [*_initial(_map("a", 3), version=5), event("MODIFIED", _map("a", 6)), 20.0],
            ExpiredError("old", code=410),
            [*_initial(_map("a", 9), version=30), HANG],
        ],
        seconds=60,
    )

    taken = watched.informer.take(_key("a"), Uid("uid-a"))
    assert [state.resource_version for state in taken] == ["6", "3"]


def test_wait_synced_tells_that_a_right_is_missing() -> None:
    """After half a minute of 403 a program should end; the informer itself goes on trying."""

    async def run() -> None:
        api = ScriptedApi(watches=[ForbiddenError("no", code=403)] * 100)
        informer = Informer(api, MAPS, MAP)
        async with asyncio.TaskGroup() as group:
            running = group.create_task(informer.run(), name="informer")
            with pytest.raises(ForbiddenError, match="no"):
                await informer.wait_synced()
            assert asyncio.get_running_loop().time() >= 30
            running.cancel()

    run_virtual(run())


def test_wait_synced_survives_a_server_that_refuses_while_it_starts() -> None:
    """Some 403 right after its start are usual: authorization has not been loaded yet."""

    async def run() -> None:
        api = ScriptedApi(
            watches=[*[ForbiddenError("no", code=403)] * 3, [*_initial(version=5), HANG]]
        )
        informer = Informer(api, MAPS, MAP)
        async with asyncio.TaskGroup() as group:
            running = group.create_task(informer.run(), name="informer")
            await informer.wait_synced()
            assert informer.synced()
            running.cancel()

    run_virtual(run())


def test_informer_is_not_synced_while_a_relist_is_due() -> None:
    """Between 410 and the next list the cache may miss anything."""
    watched = _Watched(
        watches=[
            [*_initial(_map("a", 3), version=5), 20.0],
            ExpiredError("old", code=410),
            *[UnavailableError("refused")] * 100,
        ],
        seconds=60,
    )

    assert not watched.informer.synced()
    assert watched.held == {"a": "3"}


def test_informer_lists_at_once_after_a_restart_of_the_api_server() -> None:
    """A restarted API server knows no old versions: to wait would only cost time."""
    watched = _Watched(
        watches=[
            [*_initial(_map("a", 3), version=5), 60.0],
            ExpiredError("too old", code=410, reason="Expired"),
            [*_initial(_map("a", 9), version=30), HANG],
        ],
        seconds=100,
    )

    assert watched.held == {"a": "9"}
    assert watched.gaps() == [60.0, 0.0]


def test_informer_waits_for_a_server_that_calls_each_version_expired() -> None:
    """Lists that expire as soon as they are made do not become a storm of lists."""
    again = [[*_initial(version=5), failure(410, "Expired")] for _ in range(50)]

    watched = _Watched(watches=again, seconds=60)

    assert len(watched.api.watches) < 10


def test_informer_lists_anew_when_the_server_fails_on_and_on() -> None:
    """A version that the server cannot serve is given up in the end."""
    broken = [UnavailableError("failed", code=500, reason="InternalError")] * 8
    watched = _Watched(
        watches=[
            [*_initial(_map("a", 3), version=5), 60.0],
            *broken,
            [*_initial(_map("a", 9), version=30), HANG],
        ],
        seconds=600,
    )

    assert watched.held == {"a": "9"}
    versions = [query.get("resourceVersion") for query in watched.api.watches]
    assert versions[:10] == [None, *["5"] * 8, None]


def test_informer_lists_everything_from_time_to_time() -> None:
    """A resumed watch does not repair what was missed: each hour everything is listed anew."""
    quiet = [[step for _ in range(9) for step in (30.0, bookmark(str(v)))] for v in range(20)]
    watched = _Watched(watches=[[*_initial(version=5), *quiet[0]], *quiet[1:]], seconds=4500)

    first, *rest = [q["at"] for q in watched.api.watches if "sendInitialEvents" in q]

    assert first == 0.0
    assert 3240 <= rest[0] <= 3960 + 300
