"""What happens when the gate is away, slow, misregistered, or one of several."""

import asyncio
import base64
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from testkit.client import MERGE_PATCH, ApiClient
from testkit.plane import Plane
from testkit.process import Child
from testkit.world import GATE, NAMESPACE, World, WorldOptions

pytestmark = pytest.mark.controlplane

VALIDATING = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/lictor"
SECRET = f"/api/v1/namespaces/{NAMESPACE}/secrets/lictor-gate-tls"
RESTORED_SECONDS = 40.0


def config_map(name: str, value: str) -> dict[str, Any]:
    """What the class `open` judges."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name},
        "data": {"key": value},
    }


def service(name: str, **labels: str) -> dict[str, Any]:
    """What the class `closed` judges."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "labels": labels},
        "spec": {"ports": [{"port": 80}]},
    }


async def write(admin: ApiClient, namespace: str, body: dict[str, Any]) -> tuple[int, str, float]:
    """Create the object; return status, message and how long it took."""
    began = time.monotonic()
    status, answer = await admin.request(
        "POST", f"/api/v1/namespaces/{namespace}/{body['kind'].lower()}s", body=body
    )
    return status, answer.get("message", ""), time.monotonic() - began


async def test_closed_class_judges_while_the_gate_is_there(
    gate: World, admin: ApiClient, namespace: str
) -> None:
    """A fail-closed class is a webhook of its own."""
    good, _, _ = await write(admin, namespace, service("good"))
    bad, message, _ = await write(admin, namespace, service("bad", hidden="1"))

    assert (good, bad) == (201, 403)
    assert 'admission webhook "closed.validate.lictor.dev" denied' in message
    assert gate.gate.running


async def test_failure_policy_decides_while_the_gate_is_away(
    gate: World, admin: ApiClient, namespace: str
) -> None:
    """Without a gate, what fails open is admitted and what fails closed is refused."""
    gate.gate.kill()

    opened, _, _ = await write(admin, namespace, config_map("a", "bad"))
    closed, message, _ = await write(admin, namespace, service("good"))
    gate.gate.start()
    judged, _, _ = await write(admin, namespace, config_map("b", "bad"))

    assert (opened, closed, judged) == (201, 500, 403)
    assert "failed calling webhook" in message


async def test_failure_policy_decides_when_the_gate_is_too_slow(
    gate: World, admin: ApiClient, namespace: str
) -> None:
    """The API server waits `timeoutSeconds` of the class, and no longer."""
    await write(admin, namespace, config_map("a", "good"))
    gate.gate.freeze()

    closed, message, closed_seconds = await write(admin, namespace, service("good"))
    began = time.monotonic()
    opened, _ = await admin.request(
        "PATCH",
        f"/api/v1/namespaces/{namespace}/configmaps/a",
        body={"data": {"key": "bad"}},
        content_type=MERGE_PATCH,
    )
    opened_seconds = time.monotonic() - began
    gate.gate.thaw()
    judged, _, _ = await write(admin, namespace, config_map("b", "bad"))

    assert (closed, opened, judged) == (500, 200, 403)
    assert "context deadline exceeded" in message or "timeout" in message.lower()
    assert 1.5 < closed_seconds < 4
    assert 4.5 < opened_seconds < 8


async def test_registration_is_restored_and_trusted_again(
    gate: World, admin: ApiClient, namespace: str
) -> None:
    """With a CA that does not fit nobody is asked; within half a minute that is mended."""
    before = await admin.expect("GET", VALIDATING)
    webhooks = [
        {**one, "clientConfig": {**one["clientConfig"], "caBundle": _other_authority(gate)}}
        for one in before["webhooks"]
    ]
    await admin.expect("PATCH", VALIDATING, body={"webhooks": webhooks}, content_type=MERGE_PATCH)
    edited = time.monotonic()
    await _until(lambda: _status(admin, namespace, config_map("a", "bad")), is_=201)

    closed, message, _ = await write(admin, namespace, service("good"))
    await _until(lambda: _restored(admin, before), is_=True)
    await _until(lambda: _status(admin, namespace, config_map("c", "bad")), is_=403)

    assert closed == 500
    assert "x509" in message
    assert time.monotonic() - edited < RESTORED_SECONDS
    assert "registration.drift" in gate.gate.log.read_text()


async def test_gate_stops_cleanly_and_another_replica_takes_over(
    gate: World,
    admin: ApiClient,
    namespace: str,
    plane: Plane,
    tmp_path: Path,
) -> None:
    """A second replica serves with the same certificate, and leads when the first has stopped."""
    options = WorldOptions(
        policies=gate.options.policies, gate=gate.options.gate, audit={"writer": "w1"}
    )
    second = World(plane, tmp_path, options)
    await second.prepare(admin)
    second.gate.start()
    try:
        first_url = await _url(admin)
        code = gate.gate.stop()
        await _until(lambda: _leads_to(admin, second), is_=True)
        status = 0
        for number in range(20):
            status, _, _ = await write(admin, namespace, config_map(f"a-{number}", "bad"))
            if status == 403:
                break
            await asyncio.sleep(0.1)
        second_code = second.gate.stop()
    finally:
        second.stop()
    gate.gate.start()
    await _until(lambda: _leads_to(admin, gate), is_=True)

    assert str(gate.gate_port) in first_url
    assert (code, second_code) == (0, 0)
    assert status == 403
    assert "lease.lost" not in second.gate.log.read_text()


async def test_gate_refuses_to_start_with_the_exit_code_that_says_why(
    gate: World,
    plane: Plane,
    tmp_path: Path,
) -> None:
    """Configuration 2, ledger 4, rights 5: whoever restarts it can tell them apart."""
    law = tmp_path / "policy.yaml"
    law.write_text("apiVersion: lictor.dev/v1alpha1\nkind: Policy\nmetadata: {nam: x}\n")
    config = str(gate.config(GATE))
    nobody = plane.kubeconfig("nobody", ())
    run = ("gate", "run", "--config", config, "--set", "gate.port=0", "--set", "gate.metricsPort=0")

    wrong = gate.command(*run, "--set", f"policies.paths=[{law}]")
    locked = gate.command(*run)
    refused = gate.command(*run, "--set", f"cluster.kubeconfig={nobody}")

    assert (wrong.returncode, locked.returncode, refused.returncode) == (2, 4, 5)
    assert "policy.yaml" in wrong.stderr
    assert "namespaces" in refused.stderr


async def test_gate_stops_cleanly_while_it_waits_for_the_api_server(
    gate: World,
    plane: Plane,
    tmp_path: Path,
) -> None:
    """A start that cannot go on yet is no failure, and ends at once when it is told to."""
    away = tmp_path / "away.kubeconfig"
    away.write_text(plane.kubeconfig().read_text().replace(plane.url, "https://127.0.0.1:1"))
    flags = [f"cluster.kubeconfig={away}", f"audit.path={tmp_path}/ledger"]
    flags += ["gate.port=0", "gate.metricsPort=0"]
    argv = [*gate.gate.argv, *(word for flag in flags for word in ("--set", flag))]
    log = tmp_path / "gate.log"
    child = Child(argv, log, ready=lambda: "cluster.unavailable" in log.read_text())
    child.start()

    began = time.monotonic()
    code = child.stop()

    assert code == 0
    assert time.monotonic() - began < 5


async def test_strict_audit_leaves_it_to_the_failure_policy(
    gate: World,
    admin: ApiClient,
    namespace: str,
    plane: Plane,
    tmp_path: Path,
) -> None:
    """In `blocking-strict` a decision that cannot be recorded is no answer."""
    gate.gate.stop()
    options = WorldOptions(
        policies=gate.options.policies,
        gate=gate.options.gate,
        audit={"mode": "blocking-strict", "waitBudgetSeconds": 0},
    )
    strict = World(plane, tmp_path, options)
    await strict.prepare(admin)
    strict.gate.start()
    try:
        await _until(lambda: _leads_to(admin, strict), is_=True)
        closed = await _until_said(admin, namespace, "could not be recorded")
        opened, _, _ = await write(admin, namespace, config_map("unrecorded", "bad"))
    finally:
        strict.stop()
    gate.gate.start()
    await _until(lambda: _leads_to(admin, gate), is_=True)

    assert closed == 500
    assert opened == 201


async def test_uninstall_frees_the_cluster_while_the_gate_runs(
    gate: World, admin: ApiClient, namespace: str, plane: Plane
) -> None:
    """After it nothing is sent to the gate, nothing is refused, and nothing comes back."""
    done = await asyncio.to_thread(
        gate.command,
        "gate",
        "uninstall",
        "--config",
        str(gate.config(GATE)),
        "--set",
        f"cluster.kubeconfig={plane.kubeconfig()}",
    )
    paths = (VALIDATING, VALIDATING.replace("validating", "mutating"), SECRET)
    gone = [(await admin.request("GET", path))[0] for path in paths]
    was_running = gate.gate.running
    gate.gate.stop()
    status, _, _ = await write(admin, namespace, service("free", hidden="1"))
    still = [(await admin.request("GET", path))[0] for path in paths]

    assert done.returncode == 0, done.stderr
    assert was_running
    assert gone == still == [404, 404, 404]
    assert status == 201
    # The lease is ours to give back: the next test's gate need not wait for it.
    await admin.request(
        "DELETE", f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/lictor-gate"
    )


def _other_authority(gate: World) -> str:
    return base64.b64encode(gate.plane.ca_file.read_bytes()).decode()


async def _status(admin: ApiClient, namespace: str, body: dict[str, Any]) -> int:
    name = f"{body['metadata']['name']}-{time.monotonic_ns()}"
    status, _, _ = await write(admin, namespace, {**body, "metadata": {"name": name}})
    return status


async def _restored(admin: ApiClient, before: dict[str, Any]) -> bool:
    _, found = await admin.request("GET", VALIDATING)
    return bool(found["webhooks"] == before["webhooks"])


async def _url(admin: ApiClient) -> str:
    found = await admin.expect("GET", VALIDATING)
    return str(found["webhooks"][0]["clientConfig"]["url"])


async def _leads_to(admin: ApiClient, world: World) -> bool:
    return f":{world.gate_port}/" in await _url(admin)


async def _until_said(admin: ApiClient, namespace: str, text: str) -> int:
    """Write until the API server has taken up the new registration; return the status."""
    async with asyncio.timeout(10):
        while True:
            name = f"s-{time.monotonic_ns()}"
            status, message, _ = await write(admin, namespace, service(name))
            if text in message:
                return status
            await asyncio.sleep(0.1)


async def _until(probe: Callable[[], Any], *, is_: object) -> None:
    async with asyncio.timeout(RESTORED_SECONDS):
        while True:
            if await probe() == is_:
                return
            await asyncio.sleep(0.2)
