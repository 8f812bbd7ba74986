"""How long a bad write lives: from its sending to the verified revert, with the real enforcer.

The gate does not run, so every bad write gets in. Settle is 0 and the budget open, so this is the
time of the loop itself: watch, judge, plan, intent, dry run, write, read, outcome. The end is the
time in the record of the outcome, which is made after the object was read again.
"""

import asyncio
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Final

from benchmarks.machine import keep, percentiles
from lictor.ledger.reader import LedgerReader
from lictor.model.audit_record import RecordType
from lictor.system import SystemClock
from testkit import workloads
from testkit.client import ApiClient
from testkit.plane import Plane
from testkit.world import ENFORCER, World, WorldOptions

DRIFTS: Final = 200
NAMESPACE: Final = "shop"
GAP_SECONDS: Final = 0.1
PATIENCE_SECONDS: Final = 60.0
GOAL_P95_MS: Final = 1_000
OPTIONS: Final = WorldOptions(
    enforce=("no-privileged-containers", "allowed-registries"),
    enforcer={"budget": {"policyObjects": 1_000_000, "clusterWrites": 1_000_000}},
)


async def measure() -> None:
    """Make `DRIFTS` objects go bad one after the other, and keep the times of their repairs."""
    with Plane.launch() as plane, tempfile.TemporaryDirectory() as folder:
        world = World(plane, Path(folder), OPTIONS)
        async with plane.client() as client:
            try:
                await _good_objects(world, client)
                written = await _go_bad(client)
                times = await _repaired(world, written)
                still_bad = await _still_bad(client)
            finally:
                world.stop()
    if still_bad:
        raise SystemExit(f"recorded as repaired, and bad: {', '.join(still_bad)}")
    found = percentiles(times)
    goal = {"goal_p95_ms": GOAL_P95_MS, "goal_met": found["p95_ms"] <= GOAL_P95_MS}
    keep("convergence", {"drifts": DRIFTS, "repaired": len(times), **found, **goal})


async def _good_objects(world: World, client: ApiClient) -> None:
    await world.prepare(client)
    await client.create_namespace(NAMESPACE, labels={workloads.OWNER_LABEL: "team-shop"})
    world.enforcer.start()
    for number in range(DRIFTS):
        labels = {workloads.OWNER_LABEL: "team-shop"}
        body = workloads.deployment(f"app-{number}", labels=labels)
        await client.expect("POST", workloads.collection(NAMESPACE), body=body)
    await _until_kept(world)


async def _until_kept(world: World) -> None:
    """Wait until every good state is a baseline."""
    wanted = f'lictor_enforcer_baselines_total{{result="kept"}} {float(DRIFTS)}'
    async with asyncio.timeout(PATIENCE_SECONDS):
        while wanted not in world.metrics(ENFORCER):  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.2)


async def _go_bad(client: ApiClient) -> dict[str, datetime]:
    clock, written = SystemClock(), {}
    for number in range(DRIFTS):
        name = f"app-{number}"
        written[name] = clock.now()
        await client.expect(
            "PATCH",
            f"{workloads.collection(NAMESPACE)}/{name}",
            body=workloads.going_bad(),
            content_type="application/strategic-merge-patch+json",
        )
        await asyncio.sleep(GAP_SECONDS)
    return written


async def _repaired(world: World, written: dict[str, datetime]) -> list[float]:
    reader = LedgerReader(world.ledger(ENFORCER))
    times: dict[str, float] = {}
    async with asyncio.timeout(PATIENCE_SECONDS):
        while len(times) < len(written):
            for stored in reader.records((RecordType.REMEDIATION_OUTCOME,)):
                record = stored.record
                if record.obj is not None and record.result == "applied":
                    took = datetime.fromisoformat(record.ts) - written[record.obj.name]
                    times.setdefault(record.obj.name, took.total_seconds())
            await asyncio.sleep(0.2)
    return list(times.values())


async def _still_bad(client: ApiClient) -> list[str]:
    """Ask the API server, not the record, which objects violate."""
    found = await client.expect("GET", workloads.collection(NAMESPACE))
    return [one["metadata"]["name"] for one in found["items"] if not workloads.is_good(one)]


if __name__ == "__main__":
    asyncio.run(measure())
