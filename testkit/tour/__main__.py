"""`python -m testkit.tour`: starts everything, walks the tour, and stays up until Ctrl-C.

`ONCE=1` ends after the tour: 0 only if every step did what it says. 2: something that a machine
must have is missing. 130: a Ctrl-C came before anything was up.
"""

import asyncio
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Final

from testkit import workloads
from testkit.binaries import Missing, find
from testkit.plane import Plane
from testkit.process import StartError
from testkit.tour.display import Display
from testkit.tour.steps import OWNED, Tour
from testkit.world import World, WorldOptions, lictor_command

ENFORCED: Final = (
    "no-privileged-containers",
    "allowed-registries",
    "workload-names-its-owner",
)
MISSING: Final = 2
INTERRUPTED: Final = 130
NOT_YET_UP: Final = {0, None, -signal.SIGTERM}
"""How a program ends that a Ctrl-C meets before it was started, or before it heeds signals."""


def main() -> int:
    """Run the tour and return the exit code."""
    for name in ("etcd", "kube-apiserver"):
        found = find(name)
        if isinstance(found, Missing):
            print(f"make up: {found.reason}", file=sys.stderr)
            return MISSING
    once = os.environ.get("ONCE", "") not in ("", "0")
    display = Display()
    # Until a loop has handlers of its own, both end what blocks, and what is up is taken down.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        display.progress("starting etcd and kube-apiserver")
        with Plane.launch() as plane:
            return asyncio.run(_up(plane, display, once=once))
    except KeyboardInterrupt:
        display.progress("stopped; no process is left")
        return INTERRUPTED
    except StartError as err:
        print(f"make up: {err}", file=sys.stderr)
        return 1


async def _up(plane: Plane, display: Display, *, once: bool) -> int:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    with tempfile.TemporaryDirectory(prefix="lictor-up-") as folder:
        world = World(plane, Path(folder), WorldOptions(enforce=ENFORCED))
        try:
            right = await _unless(stop, _walk(world, display))
            if not once and not stop.is_set():
                _explain(world, display, right=right)
                await stop.wait()
        finally:
            display.progress("stopping")
            codes = world.stop()
    clean = codes == (0, 0) or (stop.is_set() and not right and set(codes) <= NOT_YET_UP)
    display.progress("stopped; no process is left" if clean else f"WRONG: exit codes {codes}")
    return 0 if right and clean else 1


async def _unless(stop: asyncio.Event, walk: Coroutine[None, None, bool]) -> bool:
    """Walk, but no further than to a Ctrl-C.

    Raises:
        StartError: a program did not start.
    """
    try:
        async with asyncio.TaskGroup() as group:
            walking = group.create_task(walk, name="walk")
            stopping = group.create_task(stop.wait(), name="stop")
            await asyncio.wait((walking, stopping), return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            walking.cancel()
    except ExceptionGroup as failed:
        for error in failed.exceptions:
            if isinstance(error, StartError):
                raise error from None
        raise
    return not walking.cancelled() and walking.result()


async def _walk(world: World, display: Display) -> bool:
    async with await world.plane.admin() as client:
        display.progress(f"{world.plane.url} serves; installing CRDs and RBAC")
        await world.prepare(client)
        display.progress("starting the gate and the enforcer, each with its own ServiceAccount")
        world.gate.start(wait=False)
        world.enforcer.start(wait=False)
        # In threads, so that a Ctrl-C is heard meanwhile; it stops what they wait for.
        await asyncio.to_thread(world.gate.wait_ready)
        await asyncio.to_thread(world.enforcer.wait_ready)
        display.progress("the gate is registered, the enforcer leads")
        return await Tour(world, client, display).walk()


def _explain(world: World, display: Display, *, right: bool) -> None:
    kubectl = f"{_kubectl()} -n {OWNED}"
    say = display.plain
    say()
    say("Everything stays up until Ctrl-C." if right else "A step went WRONG; see above.")
    say("Try, in another terminal (no kubelet is here: a Pod never runs):")
    say(f"  export KUBECONFIG={world.plane.kubeconfig()}")
    say(f"  {kubectl} get deployments --show-labels")
    say(f"  {kubectl} scale deployment web --replicas=99                      # denied")
    say(f"  {kubectl} set image deployment web web={workloads.BAD_IMAGE}  # denied")
    say("  # take the gate's registration away (it comes back), do it again: it is reverted")
    say(f"  {_kubectl()} delete validatingwebhookconfiguration lictor")
    say(f"  {kubectl} set image deployment web web={workloads.BAD_IMAGE}")
    say(f"  {kubectl} get deployment web -o wide")
    for program, port in world.metrics_ports.items():
        say(f"  curl -s http://127.0.0.1:{port}/metrics | grep ^lictor_   # {program}")
    say(f"  {lictor_command()} audit verify {world.ledger('gate')} --trust {world.trust}")
    say(f"  logs: {world.directory}/*.log, {world.plane.directory}/*.log")


def _kubectl() -> str:
    """Return what starts kubectl in the reader's shell: theirs, else the one that we built."""
    if shutil.which("kubectl"):
        return "kubectl"
    found = find("kubectl")
    return "kubectl" if isinstance(found, Missing) else str(found)


if __name__ == "__main__":
    sys.exit(main())
