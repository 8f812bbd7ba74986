"""What the gate adds to a create, end to end: the same creates with and without its webhooks.

One namespace is judged; the other is kube-system, which the webhooks' selector leaves out, so both
kinds of create go through the same API server in one interleaved run.
"""

import asyncio
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from benchmarks.machine import keep, percentiles
from testkit import workloads
from testkit.client import ApiClient
from testkit.plane import Plane
from testkit.world import World, WorldOptions

ROUNDS: Final = 400
WARM_UP: Final = 20
JUDGED: Final = "shop"
LEFT_OUT: Final = "kube-system"


async def measure() -> None:
    """Create as dry runs, judged and not judged in turn, and keep both distributions."""
    with Plane.launch() as plane, tempfile.TemporaryDirectory() as folder:
        world = World(plane, Path(folder), WorldOptions())
        async with plane.client() as client:
            try:
                await world.prepare(client)
                await client.create_namespace(JUDGED, labels={workloads.OWNER_LABEL: "team-shop"})
                world.gate.start()
                times = await _create(client)
            finally:
                world.stop()
    judged, bare = percentiles(times[JUDGED]), percentiles(times[LEFT_OUT])
    added = {name: round(judged[name] - bare[name], 3) for name in ("p50_ms", "p99_ms")}
    keep("create_latency", {"judged": judged, "not_judged": bare, "added": added})


async def _create(client: ApiClient) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {JUDGED: [], LEFT_OUT: []}
    for number in range(ROUNDS + WARM_UP):
        for namespace, found in times.items():
            began = time.perf_counter()
            await client.expect(
                "POST",
                workloads.collection(namespace),
                body=_body(number),
                query={"dryRun": "All"},
            )
            if number >= WARM_UP:
                found.append(time.perf_counter() - began)
    return times


def _body(number: int) -> dict[str, Any]:
    return workloads.deployment(f"app-{number}", labels={workloads.OWNER_LABEL: "team-shop"})


if __name__ == "__main__":
    asyncio.run(measure())
