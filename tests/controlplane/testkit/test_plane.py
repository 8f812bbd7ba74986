"""The real control plane does what tests rely on."""

import json
import stat
from pathlib import Path

import aiohttp
import pytest

from testkit.arguments import PlaneOptions
from testkit.client import MERGE_PATCH, ApiClient
from testkit.plane import Plane
from testkit.process import StartError
from testkit.proxy import Point

pytestmark = pytest.mark.controlplane

CONFIG_MAP = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one"}}
POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "one"},
    "spec": {"containers": [{"name": "main", "image": "example.test/app:1"}]},
}


async def test_plane_knows_its_version(admin: ApiClient) -> None:
    """The API server tells the version that was built."""
    version = await admin.expect("GET", "/version")

    assert version["gitVersion"] == "v1.36.3"


async def test_plane_refuses_a_user_without_rights(plane: Plane, namespace: str) -> None:
    """RBAC is on: a certificate without bindings may do nothing."""
    async with plane.client("nobody", ("team-a",)) as client:
        status, answer = await client.request("GET", f"/api/v1/namespaces/{namespace}/pods")

    assert status == 403
    assert 'User "nobody" cannot list resource "pods"' in answer["message"]


async def test_plane_admits_a_pod_in_a_fresh_namespace(admin: ApiClient, namespace: str) -> None:
    """The default ServiceAccount is there, so a Pod is admitted."""
    status, _ = await admin.request("POST", f"/api/v1/namespaces/{namespace}/pods", body=POD)

    assert status == 201


async def test_plane_names_the_service_account_of_a_token(plane: Plane, namespace: str) -> None:
    """A token of a ServiceAccount is an identity of its own."""
    token = await plane.token(namespace, "default")
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}

    async with plane.client_with_token(token) as client:
        answer = await client.expect(
            "POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", body=review
        )

    user = answer["status"]["userInfo"]["username"]
    assert user == f"system:serviceaccount:{namespace}:default"


async def test_plane_audits_at_metadata_level(
    plane: Plane, admin: ApiClient, namespace: str
) -> None:
    """Every request is in the audit log, without its body."""
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    await admin.expect("POST", path, body=CONFIG_MAP)
    await admin.expect("PATCH", f"{path}/one", body={"data": {"a": "b"}}, content_type=MERGE_PATCH)

    events = [json.loads(line) for line in plane.audit_log.read_text().splitlines()]

    mine = [e for e in events if e["requestURI"].startswith(f"{path}/one")]
    assert [(e["verb"], e["level"], "requestObject" in e) for e in mine] == [
        ("patch", "Metadata", False)
    ]


async def test_delete_namespace_leaves_nothing_behind(plane: Plane, admin: ApiClient) -> None:
    """Without a controller manager too, a namespace goes with all that is in it."""
    await admin.create_namespace("short-lived")
    await admin.expect("POST", "/api/v1/namespaces/short-lived/pods", body=POD)

    await admin.delete_namespace("short-lived")

    status, _ = await admin.request("GET", "/api/v1/namespaces/short-lived")
    assert status == 404
    pods = await admin.expect("GET", "/api/v1/pods")
    assert "short-lived" not in [pod["metadata"]["namespace"] for pod in pods["items"]]
    assert plane.apiserver.running


def test_kubeconfig_of_a_service_account_is_private(plane: Plane) -> None:
    """The files that carry a secret are readable by their owner only."""
    path = plane.kubeconfig("someone", ("team-a",))
    key = plane.credentials("someone", ("team-a",)).key

    assert {stat.S_IMODE(file.stat().st_mode) for file in (path, key)} == {0o600}


async def test_apiserver_killed_comes_back_at_the_same_address(fresh_plane: Plane) -> None:
    """What was acknowledged before a kill of the API server is there after its restart."""
    url = fresh_plane.url
    async with fresh_plane.client() as client:
        await client.create_namespace("kept")
    fresh_plane.apiserver.kill()
    assert not fresh_plane.apiserver.running

    fresh_plane.apiserver.start()

    assert fresh_plane.url == url
    async with fresh_plane.client() as client:
        await client.expect("GET", "/api/v1/namespaces/kept")


async def test_apiserver_frozen_answers_after_the_thaw(fresh_plane: Plane) -> None:
    """A frozen API server times out; thawed, it goes on."""
    fresh_plane.apiserver.freeze()
    async with fresh_plane.client() as client:
        with pytest.raises(TimeoutError):
            await client.request("GET", "/readyz", timeout_seconds=0.5)
    fresh_plane.apiserver.thaw()

    async with fresh_plane.client() as client:
        status, _ = await client.request("GET", "/readyz")

    assert status == 200


async def test_planes_stand_side_by_side(plane: Plane, fresh_plane: Plane) -> None:
    """Two planes share no address, no authority and no object."""
    async with fresh_plane.client() as client:
        await client.create_namespace("only-here")
    async with plane.client() as client:
        status, _ = await client.request("GET", "/api/v1/namespaces/only-here")

    assert status == 404
    assert plane.url != fresh_plane.url
    assert plane.ca_file.read_bytes() != fresh_plane.ca_file.read_bytes()


async def test_controller_manager_makes_pods_of_a_deployment() -> None:
    """With the controller manager a Deployment becomes Pod objects and a namespace ends."""
    labels = {"app": "web"}
    template = {"metadata": {"labels": labels}, "spec": POD["spec"]}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": template},
    }
    with Plane.launch(PlaneOptions(controller_manager=True)) as plane:
        async with plane.client() as client:
            await client.create_namespace("work")
            path = "/apis/apps/v1/namespaces/work/deployments"
            await client.expect("POST", path, body=deployment)
            pods: list[object] = []
            while not pods:
                pods = (await client.expect("GET", "/api/v1/namespaces/work/pods"))["items"]
            await client.expect("DELETE", "/api/v1/namespaces/work")
            await client.wait_for("/api/v1/namespaces/work", status=404)


async def test_plane_proxy_stops_a_write_of_a_service_account(
    plane: Plane, admin: ApiClient, namespace: str
) -> None:
    """A write that the proxy cuts after it was answered is in the cluster, and its client fails."""
    rules = "/apis/rbac.authorization.k8s.io/v1"
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}
    subject = {"kind": "ServiceAccount", "name": "default", "namespace": namespace}
    binding = {"metadata": {"name": "all"}, "roleRef": role, "subjects": [subject]}
    await admin.expect("POST", f"{rules}/namespaces/{namespace}/rolebindings", body=binding)
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    async with plane.proxy().running() as proxy:
        token = await plane.token(namespace, "default")
        async with ApiClient(proxy.url, plane.authority.client_context(), token=token) as client:
            await client.wait_for(path)  # the API server learns of a binding by its own watch
            proxy.traps.cut(lambda e: e.point is Point.RESPONSE and e.method == "POST")
            with pytest.raises(aiohttp.ClientError):
                await client.request("POST", path, body=CONFIG_MAP)
            kept = await client.expect("GET", f"{path}/one")

    assert kept["metadata"]["name"] == "one"


def test_plane_launch_reports_the_log_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a program refuses to start, its own words are in the error, and all else is gone."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    with pytest.raises(StartError, match="unknown flag: --no-such-flag"):
        Plane.launch(PlaneOptions(extra_apiserver=("--no-such-flag",)))

    assert list(tmp_path.glob("lictor-plane-*")) == []
    processes = [command_line(path) for path in Path("/proc").glob("[0-9]*/cmdline")]
    assert [command for command in processes if str(tmp_path).encode() in command] == []


def test_plane_stop_ends_every_program() -> None:
    """Afterwards no process and no file of the plane is left."""
    plane = Plane.launch()
    pids = [child.pid for child in plane.children]
    assert all(Path(f"/proc/{pid}").exists() for pid in pids)

    plane.stop()
    plane.stop()

    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    assert not plane.directory.exists()


def command_line(path: Path) -> bytes:
    """Return the command line of a process; empty where it has ended meanwhile."""
    try:
        return path.read_bytes()
    except OSError:
        return b""
