"""What the gate adds to a create, end to end: the same creates with and without its webhooks.

One namespace is judged; the other is kube-system, which the webhooks leave out, so both kinds of
create go through the same API server in one interleaved run, and are stored in etcd. A judged one
passes both webhooks, one after the other, and each answer waits for its record.
"""

import asyncio
import re
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from benchmarks.machine import keep, percentiles
from testkit import workloads
from testkit.client import ApiClient
from testkit.plane import Plane
from testkit.world import GATE, World, WorldOptions

ROUNDS: Final = 400
WARM_UP: Final = 20
CREATES: Final = ROUNDS + WARM_UP
JUDGED: Final = "shop"
LEFT_OUT: Final = "kube-system"


async def measure() -> None:
    """Create, judged and not judged in turn, and keep both distributions."""
    with Plane.launch() as plane, tempfile.TemporaryDirectory() as folder:
        world = World(plane, Path(folder), WorldOptions())
        async with plane.client() as client:
            try:
                await world.prepare(client)
                await client.create_namespace(JUDGED, labels={workloads.OWNER_LABEL: "team-shop"})
                world.gate.start()
                times = await _create(client)
                reviews = _reviews(world)
            finally:
                world.stop()
    if reviews != {"mutate": CREATES, "validate": CREATES}:
        raise SystemExit(f"the gate answered {reviews} reviews; expected {CREATES} of each phase")
    judged, bare = percentiles(times[JUDGED]), percentiles(times[LEFT_OUT])
    added = {name: round(judged[name] - bare[name], 3) for name in ("p50_ms", "p99_ms")}
    keep("create_latency", {"judged": judged, "not_judged": bare, "added": added})


async def _create(client: ApiClient) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {JUDGED: [], LEFT_OUT: []}
    for number in range(CREATES):
        for namespace, found in times.items():
            began = time.perf_counter()
            await client.expect("POST", workloads.collection(namespace), body=_body(number))
            if number >= WARM_UP:
                found.append(time.perf_counter() - began)
    return times


def _reviews(world: World) -> dict[str, int]:
    """Count the gate's answers by phase: what it was not asked about, it did not delay."""
    found = dict.fromkeys(("mutate", "validate"), 0)
    for line in world.metrics(GATE).splitlines():
        count = re.match(r'lictor_gate_decisions_total\{.*phase="(\w+)".*\} (\S+)', line)
        if count is not None:
            found[count[1]] += int(float(count[2]))
    return found


def _body(number: int) -> dict[str, Any]:
    return workloads.deployment(f"app-{number}", labels={workloads.OWNER_LABEL: "team-shop"})


if __name__ == "__main__":
    asyncio.run(measure())
