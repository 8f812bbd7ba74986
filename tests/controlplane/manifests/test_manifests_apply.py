"""The manifests on a real API server: strictly valid, applied twice without a difference."""

import asyncio
import copy
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from testkit.binaries import Missing, find
from testkit.client import APPLY_PATCH, ApiClient
from testkit.manifests import BASE, cluster_objects, objects, path_of
from testkit.plane import Plane

pytestmark = pytest.mark.controlplane

GATE = "system:serviceaccount:lictor-system:lictor-gate"
ENFORCER = "system:serviceaccount:lictor-system:lictor-enforcer"
STRICT = {"fieldManager": "lictor-install", "fieldValidation": "Strict"}


async def _apply(client: ApiClient, body: dict[str, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = await client.expect(
        "PATCH", path_of(body), body=body, content_type=APPLY_PATCH, query=STRICT
    )
    return answer


@pytest.fixture(scope="module")
def installed() -> Iterator[Plane]:
    """A plane of this module with everything that is not a workload."""

    async def install(plane: Plane) -> None:
        async with plane.client() as client:
            for body in cluster_objects():
                await _apply(client, body)
            await client.wait_for("/apis/lictor.dev/v1alpha1/pauses")

    with Plane.launch() as plane:
        asyncio.run(install(plane))
        yield plane


async def test_manifests_apply_twice_without_a_difference(fresh_plane: Plane) -> None:
    """Server-side apply with strict validation takes all, and a second time changes nothing."""
    async with fresh_plane.client() as client:
        first = [await _apply(client, body) for body in objects()]
        second = [await _apply(client, body) for body in objects()]

    changed = [
        path_of(one)
        for one, other in zip(first, second, strict=True)
        if _settled(one) != _settled(other)
    ]
    assert len(first) > 20
    assert changed == []


def _settled(body: dict[str, Any]) -> dict[str, Any]:
    """Leave out what the API server writes by itself meanwhile.

    That is the status of a CRD; and it stores a claim again, unchanged, at its second apply.
    """
    body = copy.deepcopy(body)
    if body["kind"] in {"CustomResourceDefinition", "PersistentVolumeClaim"}:
        del body["status"], body["metadata"]["resourceVersion"]
    if body["kind"] == "CustomResourceDefinition":
        del body["metadata"]["managedFields"]
    return body


def test_manifests_reader_agrees_with_kustomize() -> None:
    """What our own reader makes of the kustomization is what kustomize makes of it."""
    kubectl = find("kubectl")
    if isinstance(kubectl, Missing):
        pytest.skip(kubectl.reason)

    out = subprocess.run(
        [kubectl, "kustomize", str(BASE)], capture_output=True, text=True, check=True, timeout=60
    ).stdout

    rendered = {path_of(body): body for body in yaml.safe_load_all(out)}
    assert rendered == {path_of(body): body for body in objects()}


async def _pause(client: ApiClient, name: str, **spec: object) -> tuple[int, Any]:
    body = {
        "apiVersion": "lictor.dev/v1alpha1",
        "kind": "Pause",
        "metadata": {"name": name},
        "spec": {"durationSeconds": 60, "reason": "maintenance of the shop", **spec},
    }
    return await client.request(
        "POST", "/apis/lictor.dev/v1alpha1/pauses", body=body, query={"fieldValidation": "Strict"}
    )


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        pytest.param({"durationSeconds": 14_401}, "less than or equal to 14400", id="too-long"),
        pytest.param({"durationSeconds": 0}, "greater than or equal to 1", id="nothing"),
        pytest.param({"reason": ""}, "at least 8 chars", id="no-reason"),
        pytest.param({"scope": {"components": ["all"]}}, "Unsupported value", id="component"),
        pytest.param({"scope": {"namespaces": ["Shop"]}}, "should match", id="namespace"),
        pytest.param({"until": "tomorrow"}, "unknown field", id="unknown-field"),
    ],
)
async def test_pause_schema_refuses(installed: Plane, spec: dict[str, object], said: str) -> None:
    """A pause is bounded by its schema: no webhook has to be alive for that."""
    async with installed.client() as client:
        status, answer = await _pause(client, "too-much", **spec)

    assert status in {400, 422}
    assert said in answer["message"]


async def test_pause_can_be_shortened_but_not_prolonged(installed: Plane) -> None:
    """Its end only ever comes nearer, and its reason and scope stay what was recorded."""
    path = "/apis/lictor.dev/v1alpha1/pauses/lunch"
    async with installed.client() as client:
        created, _ = await _pause(client, "lunch", scope={"components": ["enforcer"]})
        answers = [
            (await client.request("PATCH", path, body={"spec": spec},
                                  content_type="application/merge-patch+json"))[0]
            for spec in (
                {"durationSeconds": 30},
                {"durationSeconds": 61},
                {"reason": "something else entirely"},
                {"scope": {"components": ["gate"]}},
                {"scope": None},
            )
        ]  # fmt: skip

    assert created == 201
    assert answers == [200, 422, 422, 422, 422]


async def _may(client: ApiClient, user: str, verb: str, what: str) -> bool:
    """Ask the API server's authorizer; `what` is `resource.group[/name][@namespace]`."""
    what, _, namespace = what.partition("@")
    what, _, name = what.partition("/")
    resource, _, group = what.partition(".")
    attributes = {
        "verb": verb, "resource": resource, "group": group, "name": name, "namespace": namespace
    }  # fmt: skip
    answer = await client.expect(
        "POST",
        "/apis/authorization.k8s.io/v1/subjectaccessreviews",
        body={
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {
                "user": user,
                "groups": ["system:serviceaccounts", "system:authenticated"],
                "resourceAttributes": attributes,
            },
        },
    )
    return bool(answer["status"]["allowed"])


_WEBHOOKS = "validatingwebhookconfigurations.admissionregistration.k8s.io"
_MUTATING = "mutatingwebhookconfigurations.admissionregistration.k8s.io"

NEEDED = [
    (GATE, "list watch get", "namespaces"),
    (GATE, "create", _WEBHOOKS),
    (GATE, "get update delete", f"{_WEBHOOKS}/lictor"),
    (GATE, "create", _MUTATING),
    (GATE, "get update delete", f"{_MUTATING}/lictor"),
    (GATE, "create", "secrets@lictor-system"),
    (GATE, "get update delete", "secrets/lictor-gate-tls@lictor-system"),
    (GATE, "create", "leases.coordination.k8s.io@lictor-system"),
    (GATE, "get update", "leases.coordination.k8s.io/lictor-gate@lictor-system"),
    (ENFORCER, "get list watch patch", "deployments.apps@shop"),
    (ENFORCER, "get list watch patch", "statefulsets.apps@shop"),
    (ENFORCER, "get list watch patch", "daemonsets.apps@shop"),
    (ENFORCER, "get list watch patch", "pods@shop"),
    (ENFORCER, "get", "replicasets.apps@shop"),
    (ENFORCER, "list watch get", "namespaces"),
    (ENFORCER, "list watch", "horizontalpodautoscalers.autoscaling@shop"),
    (ENFORCER, "list watch", "poddisruptionbudgets.policy@shop"),
    (ENFORCER, "list watch", "pauses.lictor.dev"),
    (ENFORCER, "create", "events.events.k8s.io@shop"),
    (ENFORCER, "create", "leases.coordination.k8s.io@lictor-system"),
    (ENFORCER, "get update", "leases.coordination.k8s.io/lictor-enforcer@lictor-system"),
]

FORBIDDEN = [
    (GATE, "get list watch", "secrets@shop"),
    (GATE, "get update list watch", "secrets/other@lictor-system"),
    (GATE, "list watch patch", "secrets/lictor-gate-tls@lictor-system"),
    (GATE, "list watch deletecollection", _WEBHOOKS),
    (GATE, "get update patch delete", f"{_WEBHOOKS}/other"),
    (GATE, "get update", "leases.coordination.k8s.io/kube-controller-manager@kube-system"),
    (GATE, "get update", "leases.coordination.k8s.io/lictor-enforcer@lictor-system"),
    (GATE, "create update patch delete", "namespaces"),
    (GATE, "get patch", "deployments.apps@shop"),
    (GATE, "create patch delete", "pauses.lictor.dev"),
    (ENFORCER, "create update delete deletecollection", "deployments.apps@shop"),
    (ENFORCER, "create update delete deletecollection", "pods@shop"),
    (ENFORCER, "create", "pods/exec@shop"),
    (ENFORCER, "get list watch", "secrets@shop"),
    (ENFORCER, "get", "secrets/lictor-gate-tls@lictor-system"),
    (ENFORCER, "create update patch delete", "namespaces"),
    (ENFORCER, "create update patch delete", "pauses.lictor.dev"),
    (ENFORCER, "patch delete", "horizontalpodautoscalers.autoscaling@shop"),
    (ENFORCER, "create update delete", f"{_WEBHOOKS}/lictor"),
    (ENFORCER, "bind escalate", "clusterroles.rbac.authorization.k8s.io"),
    (ENFORCER, "impersonate", "users"),
]


async def test_accounts_may_do_what_they_need_and_nothing_else(installed: Plane) -> None:
    """Each right that the code uses is granted, and the tempting ones beside it are not."""
    async with installed.client() as client:
        missing = [
            (user, verb, what)
            for user, verbs, what in NEEDED
            for verb in verbs.split()
            if not await _may(client, user, verb, what)
        ]
        surplus = [
            (user, verb, what)
            for user, verbs, what in FORBIDDEN
            for verb in verbs.split()
            if await _may(client, user, verb, what)
        ]

    assert missing == []
    assert surplus == []
