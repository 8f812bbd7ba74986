"""What a webhook does at a real API server (after the end-to-end tests of Kubernetes)."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from lictor.model.audit_record import AuditRecord
from testkit.client import APPLY_PATCH, JSON_PATCH, MERGE_PATCH, ApiClient
from testkit.world import GATE, World

pytestmark = pytest.mark.controlplane

HOOK = "open.validate.lictor.dev"
DENIED = f'admission webhook "{HOOK}" denied the request: '
WIDGETS = "/apis/gate.example.com/v1/namespaces/{namespace}/widgets"

Records = Callable[[str], list[AuditRecord]]
Audited = Callable[[str], list[dict[str, Any]]]


def config_map(name: str, data: dict[str, str] | None = None, **labels: str) -> dict[str, Any]:
    """A ConfigMap."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "labels": labels},
        "data": data or {},
    }


def maps(namespace: str, name: str = "") -> str:
    """The path of the ConfigMaps of a namespace, or of one of them."""
    return f"/api/v1/namespaces/{namespace}/configmaps" + (f"/{name}" if name else "")


def widget(name: str, colour: str, version: str = "v1") -> dict[str, Any]:
    """A custom resource."""
    return {
        "apiVersion": f"gate.example.com/{version}",
        "kind": "Widget",
        "metadata": {"name": name},
        "spec": {"colour": colour},
    }


async def test_gate_denies_a_create_and_says_how_to_mend_it(
    gate: World, admin: ApiClient, namespace: str
) -> None:
    """A denial reaches the user with code, reason and one line for each violated policy."""
    status, answer = await admin.request(
        "POST", maps(namespace), body=config_map("a", {"key": "bad"})
    )

    assert (status, answer["reason"]) == (403, "Forbidden")
    lines = answer["message"].removeprefix(DENIED).splitlines()
    assert len(lines) == 2
    assert "no-bad-data" in lines[0]
    assert "write something better than bad" in lines[0]
    assert "/data" in lines[0]
    assert "no-worse-data" in lines[1]
    assert gate.gate.running


async def test_gate_keeps_code_and_reason_of_the_policy(
    gate: World, admin: ApiClient, namespace: str
) -> None:
    """A policy that calls it Invalid answers 422."""
    status, answer = await admin.request(
        "POST", maps(namespace), body=config_map("a", {"hollow": ""})
    )

    assert (status, answer["reason"]) == (422, "Invalid")
    assert gate.gate.running


@pytest.mark.parametrize("verb", ["PUT", "merge", "json", "apply"])
async def test_gate_denies_every_way_of_updating(
    gate: World, admin: ApiClient, namespace: str, verb: str
) -> None:
    """PUT and every kind of PATCH are judged as the UPDATE that they are."""
    await admin.expect("POST", maps(namespace), body=config_map("a", {"key": "good"}))
    bad = config_map("a", {"key": "bad"})
    ways: dict[str, tuple[str, Any, str, dict[str, str]]] = {
        "PUT": ("PUT", bad, "application/json", {}),
        "merge": ("PATCH", {"data": {"key": "bad"}}, MERGE_PATCH, {}),
        "json": (
            "PATCH",
            [{"op": "replace", "path": "/data/key", "value": "bad"}],
            JSON_PATCH,
            {},
        ),
        "apply": ("PATCH", bad, APPLY_PATCH, {"fieldManager": "test", "force": "true"}),
    }
    method, body, content_type, query = ways[verb]

    status, answer = await admin.request(
        method, maps(namespace, "a"), body=body, content_type=content_type, query=query
    )

    assert status == 403
    assert "no-bad-data" in answer["message"]
    kept = await admin.expect("GET", maps(namespace, "a"))
    assert kept["data"] == {"key": "good"}
    assert gate.gate.running


async def test_gate_judges_what_is_deleted(gate: World, admin: ApiClient, namespace: str) -> None:
    """A DELETE is judged by the object that would go, a deletecollection one by one."""
    await admin.expect("POST", maps(namespace), body=config_map("kept", keep="1"))
    await admin.expect("POST", maps(namespace), body=config_map("loose"))

    status, answer = await admin.request("DELETE", maps(namespace, "kept"))
    collection, _ = await admin.request("DELETE", maps(namespace))
    loose, _ = await admin.request("DELETE", maps(namespace, "loose"))

    assert (status, collection) == (403, 403)
    assert "take the label keep off first" in answer["message"]
    assert loose in {200, 404}
    assert await admin.expect("GET", maps(namespace, "kept"))
    await admin.expect(
        "PATCH",
        maps(namespace, "kept"),
        body={"metadata": {"labels": {"keep": None}}},
        content_type=MERGE_PATCH,
    )
    await admin.expect("DELETE", maps(namespace, "kept"))
    assert gate.gate.running


async def test_gate_lets_no_broken_policy_silence_another(
    gate: World, admin: ApiClient, namespace: str, records: Records
) -> None:
    """A policy that fails is an error of its own; the others still deny, or admit."""
    denied, answer = await admin.request(
        "POST", maps(namespace), body=config_map("breaks-bad", {"key": "bad"}, **{"break": "0"})
    )
    admitted, _ = await admin.request(
        "POST", maps(namespace), body=config_map("breaks-good", **{"break": "0"})
    )
    strict, strictly = await admin.request(
        "POST", maps(namespace), body=config_map("breaks-strict", **{"break-strictly": "0"})
    )

    assert (denied, admitted, strict) == (403, 201, 403)
    assert "no-bad-data" in answer["message"]
    assert "broken-and-strict" in strictly["message"]
    (record,) = records("breaks-good")
    assert [(one.p, one.r) for one in record.viol] == [("broken-on-demand", "error")]
    assert 'lictor_policy_errors_total{origin="admission",policy="broken-on-demand"}' in (
        gate.metrics(GATE)
    )


async def test_gate_warns_and_audits_without_denying(
    gate: World, admin: ApiClient, namespace: str, audited: Audited
) -> None:
    """A warning reaches the client, what is only noted stands in the API server's audit log."""
    body = config_map("risky-and-odd", {"risky": "", "odd": ""})
    status, headers = await _post_raw(admin, maps(namespace), body)

    assert status == 201
    assert "think twice about the key risky" in headers.get("Warning", "")
    assert "odd is odd" not in headers.get("Warning", "")
    (event,) = audited("risky-and-odd")
    found = json.loads(event["annotations"][f"{HOOK}/violations"])
    assert {(one["policy"], one["action"]) for one in found} == {
        ("careful", "warn"),
        ("noted", "audit"),
    }
    assert gate.gate.running


async def test_gate_gives_its_receipt_to_the_audit_log_of_the_api_server(
    gate: World, admin: ApiClient, namespace: str, records: Records, audited: Audited
) -> None:
    """Both logs can be joined: the place of our record stands in the API server's own."""
    await admin.expect("POST", maps(namespace), body=config_map("joined"))

    (record,) = records("joined")
    (event,) = audited("joined")
    assert record.src is not None
    place = f"{record.src.writer}/{record.src.boot}/{record.src.wseq}"
    assert event["annotations"][f"{HOOK}/rec"] == place
    assert len(event["annotations"][f"{HOOK}/leaf"]) == 44
    assert event["annotations"][f"{HOOK}/owner"] == "nobody"
    assert record.req is not None
    assert record.req.ns == namespace
    assert record.req.obj.startswith("sha256:")
    assert gate.gate.running


async def test_gate_records_a_dry_run_as_one(
    gate: World, admin: ApiClient, namespace: str, records: Records
) -> None:
    """A dry run is judged and recorded, and attests nothing."""
    query = {"dryRun": "All"}
    good, _ = await admin.request(
        "POST", maps(namespace), body=config_map("rehearsed"), query=query
    )
    bad, _ = await admin.request(
        "POST", maps(namespace), body=config_map("rehearsed", {"key": "bad"}), query=query
    )

    assert (good, bad) == (201, 403)
    for record in records("rehearsed"):
        assert record.req is not None
        assert record.req.dry_run is True
        assert record.req.attest == ""
    assert len(records("rehearsed")) == 2
    assert gate.gate.running


async def test_gate_judges_only_the_namespaces_that_a_policy_selects(
    gate: World, admin: ApiClient, namespace: str, other_namespace: str
) -> None:
    """A namespace selector reads the labels of the namespace, also right after they changed."""
    skipped, _ = await admin.request("POST", maps(namespace), body=config_map("forbidden"))
    judged, answer = await admin.request(
        "POST", maps(other_namespace), body=config_map("forbidden")
    )

    assert (skipped, judged) == (201, 403)
    assert "judged-namespaces" in answer["message"]
    assert gate.gate.running


async def test_gate_reads_a_namespace_that_has_just_been_made(
    gate: World, admin: ApiClient
) -> None:
    """What the informer has not seen yet is asked for, not guessed."""
    for number in range(5):
        name = f"gate-new-{number}"
        await admin.create_namespace(name, labels={"judged": "true"})
        status, _ = await admin.request("POST", maps(name), body=config_map("forbidden"))
        await admin.delete_namespace(name)
        assert status == 403
    assert gate.gate.running


@pytest.mark.parametrize("name", ["kube-system", "lictor-system"])
async def test_gate_never_judges_what_must_stay_writable(
    gate: World, admin: ApiClient, name: str
) -> None:
    """Our own namespace and kube-system are not even sent to us."""
    status, _ = await admin.request("POST", maps(name), body=config_map("a", {"key": "bad"}))
    await admin.expect("DELETE", maps(name, "a"))

    assert status == 201
    assert gate.gate.running


async def test_gate_applies_match_conditions(gate: World, admin: ApiClient, namespace: str) -> None:
    """Everything is judged but what a match condition leaves out."""
    left_out, _ = await admin.request(
        "POST", maps(namespace), body=config_map("skip-me", picked="true")
    )
    judged, _ = await admin.request(
        "POST", maps(namespace), body=config_map("take-me", picked="true")
    )

    assert (left_out, judged) == (201, 403)
    assert gate.gate.running


async def test_gate_completes_in_order(
    gate: World, admin: ApiClient, namespace: str, records: Records
) -> None:
    """The second mutation sees what the first has made of the object."""
    made = await admin.expect("POST", maps(namespace), body=config_map("done", complete="true"))

    assert made["metadata"]["annotations"] == {"first": "1", "second": "2"}
    mutation, validation = records("done")
    assert mutation.dec is not None
    assert validation.dec is not None
    assert mutation.dec.patch.startswith("sha256:")
    assert validation.dec.patch == ""
    assert gate.gate.running


async def test_gate_leaves_defaults_to_the_api_server(
    gate: World, admin: ApiClient, namespace: str
) -> None:
    """What a mutation adds gets its defaults after us, as the rest of the object had before."""
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "web", "labels": {"init": "true"}},
        "spec": {"containers": [{"name": "web", "image": "registry.example.com/web:1"}]},
    }

    made = await admin.expect("POST", f"/api/v1/namespaces/{namespace}/pods", body=pod)

    (added,) = made["spec"]["initContainers"]
    assert added["name"] == "added"
    assert added["terminationMessagePolicy"] == "File"
    assert added["imagePullPolicy"] == "IfNotPresent"
    assert gate.gate.running


async def test_gate_denies_attaching(gate: World, admin: ApiClient, namespace: str) -> None:
    """CONNECT is judged before the connection is made."""
    status, answer = await admin.request(
        "POST", f"/api/v1/namespaces/{namespace}/pods/none/attach", query={"stdout": "true"}
    )

    assert status == 403
    assert "read the logs instead of attaching" in answer["message"]
    assert gate.gate.running


async def test_gate_judges_the_scale_subresource(
    gate: World, admin: ApiClient, namespace: str
) -> None:
    """Scaling is a write of its own resource, and is judged like one."""
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments"
    await admin.expect("POST", path, body=deployment("web", replicas=2))

    status, answer = await admin.request(
        "PATCH", f"{path}/web/scale", body={"spec": {"replicas": 9}}, content_type=MERGE_PATCH
    )

    assert status == 403
    assert "at most 5" in answer["message"]
    assert gate.gate.running


async def test_gate_judges_an_older_version_after_conversion(
    gate: World, admin: ApiClient, namespace: str, records: Records
) -> None:
    """A policy for v2 sees what is written as v1: the rules that we register name v2 alone."""
    autoscaler = {
        "apiVersion": "autoscaling/v1",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "old"},
        "spec": {
            "maxReplicas": 9,
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
        },
    }

    status, answer = await admin.request(
        "POST",
        f"/apis/autoscaling/v1/namespaces/{namespace}/horizontalpodautoscalers",
        body=autoscaler,
    )

    assert status == 403
    assert "small-autoscalers" in answer["message"]
    (record,) = records("old")
    assert record.req is not None
    assert record.req.gvk == ("autoscaling", "v2", "HorizontalPodAutoscaler")
    assert gate.gate.running


async def test_gate_judges_custom_resources(gate: World, admin: ApiClient, namespace: str) -> None:
    """Creating, updating and deleting a custom resource is judged like any other."""
    path = WIDGETS.format(namespace=namespace)

    created, _ = await admin.request("POST", path, body=widget("a", "bad"))
    await admin.expect("POST", path, body=widget("a", "gold"))
    updated, _ = await admin.request(
        "PATCH", f"{path}/a", body={"spec": {"colour": "bad"}}, content_type=MERGE_PATCH
    )
    deleted, answer = await admin.request("DELETE", f"{path}/a")

    assert (created, updated, deleted) == (403, 403, 403)
    assert "gold is kept" in answer["message"]
    await admin.expect(
        "PATCH", f"{path}/a", body={"spec": {"colour": "red"}}, content_type=MERGE_PATCH
    )
    await admin.expect("DELETE", f"{path}/a")
    assert gate.gate.running


async def test_gate_completes_custom_resources_in_the_version_of_the_policy(
    gate: World, admin: ApiClient, namespace: str
) -> None:
    """Written and stored in another version it is completed in ours, then pruned by its schema."""
    path = WIDGETS.format(namespace=namespace).replace("/v1/", "/v1alpha1/", 1)

    made = await admin.expect("POST", path, body=widget("b", "red", "v1alpha1"))

    assert made["apiVersion"] == "gate.example.com/v1alpha1"
    assert made["spec"] == {"colour": "red", "size": 7}
    assert gate.gate.running


async def test_gate_denies_a_resource_definition(gate: World, admin: ApiClient) -> None:
    """Cluster-scoped objects are judged, without a namespace."""
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "denied.gate.example.com", "labels": {"deny": ""}},
        "spec": {
            "group": "gate.example.com",
            "scope": "Namespaced",
            "names": {"plural": "denied", "kind": "Denied"},
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": {"type": "object"}},
                }
            ],
        },
    }

    status, answer = await admin.request(
        "POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", body=definition
    )

    assert status == 403
    assert "no-denied-definitions" in answer["message"]
    assert gate.gate.running


async def test_gate_cannot_block_webhook_configurations(gate: World, admin: ApiClient) -> None:
    """The API server asks no webhook about them: whoever is locked out can mend it."""
    path = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
    registered = await admin.expect("GET", f"{path}/lictor")
    webhook = {**registered["webhooks"][0], "failurePolicy": "Fail"}
    webhook["rules"] = [
        {
            "apiGroups": ["admissionregistration.k8s.io"],
            "apiVersions": ["*"],
            "operations": ["*"],
            "resources": ["*"],
        }
    ]
    # Nobody serves this path, so whatever were sent there would be refused.
    webhook["clientConfig"]["url"] += "/nobody"
    body = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "gate-test-lock"},
        "webhooks": [webhook],
    }
    await admin.expect("POST", path, body=body)
    await asyncio.sleep(1)

    updated, _ = await admin.request(
        "PATCH",
        f"{path}/gate-test-lock",
        body={"metadata": {"labels": {"a": "b"}}},
        content_type=MERGE_PATCH,
    )
    deleted, _ = await admin.request("DELETE", f"{path}/gate-test-lock")

    assert (updated, deleted) == (200, 200)
    assert gate.gate.running


async def test_gate_cannot_block_what_a_cluster_needs_to_start(
    gate: World, admin: ApiClient
) -> None:
    """Nodes and leases are kept out by match conditions, even where we fail closed."""
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "gate-test"}}
    lease = {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": "gate-test"},
    }
    leases = "/apis/coordination.k8s.io/v1/namespaces/default/leases"

    statuses = [
        (await admin.request("POST", "/api/v1/nodes", body=node))[0],
        (await admin.request("DELETE", "/api/v1/nodes/gate-test"))[0],
        (await admin.request("POST", leases, body=lease))[0],
        (await admin.request("DELETE", f"{leases}/gate-test"))[0],
    ]

    assert statuses == [201, 200, 201, 200]
    assert gate.gate.running


async def test_gate_counts_violations_by_policy_severity_owner_and_action(
    gate: World, admin: ApiClient
) -> None:
    """The metric routes a violation to the owner that the namespace names."""
    await admin.create_namespace("gate-owned", labels={"lictor.dev/owner": "team-shop"})
    await admin.request("POST", maps("gate-owned"), body=config_map("a", {"key": "worse"}))
    await admin.delete_namespace("gate-owned")

    text = gate.metrics(GATE)

    (line,) = [
        line
        for line in text.splitlines()
        if line.startswith("lictor_violations_total{") and 'policy="no-worse-data"' in line
        and 'owner="team-shop"' in line
    ]  # fmt: skip
    for label in ('severity="low"', 'action="deny"', 'origin="admission"'):
        assert label in line


async def test_gate_answers_many_at_once(
    gate: World, admin: ApiClient, namespace: str, records: Records
) -> None:
    """Each of many concurrent writes gets its own answer, and its own record."""

    async def write(number: int) -> int:
        body = config_map(f"many-{number}", {"key": "bad" if number % 2 else "good"})
        status, _ = await admin.request("POST", maps(namespace), body=body)
        return status

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(write(number)) for number in range(60)]

    assert [task.result() for task in tasks] == [201, 403] * 30
    assert all(len(records(f"many-{number}")) == 1 for number in (0, 1, 58, 59))
    assert gate.gate.running


def deployment(name: str, *, replicas: int = 1, value: str = "") -> dict[str, Any]:
    """A Deployment with one variable in its environment."""
    container = {
        "name": "web",
        "image": "registry.example.com/web:1",
        "env": [{"name": "VALUE", "value": value}],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [container]},
            },
        },
    }


async def _post_raw(
    admin: ApiClient, path: str, body: dict[str, Any]
) -> tuple[int, dict[str, str]]:
    """Post, and return the headers, which the client of the tests does not show."""
    await admin.request("GET", path)  # opens the session
    session = admin._session
    assert session is not None
    async with session.post(admin._url + path, json=body) as response:
        await response.read()
        return response.status, dict(response.headers)
