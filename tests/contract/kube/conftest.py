"""The same cluster twice: in memory, and real."""

import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol

import pytest
from typing_extensions import override

from lictor.config.settings import ClusterSettings
from lictor.jsontypes import JsonObject
from lictor.kube.client import KubeClient, open_client
from lictor.kube.event_writer import ApiEventWriter
from lictor.kube.informer import Informer
from lictor.kube.lease_writer import ApiLeaseWriter
from lictor.kube.object_writer import ApiObjectWriter
from lictor.kube.paths import collection_path, object_path
from lictor.kube.reader import ApiReader
from lictor.kube.registration_writer import ApiRegistrationWriter
from lictor.model.document import Document
from lictor.model.names import Gvk, Gvr, ObjectKey
from lictor.ports.event_writer import EventWriter
from lictor.ports.lease_writer import LeaseWriter
from lictor.ports.object_cache import ObjectCache, UnjudgedStates
from lictor.ports.object_writer import ObjectWriter
from lictor.ports.reader import Reader
from lictor.ports.registration_writer import RegistrationWriter
from lictor.system import SystemClock
from testkit.client import ApiClient
from testkit.plane import Plane
from testkit.simulators.cluster import (
    MemoryCluster,
    MemoryEventWriter,
    MemoryLeaseWriter,
    MemoryObjectCache,
    MemoryObjectWriter,
    MemoryReader,
)
from testkit.simulators.registration_writer import MemoryRegistrationWriter
from testkit.tasks import running


class Cache(ObjectCache, UnjudgedStates, Protocol):
    """Both ports of an informer."""


class World(Protocol):
    """A cluster, its ports, and what anybody else does to it."""

    namespace: str
    reader: Reader
    objects: ObjectWriter
    leases: LeaseWriter
    registration: RegistrationWriter
    events: EventWriter

    async def create(self, key: ObjectKey, tree: JsonObject) -> Document:
        """Create an object."""
        ...

    async def update(self, key: ObjectKey, tree: JsonObject) -> Document:
        """Replace an object."""
        ...

    async def drop(self, key: ObjectKey) -> None:
        """Delete an object."""
        ...

    async def notes(self, uid: str) -> list[str]:
        """Return the notes of the Events about an object."""
        ...

    def cache(self, resource: Gvr, kind: Gvk) -> AbstractAsyncContextManager[Cache]:
        """Follow a resource."""
        ...


class SimulatedWorld(World):
    """The simulators of the ports."""

    def __init__(self) -> None:
        self.cluster = MemoryCluster()
        self.namespace = "shop"
        self.reader = MemoryReader(self.cluster)
        self.objects = MemoryObjectWriter(self.cluster)
        self.leases = MemoryLeaseWriter(self.cluster)
        self.registration = MemoryRegistrationWriter()
        self.events = MemoryEventWriter(self.cluster)

    @override
    async def create(self, key: ObjectKey, tree: JsonObject) -> Document:
        return self.cluster.create(key, tree)

    @override
    async def update(self, key: ObjectKey, tree: JsonObject) -> Document:
        return self.cluster.update(key, tree)

    @override
    async def drop(self, key: ObjectKey) -> None:
        self.cluster.remove(key)

    @override
    async def notes(self, uid: str) -> list[str]:
        return [notice.note for notice in self.events.notices if notice.about.uid == uid]

    @override
    @asynccontextmanager
    async def cache(self, resource: Gvr, kind: Gvk) -> AsyncIterator[Cache]:
        yield MemoryObjectCache(self.cluster, resource)


class RealWorld(World):
    """A real API server, and our writers and informer."""

    def __init__(self, client: KubeClient, admin: ApiClient, namespace: str) -> None:
        self.client = client
        self.admin = admin
        self.namespace = namespace
        self.reader = ApiReader(client)
        self.objects = ApiObjectWriter(client)
        self.leases = ApiLeaseWriter(client)
        self.registration = ApiRegistrationWriter(client)
        self.events = ApiEventWriter(client, instance="test", clock=SystemClock())

    @override
    async def create(self, key: ObjectKey, tree: JsonObject) -> Document:
        path = collection_path(key.resource, key.namespace)
        return Document.of(await self.admin.expect("POST", path, body=tree))

    @override
    async def update(self, key: ObjectKey, tree: JsonObject) -> Document:
        return Document.of(await self.admin.expect("PUT", object_path(key), body=tree))

    @override
    async def drop(self, key: ObjectKey) -> None:
        await self.admin.expect("DELETE", object_path(key))

    @override
    async def notes(self, uid: str) -> list[str]:
        path = f"/apis/events.k8s.io/v1/namespaces/{self.namespace}/events"
        found: dict[str, Any] = await self.admin.expect("GET", path)
        return [item["note"] for item in found["items"] if item["regarding"]["uid"] == uid]

    @override
    @asynccontextmanager
    async def cache(self, resource: Gvr, kind: Gvk) -> AsyncIterator[Cache]:
        informer = Informer(self.client, resource, kind, keep_overtaken=True)
        async with running(informer.run()):
            await informer.wait_synced()
            yield informer


@pytest.fixture(params=["simulator", pytest.param("plane", marks=pytest.mark.controlplane)])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    """Yield each cluster."""
    if request.param == "simulator":
        yield SimulatedWorld()
        return
    plane: Plane = request.getfixturevalue("plane")
    settings = ClusterSettings(kubeconfig=str(plane.kubeconfig()))
    namespace = f"contract-{uuid.uuid4().hex[:12]}"
    async with plane.client() as admin, open_client(settings) as client:
        await admin.create_namespace(namespace)
        yield RealWorld(client, admin, namespace)
        await admin.delete_namespace(namespace)


@pytest.fixture
def config_map(world: World) -> Callable[[str], ObjectKey]:
    """Return what names a ConfigMap of the test's namespace."""
    return lambda name: ObjectKey(Gvr("", "v1", "configmaps"), world.namespace, name)
