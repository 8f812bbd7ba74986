"""An informer over what happens to a real API server."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import aiohttp
import pytest

from lictor.config.settings import ClusterSettings
from lictor.errors import ForbiddenError
from lictor.kube.client import open_client
from lictor.kube.informer import Informer
from lictor.kube.reflector import Pace
from lictor.model.names import Gvk, Gvr, ObjectKey
from lictor.telemetry import metrics
from testkit.client import ApiClient
from testkit.plane import Plane
from testkit.tasks import eventually, running

pytestmark = pytest.mark.controlplane

CONFIG_MAPS = Gvr("", "v1", "configmaps")
CONFIG_MAP = Gvk("", "v1", "ConfigMap")
PATH = "/api/v1/namespaces/default/configmaps"
QUICK = Pace(silence_seconds=3.0, backoff_seconds=(0.05, 0.5))
PATIENCE = 30.0


def key(name: str) -> ObjectKey:
    """Return the key of a ConfigMap."""
    return ObjectKey(CONFIG_MAPS, "default", name)


def config(name: str, **data: str) -> dict[str, Any]:
    """Return a ConfigMap."""
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def holds(informer: Informer, name: str, value: str) -> Callable[[], bool]:
    """Return whether the cache has a state."""

    def check() -> bool:
        found = informer.latest(key(name))
        return found is not None and found.tree["data"] == {"a": value}

    return check


def restarts(reason: str) -> float:
    """Return how many watches ended for a reason."""
    return metrics.WATCH_RESTARTS.labels(kind="configmaps", reason=reason)._value.get()


@asynccontextmanager
async def following(
    plane: Plane, *, pace: Pace = QUICK, kubeconfig: str = ""
) -> AsyncIterator[Informer]:
    """Run an informer of ConfigMaps."""
    settings = ClusterSettings(
        kubeconfig=kubeconfig or str(plane.kubeconfig()), request_timeout_seconds=5.0
    )
    async with open_client(settings) as client:
        informer = Informer(client, CONFIG_MAPS, CONFIG_MAP, keep_overtaken=True, pace=pace)
        async with running(informer.run()):
            yield informer


async def write(admin: ApiClient, name: str, value: str) -> None:
    """Create a ConfigMap or change it."""
    status, answer = await admin.request("POST", PATH, body=config(name, a=value))
    if status == 409:
        await admin.expect("PUT", f"{PATH}/{name}", body=config(name, a=value))
    else:
        assert status == 201, answer


@pytest.mark.parametrize("end", ["stop", "kill"])
async def test_informer_resumes_over_a_restart(fresh_plane: Plane, end: str) -> None:
    """Changes before, during and after a restart of the API server are all there in the end."""
    async with fresh_plane.client() as admin, following(fresh_plane) as informer:
        await informer.wait_synced()
        await write(admin, "before", "1")
        await write(admin, "gone", "1")
        await eventually(holds(informer, "gone", "1"))

        getattr(fresh_plane.apiserver, end)()
        fresh_plane.apiserver.start()
        await admin.close()
        await admin.expect("DELETE", f"{PATH}/gone")
        await write(admin, "before", "2")
        await write(admin, "after", "1")

        await eventually(holds(informer, "before", "2"), timeout_seconds=PATIENCE)
        await eventually(holds(informer, "after", "1"), timeout_seconds=PATIENCE)
        await eventually(lambda: informer.latest(key("gone")) is None, timeout_seconds=PATIENCE)
        assert informer.synced()


async def test_informer_leaves_a_frozen_api_server(fresh_plane: Plane) -> None:
    """A connection that stays open but brings nothing is given up, and the watch resumes."""
    before = restarts("silent")
    async with fresh_plane.client() as admin, following(fresh_plane) as informer:
        await informer.wait_synced()
        await write(admin, "a", "1")
        await eventually(holds(informer, "a", "1"))

        fresh_plane.apiserver.freeze()
        await eventually(lambda: restarts("silent") > before, timeout_seconds=PATIENCE)
        fresh_plane.apiserver.thaw()
        await write(admin, "a", "2")

        await eventually(holds(informer, "a", "2"), timeout_seconds=PATIENCE)


async def test_informer_lists_anew_after_compaction(fresh_plane: Plane) -> None:
    """When the last version is compacted away while it was cut off, it lists, and says so once."""
    before = restarts("expired")
    async with fresh_plane.client() as admin, following(fresh_plane) as informer:
        await informer.wait_synced()
        await write(admin, "a", "1")
        await write(admin, "gone", "1")
        await eventually(holds(informer, "gone", "1"))
        told: list[ObjectKey] = []
        informer.subscribe(told.append)

        fresh_plane.apiserver.kill()
        await _change_behind(fresh_plane)
        fresh_plane.apiserver.start()

        await eventually(
            lambda: informer.latest(key("gone")) is None and informer.synced(),
            timeout_seconds=PATIENCE,
        )
        await admin.close()
        await write(admin, "a", "2")
        await eventually(holds(informer, "a", "2"), timeout_seconds=PATIENCE)
        assert restarts("expired") > before
        assert key("gone") in told


async def _change_behind(plane: Plane) -> None:
    """Delete an object in etcd, move its revision on, and compact everything before."""

    async def call(session: aiohttp.ClientSession, path: str, body: dict[str, Any]) -> Any:  # noqa: ANN401
        async with session.post(f"{plane.etcd_url}/v3/{path}", data=json.dumps(body)) as answer:
            assert answer.status == 200
            return json.loads(await answer.text())

    def encoded(text: str) -> str:
        return base64.b64encode(text.encode()).decode()

    async with aiohttp.ClientSession() as session:
        await call(session, "kv/deleterange", {"key": encoded("/registry/configmaps/default/gone")})
        for number in range(10):
            body = {"key": encoded("/elsewhere"), "value": encoded(str(number))}
            revision = (await call(session, "kv/put", body))["header"]["revision"]
        await call(session, "kv/compaction", {"revision": revision, "physical": True})


async def test_informer_reads_an_object_of_many_escapes(plane: Plane, admin: ApiClient) -> None:
    """0.7 MB of `<` travel as 4.2 MB on one line: more than other clients frame."""
    value = "<" * 700_000
    async with following(plane, pace=Pace()) as informer:
        await informer.wait_synced()
        await write(admin, "large", "1")
        await write(admin, "large", value)

        await eventually(holds(informer, "large", value), timeout_seconds=PATIENCE)

    async with following(plane, pace=Pace()) as informer:
        await informer.wait_synced()
        assert holds(informer, "large", value)()
    await admin.expect("DELETE", f"{PATH}/large")


async def test_informer_lists_page_by_page_without_watch_list(
    plane: Plane, admin: ApiClient, namespace: str
) -> None:
    """The classic list gives the same objects, with their kind, over several pages."""
    names = [f"page-{number:04}" for number in range(1100)]
    async with asyncio.timeout(60):
        for start in range(0, len(names), 50):
            async with asyncio.TaskGroup() as group:
                for name in names[start : start + 50]:
                    group.create_task(
                        admin.expect(
                            "POST",
                            f"/api/v1/namespaces/{namespace}/configmaps",
                            body=config(name, a="1"),
                        )
                    )
    async with following(plane) as informer:
        informer._reflector._list_anew(version="", classic=True)
        await informer.wait_synced()

        found = {one.name for one in informer.keys() if one.namespace == namespace}  # noqa: SIM118
        some = informer.latest(ObjectKey(CONFIG_MAPS, namespace, "page-0777"))
        assert found == set(names)
        assert some is not None
        assert some.kind == CONFIG_MAP


async def test_informer_says_that_it_is_refused(plane: Plane) -> None:
    """A missing right does not wait for ever: whoever waits for the first list learns of it."""
    nobody = str(plane.kubeconfig("nobody", ("nobodies",)))
    pace = replace(QUICK, refused_seconds=0.2)

    async with following(plane, pace=pace, kubeconfig=nobody) as informer:
        with pytest.raises(ForbiddenError, match="nobody"):
            await informer.wait_synced()
        assert not informer.synced()
