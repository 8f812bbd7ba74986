"""What the enforcer weighs: resident memory of the real process, empty and with 10,000 objects.

Everything that it keeps of a governed object counts: the informer's entry, what it remembers of the
judged state, and what the allocator holds. Baselines lie in its store, whose size is told too.
"""

import asyncio
import tempfile
import time
from pathlib import Path
from typing import Final

from benchmarks.machine import keep
from testkit import workloads
from testkit.client import ApiClient
from testkit.plane import Plane
from testkit.world import ENFORCER, World, WorldOptions

OBJECTS: Final = 10_000
WRITERS: Final = 8
NAMESPACE: Final = "shop"
PATIENCE_SECONDS: Final = 300.0
OPTIONS: Final = WorldOptions(enforce=("no-privileged-containers", "allowed-registries"))


async def measure() -> None:
    """Create the objects, wait until each is judged and kept as a baseline, and compare."""
    with Plane.launch() as plane, tempfile.TemporaryDirectory() as folder:
        world = World(plane, Path(folder), OPTIONS)
        async with plane.client() as client:
            try:
                await world.prepare(client)
                await client.create_namespace(NAMESPACE)
                world.enforcer.start()
                empty = _resident(world.enforcer.pid)
                began = time.monotonic()
                async with asyncio.TaskGroup() as group:
                    for writer in range(WRITERS):
                        group.create_task(_create(client, first=writer), name=f"writer-{writer}")
                await _until_kept(world)
                took = time.monotonic() - began
                full = _resident(world.enforcer.pid)
                store = _size_of_store(Path(folder))
            finally:
                world.stop()
    keep(
        "enforcer_memory",
        {
            "objects": OBJECTS,
            "empty_mib": round(empty / 2**20, 1),
            "full_mib": round(full / 2**20, 1),
            "per_10000_mib": round((full - empty) / 2**20, 1),
            "store_mib": round(store / 2**20, 1),
            "created_and_judged_seconds": round(took, 1),
        },
    )


async def _create(client: ApiClient, *, first: int) -> None:
    for number in range(first, OBJECTS, WRITERS):
        labels = {workloads.OWNER_LABEL: "team-shop"}
        body = workloads.deployment(f"app-{number}", labels=labels)
        await client.expect("POST", workloads.collection(NAMESPACE), body=body)


async def _until_kept(world: World) -> None:
    wanted = f'lictor_enforcer_baselines_total{{result="kept"}} {float(OBJECTS)}'
    async with asyncio.timeout(PATIENCE_SECONDS):
        while wanted not in world.metrics(ENFORCER):  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.5)


def _size_of_store(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("enforcer.state*"))


def _resident(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * 4096


if __name__ == "__main__":
    asyncio.run(measure())
