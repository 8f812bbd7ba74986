"""A real enforcer process on the shared control plane, and what its tests ask of it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from testkit.client import ApiClient
from testkit.plane import Plane
from testkit.street import Street
from testkit.world import World, WorldOptions

_LAW = Path(__file__).parent / "law"
_OPEN = {"policyObjects": 10_000, "clusterWrites": 10_000}
_SHORT_LEASE = {"durationSeconds": 3.0, "renewDeadlineSeconds": 2.0, "retrySeconds": 0.5}

StartEnforcer: TypeAlias = Callable[..., AbstractAsyncContextManager[Street]]


def _world(plane: Plane, directory: Path, enforcer: Mapping[str, Any], *, api_url: str) -> World:
    settings = {"budget": _OPEN, "lease": _SHORT_LEASE, **enforcer}
    options = WorldOptions(policies=_LAW, enforcer=settings, api_url=api_url)
    return World(plane, directory, options)


@pytest.fixture(scope="module")
def shared(plane: Plane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One enforcer for a module, with open budgets: the process and account of production."""
    world = _world(plane, tmp_path_factory.mktemp("enforcer"), {}, api_url="")

    async def prepare() -> None:
        async with plane.client() as client:
            await world.prepare(client)

    asyncio.run(prepare())
    world.enforcer.start()
    yield world
    world.stop()


@pytest.fixture
def street(shared: World, admin: ApiClient, namespace: str) -> Street:
    """A namespace of the test's own, with the module's enforcer on watch."""
    return Street(shared, admin, namespace)


@pytest.fixture
def start_enforcer(plane: Plane, tmp_path: Path, admin: ApiClient, namespace: str) -> StartEnforcer:
    """Start an enforcer of the test's own, with more settings of its section."""

    @asynccontextmanager
    async def start(
        enforcer: Mapping[str, Any] | None = None, *, api_url: str = "", leads: bool = True
    ) -> AsyncIterator[Street]:
        world = _world(plane, tmp_path, enforcer or {}, api_url=api_url)
        street = Street(world, admin, namespace)
        await world.prepare(admin)
        world.enforcer.start(wait=False)
        try:
            if leads:
                await street.leads()
            yield street
        finally:
            # A proxy of the test may be in between: the loop has to go on while it ends.
            await asyncio.to_thread(world.stop)

    return start
