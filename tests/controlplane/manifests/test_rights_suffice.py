"""The accounts' rights in use: the API server refuses nothing that our processes ask for."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from testkit import workloads
from testkit.client import ApiClient
from testkit.history import audit_events
from testkit.plane import Plane
from testkit.world import ENFORCER, World, WorldOptions

pytestmark = pytest.mark.controlplane

USERS = {f"system:serviceaccount:lictor-system:lictor-{name}" for name in ("gate", "enforcer")}
STRATEGIC_MERGE = "application/strategic-merge-patch+json"
MARK = 'lictor_enforcer_baselines_total{result="kept"}'


@pytest.fixture
def world(fresh_plane: Plane, tmp_path: Path) -> Iterator[World]:
    """A gate and an enforcer with their own accounts; nothing runs yet."""
    enforced = ("no-privileged-containers", "allowed-registries")
    made = World(fresh_plane, tmp_path, WorldOptions(enforce=enforced))
    yield made
    made.stop()


async def _until(is_so: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(60):
        while not await is_so():  # noqa: ASYNC110 (what is awaited is elsewhere)
            await asyncio.sleep(0.05)


def _asked(event: dict[str, Any]) -> str:
    reference = event.get("objectRef", {})
    names = (event["verb"], reference.get("resource", event["requestURI"]), reference.get("name"))
    return " ".join(filter(None, names))


async def test_rights_suffice_for_all_that_the_processes_do(
    fresh_plane: Plane, world: World
) -> None:
    """Registration, denial, revert and stop: no request of either account is answered with 403."""

    async def reverted() -> bool:
        return workloads.is_good(await client.expect("GET", f"{path}/web"))

    async def baseline_known() -> bool:
        return MARK in world.metrics(ENFORCER)

    path = workloads.collection("shop")
    async with fresh_plane.client() as client:
        await world.prepare(client)
        world.gate.start()
        world.enforcer.start()
        await client.create_namespace("shop", labels={workloads.OWNER_LABEL: "team-shop"})
        await client.expect("POST", path, body=workloads.deployment("web"))
        await _until(baseline_known)
        denied = await _worsen(client, path)
        world.gate.stop()
        admitted = await _worsen(client, path)
        await _until(reverted)
        world.stop()

    events = [e for e in audit_events(fresh_plane.audit_log) if e["user"]["username"] in USERS]
    refused = {_asked(e) for e in events if e.get("responseStatus", {}).get("code") in {401, 403}}
    assert (denied, admitted) == (403, 200)
    assert {event["user"]["username"] for event in events} == USERS
    assert refused == set()


async def _worsen(client: ApiClient, path: str) -> int:
    status, _ = await client.request(
        "PATCH", f"{path}/web", body=workloads.going_bad(), content_type=STRATEGIC_MERGE
    )
    return status
