"""The enforcer as a process: its Lease, its switches, its budgets, and what a restart keeps."""

import asyncio
import json
from typing import Any

import pytest

from lictor.model.audit_record import AuditRecord, RecordType
from lictor.system import SystemClock
from testkit.client import ApiClient
from testkit.plane import Plane
from testkit.proxy import Exchange, Point
from testkit.street import Street
from testkit.world import ENFORCER

pytestmark = pytest.mark.controlplane

_LEASES = "/apis/coordination.k8s.io/v1/namespaces/lictor-system/leases"


async def test_gate_fence_holds_who_does_not_lead(start_enforcer: Any, admin: ApiClient) -> None:  # noqa: ANN401 (a fixture)
    """G0 present, then absent: a standby only says what it sees; with the Lease it acts."""
    await admin.request(
        "POST",
        "/api/v1/namespaces",
        body={"kind": "Namespace", "metadata": {"name": "lictor-system"}},
    )
    await admin.request("DELETE", f"{_LEASES}/lictor-enforcer")
    await admin.expect("POST", _LEASES, body=_lease_of("somebody-else"))
    async with start_enforcer(leads=False) as street:
        made = await street.make()
        await street.label(bad="1")
        record = await street.held(made["metadata"]["uid"], "not-leader")
        assert record.result == "denied"
        gate = {"gate": "not-leader", "policy": "no-bad"}
        assert street.metric("lictor_enforcer_gate_holds_total", **gate) == 1
        assert "bad" in (await street.read())["metadata"]["labels"]

        await admin.expect("DELETE", f"{_LEASES}/lictor-enforcer")

        await street.reverted("bad")


async def test_gate_mode_of_the_enforcer_switches_everything_off(start_enforcer: Any) -> None:  # noqa: ANN401
    """G3 present: with `mode: inform` no policy writes, whatever it says itself."""
    async with start_enforcer({"mode": "inform"}) as street:
        made = await street.make()
        await street.label(bad="1")

        await street.held(made["metadata"]["uid"], "mode-inform")

        gate = {"gate": "mode-inform", "policy": "no-bad"}
        assert street.metric("lictor_enforcer_gate_holds_total", **gate) == 1
        assert "bad" in (await street.read())["metadata"]["labels"]
        # A violation does not become good because repairing is switched off.
        assert not street.baseline(made["metadata"]["uid"], '"bad"')


@pytest.mark.parametrize(
    ("budget", "gate"),
    [
        pytest.param({"policyObjects": 1, "policyShare": 0.0}, "budget-policy", id="policy"),
        pytest.param({"policyObjects": 99, "clusterWrites": 1}, "budget-cluster", id="cluster"),
    ],
)
async def test_gate_budget_holds(start_enforcer: Any, budget: dict[str, float], gate: str) -> None:  # noqa: ANN401
    """G12 absent for the first object, present for the second, and still so after a restart."""
    async with start_enforcer({"budget": budget}) as street:
        await street.make("first")
        made = await street.make("second")
        third = await street.make("third")
        await street.label("first", bad="1")
        await street.reverted("bad", "first")

        await street.label("second", bad="1")

        await street.held(made["metadata"]["uid"], gate)
        labels = {"gate": gate, "policy": "no-bad"}
        assert street.metric("lictor_enforcer_gate_holds_total", **labels) == 1
        await street.restart()
        await street.label("third", bad="1")
        await street.held(third["metadata"]["uid"], gate)
        for name in ("second", "third"):
            assert "bad" in (await street.read(name))["metadata"]["labels"]


async def test_gate_fight_quarantines_through_a_restart(start_enforcer: Any) -> None:  # noqa: ANN401
    """G10 absent, then present: who is undone each time gives up, and a restart does not forget."""
    async with start_enforcer({"fightHeat": 1.5, "fightDelayHeat": 1.4}) as street:
        made = await street.make()
        for _ in range(2):
            await street.label(hot="1")
            await street.reverted("hot")
        await street.restart()
        await street.label(hot="1")

        record = await street.held(made["metadata"]["uid"], "quarantined")

        assert record.result == "denied"
        await street.until_async(lambda: street.events("web"))
        await street.restart()
        await street.settled()
        await street.label(other="1")
        await street.settled()
        assert "hot" in (await street.read())["metadata"]["labels"]


async def test_enforcer_stops_cleanly(start_enforcer: Any, admin: ApiClient) -> None:  # noqa: ANN401
    """On SIGTERM it ends with 0 and gives up its Lease, so that another need not wait."""
    async with start_enforcer() as street:
        await street.make()

        code = await asyncio.to_thread(street.world.enforcer.stop)

        lease = await admin.expect("GET", f"{_LEASES}/lictor-enforcer")
        assert code == 0
        assert not lease["spec"].get("holderIdentity")


@pytest.mark.parametrize(
    ("section", "change", "code"),
    [
        pytest.param("policies", {"paths": ["/nowhere"]}, 2, id="no policies"),
        pytest.param("policies", {"pathz": []}, 2, id="unknown key"),
        pytest.param("enforcer", {"state": ""}, 2, id="no state file"),
        pytest.param("audit", {"path": "/proc/nothing/ledger"}, 4, id="no ledger"),
    ],
)
async def test_enforcer_exits_with_a_code_that_means_something(
    start_enforcer: Any,  # noqa: ANN401
    section: str,
    change: dict[str, Any],
    code: int,
) -> None:
    """What is wrong is told apart by the exit code, and named in the log."""
    async with start_enforcer() as street:
        world = street.world
        await asyncio.to_thread(world.enforcer.stop)
        config = world.config(ENFORCER)
        settings = json.loads(config.read_text())
        settings[section] |= change
        config.write_text(json.dumps(settings))

        world.enforcer.start(wait=False)

        assert await asyncio.to_thread(world.enforcer.wait) == code


async def test_enforcer_exits_where_it_may_not_watch(
    start_enforcer: Any,  # noqa: ANN401
    plane: Plane,
) -> None:
    """Without the rights to see what the law names it ends with 5 and does not guess."""
    async with start_enforcer() as street:
        world = street.world
        await asyncio.to_thread(world.enforcer.stop)
        config = world.config(ENFORCER)
        settings = json.loads(config.read_text())
        settings["cluster"]["kubeconfig"] = str(plane.kubeconfig("nobody", ()))
        config.write_text(json.dumps(settings))

        world.enforcer.start(wait=False)

        assert await asyncio.to_thread(world.enforcer.wait) == 5


async def test_enforcer_killed_before_its_write(start_enforcer: Any, plane: Plane) -> None:  # noqa: ANN401
    """An intent whose write never came is resolved as unknown, and the drift is reverted once."""
    proxy = plane.proxy()
    async with proxy.running(), start_enforcer(api_url=proxy.url) as street:
        made = await street.make()
        uid = made["metadata"]["uid"]
        trap = proxy.traps.hold(_is_write(Point.REQUEST), times=1)
        await street.label(bad="1")
        await trap.caught()
        await asyncio.to_thread(street.world.enforcer.kill)
        trap.cut()
        assert "bad" in (await street.read())["metadata"]["labels"]

        await street.restart()
        await street.reverted("bad")

        await street.until(lambda: len(_tried(street, uid)) == 2)
        assert [one.result for one in _tried(street, uid)] == ["unknown", "applied"]
        assert len(street.records(uid, RecordType.DRIFT_DETECTED)) == 1
        _assert_paired(street, uid)


async def test_enforcer_killed_after_its_write(start_enforcer: Any, plane: Plane) -> None:  # noqa: ANN401
    """An intent whose write took effect is resolved as applied, and nothing is written again."""
    proxy = plane.proxy()
    async with proxy.running(), start_enforcer(api_url=proxy.url) as street:
        made = await street.make()
        uid = made["metadata"]["uid"]
        trap = proxy.traps.hold(_is_write(Point.RESPONSE), times=1)
        await street.label(bad="1")
        await trap.caught()
        await asyncio.to_thread(street.world.enforcer.kill)
        trap.cut()
        version = (await street.reverted("bad"))["metadata"]["resourceVersion"]

        await street.restart()

        (outcome,) = await street.until(lambda: _tried(street, uid))
        await street.settled()
        assert outcome.result == "applied"
        assert (await street.read())["metadata"]["resourceVersion"] == version
        _assert_paired(street, uid)


async def test_enforcer_asks_when_the_answer_is_lost(start_enforcer: Any, plane: Plane) -> None:  # noqa: ANN401
    """A write whose answer is cut off is looked up: it took effect, and is written once."""
    proxy = plane.proxy()
    async with proxy.running(), start_enforcer(api_url=proxy.url) as street:
        made = await street.make()
        uid = made["metadata"]["uid"]
        trap = proxy.traps.hold(_is_write(Point.RESPONSE), times=1)
        await street.label(bad="1")
        await trap.caught()
        trap.cut()

        (outcome,) = await street.until(lambda: _tried(street, uid))

        assert outcome.result == "applied"
        await street.reverted("bad")
        _assert_paired(street, uid)


async def test_enforcer_plans_anew_after_a_conflict(start_enforcer: Any, plane: Plane) -> None:  # noqa: ANN401
    """A foreign write between read and write is not overwritten: 409, and another plan."""
    proxy = plane.proxy()
    async with proxy.running(), start_enforcer(api_url=proxy.url) as street:
        made = await street.make()
        uid = made["metadata"]["uid"]
        trap = proxy.traps.hold(_is_write(Point.REQUEST), times=1)
        await street.label(bad="1")
        await trap.caught()
        await street.label(foreign="1")
        trap.release()

        found = await street.reverted("bad")

        assert found["metadata"]["labels"]["foreign"] == "1"
        await street.until(lambda: len(_tried(street, uid)) == 2)
        assert [one.result for one in _tried(street, uid)] == ["conflict", "applied"]
        assert _tried(street, uid)[0].http == 409
        _assert_paired(street, uid)


def _is_write(point: Point) -> Any:  # noqa: ANN401 (a predicate)
    def picks(exchange: Exchange) -> bool:
        return (
            exchange.point is point
            and exchange.method == "PATCH"
            and "/deployments/" in exchange.path
            and "dryRun" not in exchange.path
        )

    return picks


def _tried(street: Street, uid: str) -> list[AuditRecord]:
    """Return the outcomes of what was tried; what a gate held was not."""
    return [one for one in street.outcomes(uid) if one.intent is not None]


def _assert_paired(street: Street, uid: str) -> None:
    """Every intent has one outcome, and no outcome is without its intent."""
    intents = [one.change for one in street.records(uid, RecordType.REMEDIATION_INTENT)]
    outcomes = [one.change for one in _tried(street, uid)]
    assert sorted(intents) == sorted(outcomes)
    assert len(set(intents)) == len(intents)


def _lease_of(holder: str) -> dict[str, Any]:
    now = SystemClock().now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": "lictor-enforcer"},
        "spec": {
            "holderIdentity": holder,
            "leaseDurationSeconds": 3600,
            "acquireTime": now,
            "renewTime": now,
        },
    }
