"""Real processes, killed while somebody writes; judged by etcd and the API server's log."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from lictor.model.names import Uid
from lictor.stores.sqlite import open_stores
from testkit import judge, workloads
from testkit.arguments import PlaneOptions
from testkit.chaos import Blow, Chaos, Traffic
from testkit.history import Revision, audit_events, etcd_history
from testkit.plane import Plane
from testkit.ports import LOOPBACK, lease_port
from testkit.proxy import HttpProxy, TcpProxy
from testkit.world import ENFORCER, GATE, NAMESPACE, World, WorldOptions

pytestmark = [pytest.mark.controlplane, pytest.mark.chaos]

SEED = 20_261_121
OBJECTS = 500
WRITES = 1_000
KILLS = 50
PER_WINDOW = 5
QUIET_SECONDS = 60.0
SHOP = "shop"
ENFORCED = ("no-privileged-containers", "allowed-registries")
OPEN_BUDGET = {"policyObjects": 1_000_000, "clusterWrites": 1_000_000}
QUICK_LEASE = {"durationSeconds": 3.0, "renewDeadlineSeconds": 2.0, "retrySeconds": 0.4}


@dataclass
class Stage:
    """What a run needs."""

    world: World
    chaos: Chaos
    traffic: Traffic


@asynccontextmanager
async def staged(directory: Path) -> AsyncIterator[Stage]:
    """Start a plane with a readable etcd, both proxies, and both programs behind them."""
    async with AsyncExitStack() as stack:
        plane = stack.enter_context(Plane.launch(PlaneOptions(json_storage=True)))
        serving = plane.authority.server_context(plane.authority.server([LOOPBACK, "localhost"]))
        api_proxy = HttpProxy(plane.url, trust=plane.authority.client_context(), serving=serving)
        await stack.enter_async_context(api_proxy.running())
        proxy_port = lease_port()
        options = WorldOptions(
            enforce=ENFORCED,
            audit={"mode": "blocking-strict", "waitBudgetSeconds": 2.0},
            enforcer={"budget": OPEN_BUDGET, "lease": QUICK_LEASE},
            gate_url=f"https://{LOOPBACK}:{proxy_port}",
            api_url=api_proxy.url,
        )
        world = World(plane, directory, options)
        stack.callback(world.stop)
        gate_proxy = TcpProxy(world.gate_port)
        await stack.enter_async_context(gate_proxy.running(proxy_port))
        client = await stack.enter_async_context(plane.client())
        await world.prepare(client)
        await client.create_namespace(SHOP)
        chaos = Chaos(world, api_proxy=api_proxy, gate_proxy=gate_proxy, seed=SEED)
        yield Stage(world, chaos, Traffic(client, namespace=SHOP, seed=SEED))


@pytest.mark.timeout(900)
async def test_chaos_leaves_no_violation_no_repeated_revert_and_no_lost_record(
    tmp_path: Path,
) -> None:
    """Kills in every window cost neither a repair nor an acknowledged record."""
    async with staged(tmp_path) as stage:
        await stage.chaos.mend()
        await stage.traffic.create(OBJECTS)
        async with asyncio.TaskGroup() as group:
            group.create_task(stage.traffic.run(), name="traffic")
            await stage.chaos.deliver()
            await enough_writes(stage.traffic)
            stage.traffic.stopped = True

        await quiet(stage.world)
        codes = await asyncio.to_thread(stage.world.stop)

        history = etcd_history(stage.world.plane.etcd_url, f"/registry/deployments/{SHOP}/")
        events = list(audit_events(stage.world.plane.audit_log))
        assert codes == (0, 0), stage.world.enforcer.log_tail(3) + stage.world.gate.log_tail(3)
        assert_enough_happened(stage, history)
        assert_each_window_was_hit(stage, events)
        assert_judged(stage.world, history, events)


async def enough_writes(traffic: Traffic) -> None:
    """Let the traffic go on until it has made its writes."""
    async with asyncio.timeout(180):
        while traffic.writes.total() < WRITES + OBJECTS:  # noqa: ASYNC110 - a plain count
            await asyncio.sleep(0.1)


async def quiet(world: World) -> None:
    """Wait until nothing that can be mended is left, or time is up: then the judge says what."""
    for _ in range(int(QUIET_SECONDS)):
        # In a thread: this loop runs the proxies that the enforcer renews its Lease through.
        if not await asyncio.to_thread(lasting, world):
            return
        await asyncio.sleep(1.0)


def lasting(world: World) -> list[str]:
    """Return the violations that the enforcer could mend and has not."""
    history = etcd_history(world.plane.etcd_url, f"/registry/deployments/{SHOP}/")
    known = baselines(world, history)
    return judge.lasting_violations(history, workloads.is_good, baselines=known)


def baselines(world: World, history: list[Revision]) -> set[str]:
    """Return the uids of which the enforcer knows a good state."""
    uids = {str(one.value["metadata"]["uid"]) for one in history if one.value is not None}
    with open_stores(world.state) as stores:
        return {uid for uid in uids if stores.baselines.get(Uid(uid)) is not None}


def assert_enough_happened(stage: Stage, history: list[Revision]) -> None:
    """Check that the run was no quiet one."""
    drifted = judge.drifts(history, workloads.is_good)
    assert stage.traffic.writes.total() >= WRITES
    assert stage.traffic.writes["bad"] >= WRITES // 2
    assert len({revision.key for revision in history}) >= OBJECTS
    assert stage.chaos.kills.total() >= KILLS, stage.chaos.kills
    assert drifted.total() >= 4 * PER_WINDOW, drifted.total()
    assert len(baselines(stage.world, history)) >= OBJECTS * 9 // 10


def assert_each_window_was_hit(stage: Stage, events: list[dict[str, object]]) -> None:
    """Check by evidence, not only by our own count, that the kills fell where they should."""
    for window in (Blow.INTENT_TO_WRITE, Blow.WRITE_TO_OUTCOME, Blow.COMMIT_TO_ANSWER):
        assert stage.chaos.windows[window] >= PER_WINDOW, stage.chaos.windows
    acknowledged = {rec for rec, _ in judge.receipts(events)}
    unanswered = judge.leaves(stage.world.ledger(GATE)).keys() - acknowledged
    assert len(unanswered) >= PER_WINDOW
    assert judge.orphaned_intents(stage.world.ledger(ENFORCER)) >= 2 * PER_WINDOW


def assert_judged(world: World, history: list[Revision], events: list[dict[str, object]]) -> None:
    """Let etcd and the API server's log decide."""
    good = workloads.is_good
    user = f"system:serviceaccount:{NAMESPACE}:lictor-enforcer"
    writes = judge.writes_by(events, user, resource="deployments")
    gate_ledger = judge.leaves(world.ledger(GATE))
    assert judge.lasting_violations(history, good, baselines=baselines(world, history)) == []
    assert judge.needless_revisions(history, good) == []
    assert judge.needless_writes(history, good, writes=writes) == []
    assert judge.lost_acknowledged(events, gate_ledger) == []
    assert judge.unrecorded_writes(writes, world.ledger(ENFORCER)) == []
    for program in (GATE, ENFORCER):
        done = world.command(
            "audit", "verify", str(world.ledger(program)), "--trust", str(world.trust)
        )
        assert done.returncode == 0, done.stdout + done.stderr
