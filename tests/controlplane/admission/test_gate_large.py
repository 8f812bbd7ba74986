"""Reviews are much larger than their objects: `<` travels as six bytes, in both states."""

from typing import Any

import pytest

from lictor.ledger.reader import LedgerReader
from lictor.model.audit_record import RecordType
from testkit.client import JSON_PATCH, ApiClient
from testkit.world import GATE, World

pytestmark = pytest.mark.controlplane

MEGABYTE = 1_000_000


def deployment(*, value: str, replicas: int = 1) -> dict[str, Any]:
    """A Deployment that carries `value` in its environment."""
    container = {
        "name": "web",
        "image": "registry.example.com/web:1",
        "env": [{"name": "A", "value": value}],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "large"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "large"}},
            "template": {
                "metadata": {"labels": {"app": "large"}},
                "spec": {"containers": [container]},
            },
        },
    }


async def test_gate_judges_a_review_of_twelve_megabytes(
    gate: World, admin: ApiClient, namespace: str
) -> None:
    """An innocent update that makes a large review is admitted, its violating twin is denied."""
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments"
    await admin.expect("POST", path, body=deployment(value="<" * MEGABYTE))

    innocent, _ = await admin.request(
        "PUT", f"{path}/large", body=deployment(value="<" * MEGABYTE, replicas=2)
    )
    violating, answer = await admin.request(
        "PUT", f"{path}/large", body=deployment(value="<" * MEGABYTE, replicas=9)
    )

    assert (innocent, violating) == (200, 403)
    assert "at most 5" in answer["message"]
    assert max(_sizes(gate, namespace)) > 12 * MEGABYTE


async def test_gate_denies_a_review_over_the_limit(
    gate: World, admin: ApiClient, namespace: str
) -> None:
    """What is too large to be read is denied, though the webhook fails open."""
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments"
    # etcd keeps 1.5 MB of it, the API server takes 3 MB from a client: together they pass 32 MiB.
    await admin.expect("POST", path, body=deployment(value="<" * (14 * MEGABYTE // 10)))
    patch = [
        {
            "op": "add",
            "path": "/spec/template/spec/containers/0/env/1",
            "value": {"name": "B", "value": "<" * (29 * MEGABYTE // 10)},
        }
    ]

    status, answer = await admin.request(
        "PATCH", f"{path}/large", body=patch, content_type=JSON_PATCH
    )
    again, _ = await admin.request("PUT", f"{path}/large", body=deployment(value="<", replicas=2))

    assert status == 413
    assert answer["reason"] == "RequestEntityTooLarge"
    assert "at most 33554432 are read" in answer["message"]
    assert again == 200
    refused = [
        stored.record
        for stored in LedgerReader(gate.ledger(GATE)).records([RecordType.ADMISSION_DECISION])
        if stored.record.detail == {"fault": "too-large"}
    ]
    assert len(refused) == 1
    assert 'lictor_gate_malformed_reviews_total{fault="too-large"} 1.0' in gate.metrics(GATE)


def _sizes(gate: World, namespace: str) -> list[int]:
    return [
        stored.record.req.bytes or 0
        for stored in LedgerReader(gate.ledger(GATE)).records([RecordType.ADMISSION_DECISION])
        if stored.record.req is not None and stored.record.req.ns == namespace
    ]
