"""What the small adapters send: events, deletions, cached reads, discovery."""

import json
import re
from dataclasses import dataclass, field
from typing import Any

import pytest
from typing_extensions import override

from lictor.errors import ObjectNotFoundError, UnavailableError
from lictor.jsontypes import JsonObject
from lictor.kube import discovery
from lictor.kube.cached_reader import CachedReader
from lictor.kube.client import JSON, KubeClient
from lictor.kube.discovery import Discovery
from lictor.kube.event_writer import NOTE_BYTES, ApiEventWriter, cut
from lictor.kube.paths import collection_path, object_path
from lictor.kube.reader import ApiReader
from lictor.model.document import Document
from lictor.model.names import Gvk, Gvr, ObjectKey, ObjectRef, Uid
from lictor.ports.event_writer import Notice
from lictor.ports.reader import Reader
from testkit.simulators.clock import LoopClock
from testkit.simulators.cluster import MemoryCluster, MemoryObjectCache, MemoryReader

DEPLOYMENTS = Gvr("apps", "v1", "deployments")
KEY = ObjectKey(DEPLOYMENTS, "shop", "web")


@dataclass
class _Sent(KubeClient):
    """Keeps what was sent and gives one answer."""

    answer: bytes | Exception = b"{}"
    paths: list[str] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)

    @override
    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Any = None,
        body: bytes | None = None,
        content_type: str = JSON,
        timeout_seconds: float | None = None,
    ) -> bytes:
        self.paths.append(f"{method} {path}")
        self.bodies.append(json.loads(body or b"{}"))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def _notice(name: str = "web", namespace: str = "shop", **changes: Any) -> Notice:  # noqa: ANN401
    about = ObjectRef(
        ObjectKey(DEPLOYMENTS, namespace, name), Gvk("apps", "v1", "Deployment"), Uid("u1")
    )
    values = {"reason": "Reverted", "action": "Revert", "note": "as it was", "warning": False}
    return Notice(about=about, **{**values, **changes})


async def _emitted(notice: Notice) -> tuple[str, dict[str, Any]]:
    client = _Sent()
    await ApiEventWriter(client, instance="i" * 300, clock=LoopClock()).emit(notice)
    return client.paths[0], client.bodies[0]


async def test_emit_fills_what_events_demand() -> None:
    """events.k8s.io/v1 refuses an Event without time, controller, instance, action or reason."""
    path, body = await _emitted(_notice(warning=True))

    assert path == "POST /apis/events.k8s.io/v1/namespaces/shop/events"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", body["eventTime"])
    assert body["type"] == "Warning"
    assert body["regarding"] == {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "namespace": "shop",
        "name": "web",
        "uid": "u1",
    }
    assert len(body["reportingInstance"]) == 128


async def test_emit_of_a_cluster_scoped_object_goes_to_default() -> None:
    """There is no other namespace for it."""
    path, body = await _emitted(_notice(namespace=""))

    assert path == "POST /apis/events.k8s.io/v1/namespaces/default/events"
    assert body["metadata"]["namespace"] == "default"


@pytest.mark.parametrize(
    "name",
    ["web", "system:node-proxier", "Edit.", "a.-b", "-", ":", "x" * 253, "a" * 199 + ".b", "A_B"],
)
async def test_emit_names_the_event_as_the_api_server_allows(name: str) -> None:
    """RBAC's names have colons and capitals, an Event's may not (DNS subdomain)."""
    _, body = await _emitted(_notice(name))

    made = body["metadata"]["generateName"] + "abcde"
    label = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
    assert re.fullmatch(rf"{label}(\.{label})*", made)
    assert len(made) <= 253


@pytest.mark.parametrize(
    "note",
    [
        pytest.param("x" * NOTE_BYTES, id="fits"),
        pytest.param("x" * (NOTE_BYTES + 1), id="one byte over"),
        pytest.param("ä" * NOTE_BYTES, id="two bytes each"),
        pytest.param("x" + "😀" * NOTE_BYTES, id="four bytes each"),
    ],
)
def test_cut_keeps_a_note_within_its_bytes(note: str) -> None:
    """The limit counts bytes; no character is cut in two, and what was cut is marked."""
    short = cut(note)

    assert len(short.encode()) <= NOTE_BYTES
    assert len(short.encode()) > NOTE_BYTES - 4
    assert short == note or (short.endswith("…") and note.startswith(short[:-1]))


async def test_reader_takes_only_404_for_absence() -> None:
    """What could not be read may well be there."""
    assert await ApiReader(_Sent(ObjectNotFoundError("gone", code=404))).get(KEY) is None
    with pytest.raises(UnavailableError, match="away"):
        await ApiReader(_Sent(UnavailableError("away"))).get(KEY)
    with pytest.raises(UnavailableError, match="no object"):
        await ApiReader(_Sent(b"<html>")).get(KEY)


def test_paths_quote_names() -> None:
    """A name cannot lead to another URL."""
    role = ObjectKey(Gvr("rbac.authorization.k8s.io", "v1", "clusterroles"), "", "system:a/../b")

    assert object_path(role).endswith("/clusterroles/system%3Aa%2F..%2Fb")
    assert collection_path(Gvr("", "v1", "pods"), "shop") == "/api/v1/namespaces/shop/pods"
    assert collection_path(DEPLOYMENTS) == "/apis/apps/v1/deployments"


class _Cached:
    """A cluster, a cache of it that may lag, and a count of live reads."""

    def __init__(self) -> None:
        self.cluster = MemoryCluster()
        self.cache = MemoryObjectCache(self.cluster, DEPLOYMENTS)
        self.live = _Counting(self.cluster)
        self.reader = CachedReader([self.cache], self.live)

    async def version(self) -> str | None:
        found = await self.reader.get(KEY)
        return found.resource_version if found else None


class _Counting(Reader):
    def __init__(self, cluster: MemoryCluster) -> None:
        self.reads = 0
        self._reader = MemoryReader(cluster)

    @override
    async def get(self, key: ObjectKey) -> Document | None:
        self.reads += 1
        return await self._reader.get(key)


async def test_cached_reader_answers_from_the_cache() -> None:
    """A hit costs no request."""
    one = _Cached()
    one.cluster.create(KEY, {})

    assert await one.version() == "1"
    assert one.live.reads == 0


async def test_cached_reader_asks_on_a_miss_each_time() -> None:
    """A cache that lags does not make an object look absent; absence is not kept."""
    one = _Cached()
    one.cache.held = True

    assert await one.version() is None

    one.cluster.create(KEY, {})

    assert await one.version() == "1"
    assert one.live.reads == 2


async def test_cached_reader_does_not_trust_a_cache_that_is_not_synced() -> None:
    """Half a list is no list."""
    one = _Cached()
    one.cluster.create(KEY, {})
    one.cache.held, one.cache.is_synced = True, False
    one.cluster.update(KEY, {"spec": {}})

    assert await one.version() == "2"


async def test_cached_reader_asks_for_what_it_has_no_cache_of() -> None:
    """Other resources are read live."""
    one = _Cached()

    await one.reader.get(ObjectKey(Gvr("", "v1", "pods"), "shop", "web"))

    assert one.live.reads == 1


APPS: JsonObject = {
    "resources": [
        {"name": "deployments", "kind": "Deployment", "namespaced": True, "verbs": ["list"]},
        {"name": "deployments/scale", "kind": "Scale", "verbs": ["get"]},
        {"name": "daemonsets", "kind": "DaemonSet", "verbs": ["watch", "list"]},
    ]
}


async def test_discovery_asks_once_a_group_until_it_forgets() -> None:
    """Kinds and resources of one group are one request."""
    client = _Sent(json.dumps(APPS).encode())
    found = Discovery(client)

    assert await found.kind_of(DEPLOYMENTS) == Gvk("apps", "v1", "Deployment")
    assert await found.kind_of(Gvr("apps", "v1", "none")) is None
    assert await found.resource_for(Gvk("apps", "v1", "DaemonSet")) == Gvr(
        "apps", "v1", "daemonsets"
    )
    assert await found.resource_for(Gvk("apps", "v1", "Scale")) is None
    assert await found.watchable(Gvr("apps", "v1", "daemonsets"))
    assert not await found.watchable(DEPLOYMENTS)
    assert client.paths == ["GET /apis/apps/v1"]

    found.forget()
    await found.kind_of(DEPLOYMENTS)

    assert len(client.paths) == 2


async def test_discovery_keeps_no_more_groups_than_its_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever can make CustomResourceDefinitions cannot fill our memory."""
    monkeypatch.setattr(discovery, "_CACHED", 2)
    client = _Sent(json.dumps(APPS).encode())
    found = Discovery(client)
    for number in range(5):
        await found.kind_of(Gvr(f"g{number}.example", "v1", "things"))

    assert len(found._known) <= 2


async def test_discovery_refuses_what_is_no_list() -> None:
    """An answer that cannot be read is told, not kept."""
    with pytest.raises(UnavailableError, match="/apis/apps/v1: the answer is no discovery"):
        await Discovery(_Sent(b"<html>")).kind_of(DEPLOYMENTS)
