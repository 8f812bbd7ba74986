"""Writers and discovery on a real API server: what only its schemas and rules can show."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from lictor.config.settings import ClusterSettings
from lictor.errors import ConflictError, InvalidError, ObjectNotFoundError
from lictor.kube import discovery
from lictor.kube.client import KubeClient, open_client
from lictor.kube.discovery import Discovery
from lictor.kube.event_writer import ApiEventWriter
from lictor.kube.object_writer import ApiObjectWriter
from lictor.kube.reader import ApiReader
from lictor.kube.registration_writer import ApiRegistrationWriter
from lictor.model.document import Document
from lictor.model.names import Gvk, Gvr, ObjectKey, ObjectRef
from lictor.model.patch import PatchOp, PatchOperation
from lictor.ports.event_writer import Notice
from lictor.system import SystemClock
from testkit import workloads
from testkit.client import ApiClient
from testkit.plane import Plane

pytestmark = pytest.mark.controlplane

DEPLOYMENTS = Gvr("apps", "v1", "deployments")
DEPLOYMENT = Gvk("apps", "v1", "Deployment")
ROLES = Gvr("rbac.authorization.k8s.io", "v1", "clusterroles")
ROLE = Gvk("rbac.authorization.k8s.io", "v1", "ClusterRole")


@pytest.fixture
async def client(plane: Plane) -> AsyncIterator[KubeClient]:
    """Return a client that may do everything."""
    async with open_client(ClusterSettings(kubeconfig=str(plane.kubeconfig()))) as opened:
        yield opened


async def deployed(admin: ApiClient, namespace: str) -> tuple[ObjectRef, Document]:
    """Make a Deployment."""
    body = workloads.deployment("web")
    made = Document.of(await admin.expect("POST", workloads.collection(namespace), body=body))
    key = ObjectKey(DEPLOYMENTS, namespace, "web")
    return ObjectRef(key, DEPLOYMENT, made.uid), made


def managers(document: Document) -> dict[str, str]:
    """Return who manages fields, and by which operation."""
    metadata: Any = document.tree["metadata"]
    return {one["manager"]: one["operation"] for one in metadata["managedFields"]}


async def test_patch_of_an_unknown_field_is_refused(
    client: KubeClient, admin: ApiClient, namespace: str
) -> None:
    """Validation is strict: a field that is dropped silently would look like a repair."""
    target, made = await deployed(admin, namespace)
    unknown = PatchOperation(op=PatchOp.ADD, path="/spec/replicass", value=1)

    with pytest.raises(InvalidError, match="unknown field") as refused:
        await ApiObjectWriter(client).patch(
            target,
            resource_version=made.resource_version,
            operations=[unknown],
            dry_run=True,
        )

    # The API server quotes the whole object before it says what is wrong with it.
    assert "managedFields" not in str(refused.value)


async def test_patch_is_ours_in_managed_fields(
    client: KubeClient, admin: ApiClient, namespace: str
) -> None:
    """Who looks at the object sees who reverted it."""
    target, made = await deployed(admin, namespace)
    scale = PatchOperation(op=PatchOp.REPLACE, path="/spec/replicas", value=5)

    written = await ApiObjectWriter(client).patch(
        target, resource_version=made.resource_version, operations=[scale], dry_run=False
    )

    assert managers(written)["lictor-enforcer"] == "Update"


async def test_patch_of_an_immutable_field_is_invalid(
    client: KubeClient, admin: ApiClient, namespace: str
) -> None:
    """What the API makes immutable is refused for good, not as a conflict."""
    target, made = await deployed(admin, namespace)
    selector = PatchOperation(
        op=PatchOp.REPLACE, path="/spec/selector/matchLabels", value={"app": "other"}
    )

    with pytest.raises(InvalidError, match=r"immutable|does not match"):
        await ApiObjectWriter(client).patch(
            target, resource_version=made.resource_version, operations=[selector], dry_run=False
        )


async def test_patch_loses_to_a_writer_in_between(
    client: KubeClient, admin: ApiClient, namespace: str
) -> None:
    """Of two writes on the same version one wins, and the other has no effect."""
    target, made = await deployed(admin, namespace)
    writer = ApiObjectWriter(client)

    async def scale(replicas: int) -> str:
        operation = PatchOperation(op=PatchOp.REPLACE, path="/spec/replicas", value=replicas)
        try:
            await writer.patch(
                target,
                resource_version=made.resource_version,
                operations=[operation],
                dry_run=False,
            )
        except ConflictError:
            return "conflict"
        return "written"

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(scale(replicas)) for replicas in range(3, 9)]

    assert sorted(task.result() for task in tasks) == ["conflict"] * 5 + ["written"]


async def test_registration_is_ours_in_managed_fields(client: KubeClient, namespace: str) -> None:
    """What the gate writes for itself is marked as the gate's."""
    key = ObjectKey(Gvr("", "v1", "secrets"), namespace, "tls")
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "tls"}}

    made = await ApiRegistrationWriter(client).write(key, Document.of({**secret, "data": {}}))

    assert managers(made)["lictor-gate"] == "Update"


@pytest.mark.parametrize(
    "name", ["system:Node_Proxier", "a.-b", "x" * 253, "-"], ids=["rbac", "edges", "long", "dash"]
)
async def test_emit_about_any_name(
    client: KubeClient, admin: ApiClient, name: str, plane: Plane
) -> None:
    """An Event's own name is stricter than the names of roles, and holds all of them."""
    assert plane.apiserver.running
    notice = Notice(
        about=ObjectRef(ObjectKey(ROLES, "", name), ROLE, Document.of({}).uid),
        reason="Reverted",
        action="Revert",
        note="ü" * 2000,
        warning=True,
    )

    await ApiEventWriter(client, instance="test", clock=SystemClock()).emit(notice)

    found = await admin.expect("GET", "/apis/events.k8s.io/v1/namespaces/default/events")
    event = next(one for one in found["items"] if one["regarding"]["name"] == name)
    assert event["type"] == "Warning"
    assert event["note"].endswith("…")
    assert len(event["note"].encode()) <= 1024


async def test_reader_quotes_the_path_of_odd_names(client: KubeClient) -> None:
    """A name cannot reach into another path, and one with a colon is found."""
    reader = ApiReader(client)

    assert await reader.get(ObjectKey(ROLES, "", "system:node")) is not None
    assert await reader.get(ObjectKey(ROLES, "", "../clusterroles/system:node")) is None


async def test_discovery_knows_kinds_and_resources(client: KubeClient) -> None:
    """Each resource has its kind and back; subresources are none; what is not served is None."""
    served = Discovery(client)

    assert await served.kind_of(DEPLOYMENTS) == DEPLOYMENT
    assert await served.resource_for(DEPLOYMENT) == DEPLOYMENTS
    assert await served.resource_for(Gvk("autoscaling", "v1", "Scale")) is None
    assert await served.kind_of(Gvr("apps", "v1", "nothings")) is None
    assert await served.watchable(DEPLOYMENTS)
    assert not await served.watchable(Gvr("authorization.k8s.io", "v1", "subjectaccessreviews"))
    assert await served.namespaced(DEPLOYMENTS) is True
    assert await served.namespaced(ROLES) is False
    assert await served.preferred_version("apps") == "v1"
    assert await served.preferred_version("none.example.com") is None
    with pytest.raises(ObjectNotFoundError, match=r"none\.example\.com"):
        await served.kind_of(Gvr("none.example.com", "v1", "things"))


async def test_discovery_sees_a_resource_that_comes_later(
    client: KubeClient, admin: ApiClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was missing is asked for again, so that a new CRD needs no restart."""
    monkeypatch.setattr(discovery, "_MISS_SECONDS", 0.0)
    served = Discovery(client)
    await _define(admin, "firsts", "First")
    group = "kube-test.example.com"
    assert await served.kind_of(Gvr(group, "v1", "seconds")) is None

    await _define(admin, "seconds", "Second")

    assert await served.kind_of(Gvr(group, "v1", "seconds")) == Gvk(group, "v1", "Second")


async def _define(admin: ApiClient, plural: str, kind: str) -> None:
    """Make a CRD and wait until discovery shows it."""
    group = "kube-test.example.com"
    schema = {"openAPIV3Schema": {"type": "object"}}
    body = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": plural, "singular": kind.lower(), "kind": kind},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": schema}],
        },
    }
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    await admin.expect("POST", path, body=body)
    async with asyncio.timeout(30):
        while True:
            status, listing = await admin.request("GET", f"/apis/{group}/v1")
            if status == 200 and plural in {one["name"] for one in listing["resources"]}:
                return
            await asyncio.sleep(0.1)
