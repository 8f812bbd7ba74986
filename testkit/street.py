"""Tests of a running enforcer: they drift Deployments, and read what was done from outside."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

from lictor.ledger.reader import LedgerReader
from lictor.model.audit_record import AuditRecord, RecordType
from lictor.model.names import Uid
from lictor.stores.sqlite import open_stores
from testkit.client import JSON_PATCH, MERGE_PATCH, ApiClient
from testkit.process import StartError
from testkit.workloads import collection, deployment
from testkit.world import ENFORCER, World

T = TypeVar("T")

PATIENCE_SECONDS: Final = 20.0
_POLL_SECONDS: Final = 0.03
_START_SECONDS: Final = 60.0
"""A killed enforcer's Lease has to run out first."""
_QUIET_SECONDS: Final = 0.4
"""Longer than a watch takes, and than the enforcer's own tick."""


class Street:
    """One namespace of one test, under the eyes of an enforcer."""

    def __init__(self, world: World, client: ApiClient, namespace: str) -> None:
        """Watch over `namespace`; the enforcer of `world` runs."""
        self.world = world
        self.client = client
        self.namespace = namespace

    async def make(
        self,
        name: str = "web",
        *,
        owner: Mapping[str, Any] | None = None,
        **options: Any,  # noqa: ANN401 (as `deployment`)
    ) -> dict[str, Any]:
        """Create a good Deployment, owned or not, and wait until its baseline is kept."""
        body = deployment(name, **options)
        if owner is not None:
            body["metadata"]["ownerReferences"] = [_reference(owner)]
        made = await self.client.expect("POST", collection(self.namespace), body=body)
        await self.until(lambda: self.has_baseline(made["metadata"]["uid"]))
        return dict(made)

    @property
    def collection(self) -> str:
        """The URL path of the namespace's Deployments."""
        return collection(self.namespace)

    @staticmethod
    def body(name: str, **options: Any) -> dict[str, Any]:  # noqa: ANN401 (as `deployment`)
        """Return a Deployment to create."""
        return deployment(name, **options)

    def path(self, name: str = "web", subresource: str = "") -> str:
        """Return the URL path of a Deployment."""
        tail = f"/{subresource}" if subresource else ""
        return f"{collection(self.namespace)}/{name}{tail}"

    async def read(self, name: str = "web") -> dict[str, Any]:
        """Return a Deployment as it is now."""
        found: dict[str, Any] = await self.client.expect("GET", self.path(name))
        return found

    async def merge(
        self, patch: Mapping[str, Any], name: str = "web", *, subresource: str = ""
    ) -> dict[str, Any]:
        """Write a merge patch, as anybody could."""
        path = self.path(name, subresource)
        done: dict[str, Any] = await self.client.expect(
            "PATCH", path, body=dict(patch), content_type=MERGE_PATCH
        )
        return done

    async def patch(self, operations: list[dict[str, Any]], name: str = "web") -> dict[str, Any]:
        """Write a JSON Patch, as anybody could."""
        done: dict[str, Any] = await self.client.expect(
            "PATCH", self.path(name), body=operations, content_type=JSON_PATCH
        )
        return done

    async def label(self, name: str = "web", **labels: str | None) -> dict[str, Any]:
        """Set labels; None removes one."""
        return await self.merge({"metadata": {"labels": labels}}, name)

    async def ready(self, name: str = "web", *, replicas: int) -> None:
        """Say in the status that so many replicas are ready, as a controller would."""
        status = {"replicas": replicas, "readyReplicas": replicas}
        await self.merge({"status": status}, name, subresource="status")

    async def autoscale(self, name: str) -> None:
        """Let an autoscaler target a Deployment."""
        target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}
        body = {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": name},
            "spec": {"scaleTargetRef": target, "minReplicas": 1, "maxReplicas": 9},
        }
        path = f"/apis/autoscaling/v2/namespaces/{self.namespace}/horizontalpodautoscalers"
        await self.client.expect("POST", path, body=body)
        await self.settled()

    async def budget(self, demand: Mapping[str, Any], *, selector: Mapping[str, str]) -> None:
        """Make a disruption budget, with the status that a controller would give it."""
        path = f"/apis/policy/v1/namespaces/{self.namespace}/poddisruptionbudgets"
        body = {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": {"name": "budget"},
            "spec": {"selector": {"matchLabels": dict(selector)}, **demand},
        }
        await self.client.expect("POST", path, body=body)
        status = {"status": {"disruptionsAllowed": demand.get("maxUnavailable", 9)}}
        await self.client.expect(
            "PATCH", f"{path}/budget/status", body=status, content_type=MERGE_PATCH
        )
        await self.settled()

    @asynccontextmanager
    async def pause(self, *, seconds: int = 600, **scope: Sequence[str]) -> AsyncIterator[None]:
        """Pause what the scope names, until the context ends."""
        path = "/apis/lictor.dev/v1alpha1/pauses"
        body = {
            "apiVersion": "lictor.dev/v1alpha1",
            "kind": "Pause",
            "metadata": {"name": self.namespace},
            "spec": {"durationSeconds": seconds, "reason": "a test of pauses", "scope": scope},
        }
        await self.client.expect("POST", path, body=body)
        await self.settled()
        try:
            yield
        finally:
            await self.client.request("DELETE", f"{path}/{self.namespace}")

    async def leads(self) -> None:
        """Wait until the enforcer leads; the loop goes on, for a proxy in between.

        Raises:
            StartError: it ended.
        """
        await self.until(
            lambda: not self.world.enforcer.running or self.world.enforcer_leads(),
            seconds=_START_SECONDS,
        )
        if not self.world.enforcer.running:
            raise StartError(self.world.enforcer.log_tail())

    async def restart(self) -> None:
        """Kill the enforcer (SIGKILL), where it still runs, and start it again."""
        await asyncio.to_thread(self.world.enforcer.kill)
        self.world.enforcer.start(wait=False)
        await self.leads()

    async def settled(self) -> None:
        """Wait until the enforcer has nothing to do."""
        await asyncio.sleep(_QUIET_SECONDS)
        await self.until(lambda: self.metric("lictor_enforcer_queue_depth") == 0)
        await asyncio.sleep(_QUIET_SECONDS)

    async def reverted(self, label: str, name: str = "web") -> dict[str, Any]:
        """Wait until a label is gone again."""

        async def gone() -> dict[str, Any] | None:
            found = await self.read(name)
            return None if label in found["metadata"]["labels"] else found

        return await self.until_async(gone)

    async def held(self, uid: str, gate: str, *, policy: str = "") -> AuditRecord:
        """Wait for the record of a hold, and for the metric, and return the record."""
        labels = {"gate": gate} | ({"policy": policy} if policy else {})
        await self.until(lambda: self.metric("lictor_enforcer_gate_holds_total", **labels))
        return await self.until(
            lambda: next((one for one in self.outcomes(uid) if one.gate == gate), None)
        )

    def records(self, uid: str, *types: RecordType) -> list[AuditRecord]:
        """Return the enforcer's records about an object."""
        reader = LedgerReader(self.world.ledger(ENFORCER))
        found = (stored.record for stored in reader.records(types))
        return [one for one in found if one.obj is not None and one.obj.uid == uid]

    def outcomes(self, uid: str) -> list[AuditRecord]:
        """Return the outcomes about an object."""
        return self.records(uid, RecordType.REMEDIATION_OUTCOME)

    def has_baseline(self, uid: str) -> bool:
        """Return whether the last good state of an object is kept."""
        with open_stores(self.world.state) as stores:
            return stores.baselines.get(Uid(uid)) is not None

    def baseline(self, uid: str, text: str) -> bool:
        """Return whether the baseline of an object holds `text`."""
        with open_stores(self.world.state) as stores:
            found = stores.baselines.get(Uid(uid))
        return found is not None and text.encode() in (found.body or b"")

    def metric(self, name: str, **labels: str) -> float:
        """Return the sum of all samples of a metric that have these labels; 0 where none has."""
        total = 0.0
        for line in self.world.metrics(ENFORCER).splitlines():
            found = re.fullmatch(rf"{name}(?:\{{(.*)\}})? (\S+)", line)
            if (
                found
                and labels.items() <= dict(re.findall(r'(\w+)="([^"]*)"', found[1] or "")).items()
            ):
                total += float(found[2])
        return total

    async def events(self, name: str) -> list[dict[str, Any]]:
        """Return the Events about a Deployment."""
        path = f"/apis/events.k8s.io/v1/namespaces/{self.namespace}/events"
        found = await self.client.expect("GET", path)
        return [one for one in found["items"] if one["regarding"]["name"] == name]

    async def until(self, probe: Callable[[], T | None], *, seconds: float = PATIENCE_SECONDS) -> T:
        """Wait until `probe` gives something, and return it.

        Raises:
            TimeoutError: it gave nothing in time.
        """

        async def look() -> T | None:
            return probe()

        return await self.until_async(look, seconds=seconds)

    async def until_async(
        self, probe: Callable[[], Awaitable[T | None]], *, seconds: float = PATIENCE_SECONDS
    ) -> T:
        """Wait until the coroutine of `probe` gives something, and return it.

        Raises:
            TimeoutError: it gave nothing in time.
        """
        async with asyncio.timeout(seconds):
            while True:
                found = await probe()
                if found:
                    return found
                await asyncio.sleep(_POLL_SECONDS)


def _reference(owner: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
    }
