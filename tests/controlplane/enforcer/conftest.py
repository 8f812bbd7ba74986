"""A real enforcer process on the shared control plane, and what its tests ask of it."""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from testkit.client import ApiClient
from testkit.plane import Plane
from testkit.street import Street
from testkit.world import World, WorldOptions

_LAW = Path(__file__).parent / "law"
_OPEN = {"policyObjects": 10_000, "clusterWrites": 10_000}


@contextmanager
def running(plane: Plane, directory: Path, enforcer: Mapping[str, Any]) -> Iterator[World]:
    """Run one enforcer, as the process and with the account that it has in production."""
    options = WorldOptions(policies=_LAW, enforcer={"budget": _OPEN, **enforcer})
    world = World(plane, directory, options)

    async def prepare() -> None:
        async with plane.client() as client:
            await world.prepare(client)

    asyncio.run(prepare())
    world.enforcer.start()
    try:
        yield world
    finally:
        world.stop()


@pytest.fixture(scope="module")
def shared(plane: Plane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One enforcer for a module, with open budgets."""
    with running(plane, tmp_path_factory.mktemp("enforcer"), {}) as world:
        yield world


@pytest.fixture
def street(shared: World, admin: ApiClient, namespace: str) -> Street:
    """A namespace of the test's own, with the module's enforcer on watch."""
    return Street(shared, admin, namespace)
