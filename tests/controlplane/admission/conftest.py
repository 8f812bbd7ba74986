"""A gate as it runs in production, registered at the shared control plane by a law of its own."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lictor.ledger.reader import LedgerReader
from lictor.model.audit_record import AuditRecord, RecordType
from testkit.client import ApiClient
from testkit.plane import Plane
from testkit.world import GATE, World, WorldOptions

LAW = Path(__file__).parent / "law"
WIDGETS = "/apis/gate.example.com/v1/namespaces/{namespace}/widgets"
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
CLASSES = [
    {"name": "open", "failurePolicy": "Ignore", "timeoutSeconds": 5},
    {"name": "closed", "failurePolicy": "Fail", "timeoutSeconds": 2},
]


def widget_definition() -> dict[str, Any]:
    """A custom resource with two versions, of which the older is stored."""
    schema = {
        "type": "object",
        "properties": {
            "spec": {
                "type": "object",
                "properties": {"colour": {"type": "string"}, "size": {"type": "integer"}},
            }
        },
    }
    versions = [
        {
            "name": name,
            "served": True,
            "storage": name == "v1alpha1",
            "schema": {"openAPIV3Schema": schema},
        }
        for name in ("v1alpha1", "v1")
    ]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.gate.example.com"},
        "spec": {
            "group": "gate.example.com",
            "scope": "Namespaced",
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget"},
            "versions": versions,
        },
    }


async def _prepare(world: World, plane: Plane) -> None:
    async with plane.client() as client:
        await client.expect("POST", DEFINITIONS, body=widget_definition())
        await world.prepare(client)
        await client.wait_for(WIDGETS.format(namespace="default"))


async def _clean(plane: Plane) -> None:
    async with plane.client() as client:
        for kind in ("validating", "mutating"):
            await client.request(
                "DELETE",
                f"/apis/admissionregistration.k8s.io/v1/{kind}webhookconfigurations/lictor",
            )
        definition = f"{DEFINITIONS}/widgets.gate.example.com"
        await client.request("DELETE", definition)
        await client.wait_for(definition, status=404)


@pytest.fixture(scope="module")
def world(plane: Plane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A gate process that serves and is registered; the module's own."""
    options = WorldOptions(policies=LAW, gate={"classes": CLASSES, "drainSeconds": 2})
    found = World(plane, tmp_path_factory.mktemp("gate"), options)
    asyncio.run(_prepare(found, plane))
    found.gate.start()
    yield found
    found.stop()  # first: a gate that runs registers itself again
    asyncio.run(_clean(plane))


@pytest.fixture
def gate(world: World) -> Iterator[World]:
    """The gate of the module, running; a test that stops it need not start it again."""
    if not world.gate.running:
        world.gate.start()
    yield world
    world.gate.thaw()


@pytest.fixture
def records(gate: World) -> Callable[[str], list[AuditRecord]]:
    """The decisions on what has this name, as the ledger has them; newest last."""

    def read(name: str) -> list[AuditRecord]:
        return [
            stored.record
            for stored in LedgerReader(gate.ledger(GATE)).records([RecordType.ADMISSION_DECISION])
            if stored.record.req is not None and stored.record.req.name == name
        ]

    return read


@pytest.fixture
def audited(plane: Plane) -> Callable[[str], list[dict[str, Any]]]:
    """The events of the API server's audit log about what has this name."""

    def read(name: str) -> list[dict[str, Any]]:
        lines = plane.audit_log.read_text().splitlines()
        events = [json.loads(line) for line in lines if f'"{name}"' in line]
        return [one for one in events if one.get("objectRef", {}).get("name") == name]

    return read


@pytest.fixture
async def other_namespace(admin: ApiClient) -> AsyncIterator[str]:
    """A namespace whose objects some policies are for."""
    name = "gate-judged"
    await admin.create_namespace(name, labels={"judged": "true"})
    yield name
    await admin.delete_namespace(name)
