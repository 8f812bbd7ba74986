"""Fixtures of all tests: real control planes, and namespaces of a test's own."""

import os
import uuid
from collections.abc import AsyncIterator, Iterator

import pytest

from testkit.binaries import Missing, find
from testkit.client import ApiClient
from testkit.plane import Plane

CONTROLPLANE_SECONDS = 120
CHAOS_SECONDS = 1200
PROGRAMS = ("etcd", "kube-apiserver", "kube-controller-manager")
REQUIRED = "LICTOR_REQUIRE_CONTROLPLANE"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give tests on a real control plane their time, or the reason why they are skipped."""
    reasons = [found.reason for name in PROGRAMS if isinstance(found := find(name), Missing)]
    for item in items:
        if item.get_closest_marker("controlplane") is None:
            continue
        if item.get_closest_marker("timeout") is None:
            chaos = item.get_closest_marker("chaos") is not None
            item.add_marker(pytest.mark.timeout(CHAOS_SECONDS if chaos else CONTROLPLANE_SECONDS))
        if reasons and os.environ.get(REQUIRED, "") in ("", "0"):
            item.add_marker(pytest.mark.skip(reason="; ".join(reasons)))


@pytest.fixture(scope="session")
def plane() -> Iterator[Plane]:
    """A real control plane that the tests of one worker share; leave it as you found it."""
    with Plane.launch() as started:
        yield started


@pytest.fixture
def fresh_plane() -> Iterator[Plane]:
    """A real control plane of this test alone, to stop, freeze and kill."""
    with Plane.launch() as started:
        yield started


@pytest.fixture
async def admin(plane: Plane) -> AsyncIterator[ApiClient]:
    """A client of the shared plane that may do everything."""
    async with plane.client() as client:
        yield client


@pytest.fixture
async def namespace(admin: ApiClient) -> AsyncIterator[str]:
    """A namespace of this test alone on the shared plane; what is in it goes with it."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    await admin.create_namespace(name)
    yield name
    await admin.delete_namespace(name)
