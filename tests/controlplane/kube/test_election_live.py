"""Candidates for one Lease on a real API server."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from lictor.config.settings import ClusterSettings, LeaseSettings
from lictor.kube.client import KubeClient, open_client
from lictor.kube.election import Elector, LeaseLostError
from lictor.kube.lease_writer import ApiLeaseWriter
from lictor.system import SystemClock
from testkit.client import ApiClient
from testkit.plane import Plane

pytestmark = pytest.mark.controlplane

LEASE = LeaseSettings(duration_seconds=3.0, renew_deadline_seconds=2.0, retry_seconds=0.3)


def elector(client: KubeClient, namespace: str, identity: str) -> Elector:
    """Return a candidate."""
    return Elector(
        ApiLeaseWriter(client), LEASE, namespace=namespace, identity=identity, clock=SystemClock()
    )


@asynccontextmanager
async def opened(plane: Plane) -> AsyncIterator[KubeClient]:
    """Open a client of its own for a candidate."""
    settings = ClusterSettings(kubeconfig=str(plane.kubeconfig()), request_timeout_seconds=1.0)
    async with open_client(settings, connections=1) as client:
        yield client


async def test_elector_released_lease_is_taken_at_once(plane: Plane, namespace: str) -> None:
    """Who stops in order leaves the Lease free: nobody waits for its end, and it is counted."""
    async with opened(plane) as one, opened(plane) as two, asyncio.TaskGroup() as group:
        first, second = elector(one, namespace, "one"), elector(two, namespace, "two")
        leading = group.create_task(first.run())
        await first.wait_leader()
        waiting = group.create_task(second.run())
        await asyncio.sleep(1.0)
        both = (first.fresh(), second.is_leader())

        leading.cancel()
        await asyncio.wait([leading])
        await first.release()
        async with asyncio.timeout(1.5):
            await second.wait_leader()
        waiting.cancel()

        path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{LEASE.name}"
        spec = json.loads(await one.request("GET", path))["spec"]

    assert both == (True, False)
    assert (spec["holderIdentity"], spec["leaseTransitions"]) == ("two", 1)


async def test_elector_takes_over_from_one_that_is_gone(plane: Plane, namespace: str) -> None:
    """A leader that says nothing any more is followed when its Lease has run out, not before."""
    async with opened(plane) as one, opened(plane) as two, asyncio.TaskGroup() as group:
        first, second = elector(one, namespace, "one"), elector(two, namespace, "two")
        leading = group.create_task(first.run())
        await first.wait_leader()
        leading.cancel()
        began = asyncio.get_running_loop().time()
        waiting = group.create_task(second.run())
        async with asyncio.timeout(10):
            await second.wait_leader()
        took = asyncio.get_running_loop().time() - began
        waiting.cancel()

    assert LEASE.duration_seconds <= took < LEASE.duration_seconds + 2.0


async def test_elector_loses_to_who_holds_the_lease(
    plane: Plane, admin: ApiClient, namespace: str
) -> None:
    """A leader that finds another holder stops at once, not when its own time has run out."""
    path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{LEASE.name}"
    async with opened(plane) as client:
        candidate = elector(client, namespace, "one")
        async with asyncio.timeout(10), asyncio.TaskGroup() as group:
            running = group.create_task(_ended(candidate))
            await candidate.wait_leader()
            await admin.expect(
                "PATCH",
                path,
                body={"spec": {"holderIdentity": "somebody"}},
                content_type="application/merge-patch+json",
            )
            began = asyncio.get_running_loop().time()

    assert "is held by somebody" in running.result()
    assert asyncio.get_running_loop().time() - began < LEASE.renew_deadline_seconds
    assert not candidate.fresh()


async def test_elector_loses_a_lease_that_it_cannot_renew(fresh_plane: Plane) -> None:
    """While the API server is frozen the leader stops before its Lease has run out."""
    async with opened(fresh_plane) as client:
        candidate = elector(client, "default", "one")
        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            running = group.create_task(_ended(candidate))
            await candidate.wait_leader()
            fresh_plane.apiserver.freeze()
            began = asyncio.get_running_loop().time()

        took = asyncio.get_running_loop().time() - began
        fresh_plane.apiserver.thaw()
        await asyncio.sleep(0.5)  # TLS connections that were cut off end with the server's word

    assert "was not renewed" in running.result()
    assert LEASE.renew_deadline_seconds - 1.0 < took < LEASE.duration_seconds


async def _ended(candidate: Elector) -> str:
    """Return why a candidate's run has ended."""
    with pytest.raises(LeaseLostError) as lost:
        await candidate.run()
    return str(lost.value)
