"""`python -m testkit.tour`: starts everything, walks the tour, and stays up until Ctrl-C.

`ONCE=1` ends after the tour: 0 only if every step did what it says. 2: something that a machine
must have is missing.
"""

import asyncio
import os
import signal
import sys
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Final

from testkit.binaries import Missing, find
from testkit.plane import Plane
from testkit.process import StartError
from testkit.tour.display import Display
from testkit.tour.steps import OWNED, Tour
from testkit.world import World, WorldOptions

ENFORCED: Final = (
    "no-privileged-containers",
    "allowed-registries",
    "workload-names-its-owner",
)
MISSING: Final = 2


def main() -> int:
    """Run the tour and return the exit code."""
    for name in ("etcd", "kube-apiserver"):
        found = find(name)
        if isinstance(found, Missing):
            print(f"make up: {found.reason}", file=sys.stderr)
            return MISSING
    once = os.environ.get("ONCE", "") not in ("", "0")
    try:
        return asyncio.run(_up(once=once))
    except StartError as err:
        print(f"make up: {err}", file=sys.stderr)
        return 1


async def _up(*, once: bool) -> int:
    display = Display()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    display.progress("starting etcd and kube-apiserver")
    with Plane.launch() as plane, tempfile.TemporaryDirectory(prefix="lictor-up-") as folder:
        world = World(plane, Path(folder), WorldOptions(enforce=ENFORCED))
        try:
            right = await _unless(stop, _walk(world, display))
            if not once and not stop.is_set():
                _explain(world, display, right=right)
                await stop.wait()
        finally:
            display.progress("stopping")
            codes = world.stop()
    clean = codes == (0, 0)
    display.progress("stopped; no process is left" if clean else f"WRONG: exit codes {codes}")
    return 0 if right and clean else 1


async def _unless(stop: asyncio.Event, walk: Coroutine[None, None, bool]) -> bool:
    """Walk, but no further than to a Ctrl-C."""
    async with asyncio.TaskGroup() as group:
        walking = group.create_task(walk, name="walk")
        stopping = group.create_task(stop.wait(), name="stop")
        await asyncio.wait((walking, stopping), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        walking.cancel()
    return not walking.cancelled() and walking.result()


async def _walk(world: World, display: Display) -> bool:
    async with await world.plane.admin() as client:
        display.progress(f"{world.plane.url} serves; installing CRDs and RBAC")
        await world.prepare(client)
        display.progress("starting the gate and the enforcer, each with its own ServiceAccount")
        world.gate.start(wait=False)
        world.enforcer.start(wait=False)
        world.gate.wait_ready()
        world.enforcer.wait_ready()
        display.progress("the gate is registered, the enforcer leads")
        return await Tour(world, client, display).walk()


def _explain(world: World, display: Display, *, right: bool) -> None:
    display.plain()
    display.plain("Everything stays up until Ctrl-C." if right else "A step went WRONG; see above.")
    display.plain(f"  export KUBECONFIG={world.plane.kubeconfig()}")
    display.plain(f"  kubectl -n {OWNED} get deployments --show-labels")
    display.plain(f"  kubectl -n {OWNED} scale deployment web --replicas=99      # denied")
    display.plain(f"  kubectl -n {OWNED} get events")
    for program, port in world.metrics_ports.items():
        display.plain(f"  curl -s http://127.0.0.1:{port}/metrics | grep ^lictor_   # {program}")
    display.plain(f"  lictor audit verify {world.ledger('gate')} --trust {world.trust}")
    display.plain(f"  logs: {world.directory}/*.log, {world.plane.directory}/*.log")


if __name__ == "__main__":
    sys.exit(main())
