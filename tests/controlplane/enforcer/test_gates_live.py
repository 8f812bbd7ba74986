"""Each gate on the real API server: absent, the drift is reverted; present, it is held.

A hold is in the record, with its reason, and in the metric; the object stays as it drifted.
"""

from typing import Any

import pytest

from testkit.client import ApiClient
from testkit.street import Street

pytestmark = pytest.mark.controlplane


async def _is_held(street: Street, made: dict[str, Any], *, gate: str, policy: str) -> None:
    """Assert that a drift is held: on record, in the metric, and not written."""
    uid, name = made["metadata"]["uid"], made["metadata"]["name"]
    record = await street.held(uid, gate, policy=policy)
    assert record.result == "denied"
    version = (await street.read(name))["metadata"]["resourceVersion"]
    await street.settled()
    assert (await street.read(name))["metadata"]["resourceVersion"] == version
    assert all(one.result != "applied" for one in street.outcomes(uid))
    # A hold is reported once for its reason, however often it is looked at.
    assert [one.gate for one in street.outcomes(uid)].count(gate) == 1


async def test_gate_mode_enforce_acts(street: Street) -> None:
    """G3 absent: a policy in mode `enforce` is carried out."""
    await street.make()
    await street.label(bad="1")
    await street.reverted("bad")


@pytest.mark.parametrize(
    ("label", "gate", "policy"),
    [
        pytest.param("informed", "mode-inform", "no-informed", id="inform"),
        pytest.param("rehearsed", "mode-dry-run", "no-rehearsed", id="dry-run"),
    ],
)
async def test_gate_mode_holds(street: Street, label: str, gate: str, policy: str) -> None:
    """G3 present: a policy in mode `inform` or `dry-run` writes nothing."""
    made = await street.make()
    await street.label(**{label: "1"})

    await _is_held(street, made, gate=gate, policy=policy)


async def test_gate_mode_of_one_policy_does_not_hold_another(street: Street) -> None:
    """What one policy only reports does not keep another one from its repair."""
    await street.make()
    await street.label(informed="1", bad="1")

    found = await street.reverted("bad")

    assert found["metadata"]["labels"]["informed"] == "1"


@pytest.mark.parametrize(
    ("place", "gate"),
    [
        pytest.param("lictor-system", "own-namespace", id="own namespace"),
        pytest.param("kube-public", "protected-namespace", id="protected namespace"),
    ],
)
async def test_gate_never_touch_holds(street: Street, place: str, gate: str) -> None:
    """G4 present: our own and protected namespaces are never written."""
    elsewhere = Street(street.world, street.client, place)
    await street.client.request(
        "POST", "/api/v1/namespaces", body={"kind": "Namespace", "metadata": {"name": place}}
    )
    name = street.namespace
    made = await elsewhere.make(name)
    try:
        await elsewhere.label(name, bad="1")

        await _is_held(elsewhere, made, gate=gate, policy="no-bad")
    finally:
        await street.client.request("DELETE", elsewhere.path(name))


async def test_gate_never_touch_holds_what_is_being_deleted(street: Street) -> None:
    """G4 present: an object that is terminating is left alone."""
    made = await street.make()
    await street.merge({"metadata": {"finalizers": ["example.com/hold"]}})
    await street.client.expect("DELETE", street.path())
    await street.label(bad="1")

    await _is_held(street, made, gate="terminating", policy="no-bad")
    await street.merge({"metadata": {"finalizers": None}})


async def test_gate_paused_holds_an_annotated_object(street: Street) -> None:
    """G5 present on the object, then absent: held, then reverted without another drift."""
    made = await street.make()
    await street.merge({"metadata": {"annotations": {"lictor.dev/paused": "true"}}})
    await street.label(bad="1")
    await _is_held(street, made, gate="paused", policy="no-bad")

    await street.merge({"metadata": {"annotations": {"lictor.dev/paused": None}}})

    await street.reverted("bad")


async def test_gate_paused_holds_in_an_annotated_namespace(street: Street) -> None:
    """G5 present on the namespace, then absent: its change alone lets the repair go on."""
    made = await street.make()
    await _annotate_namespace(street, "true")
    await street.settled()
    await street.label(bad="1")
    await _is_held(street, made, gate="paused", policy="no-bad")

    await _annotate_namespace(street, None)

    await street.reverted("bad")


async def test_gate_paused_holds_while_a_pause_covers_it(street: Street) -> None:
    """G5 present by a Pause object, then deleted: held, then reverted at once."""
    made = await street.make()
    async with street.pause(namespaces=[street.namespace]):
        await street.label(bad="1")
        await _is_held(street, made, gate="paused", policy="no-bad")

    await street.reverted("bad")


async def test_gate_paused_ends_by_itself(street: Street) -> None:
    """G5 over: a Pause that nobody deletes ends after its duration."""
    made = await street.make()
    async with street.pause(namespaces=[street.namespace], seconds=4):
        await street.label(bad="1")
        await street.held(made["metadata"]["uid"], "paused")

        await street.reverted("bad")


@pytest.mark.parametrize(
    "scope",
    [
        pytest.param({"namespaces": ["elsewhere"]}, id="namespace"),
        pytest.param({"policies": ["registry"]}, id="policy"),
        pytest.param({"components": ["gate"]}, id="component"),
    ],
)
async def test_gate_paused_leaves_out_what_its_scope_does_not_name(
    street: Street, scope: dict[str, list[str]]
) -> None:
    """G5 absent: a Pause of something else holds nothing here."""
    await street.make()
    async with street.pause(**scope):
        await street.label(bad="1")

        await street.reverted("bad")


async def test_gate_paused_never_blocks_scaling(street: Street) -> None:
    """G5 and a scaling event: replicas go into their bounds in a paused namespace too."""
    await street.make(labels={"scaled": "yes"})
    await street.ready(replicas=9)
    async with street.pause(namespaces=[street.namespace]):
        await street.merge({"spec": {"replicas": 9}})

        await street.until_async(lambda: _has_replicas(street, 3))


async def test_gate_scaling_holds_an_autoscalers_replicas(street: Street) -> None:
    """G7 present: an autoscaler's replicas are left alone. Absent: see the next test."""
    made = await street.make(labels={"scaled": "yes"})
    await street.ready(replicas=9)
    await street.autoscale("web")
    await street.merge({"spec": {"replicas": 9}})

    await _is_held(street, made, gate="autoscaled", policy="few-replicas")


async def test_gate_scaling_holds_an_unready_workload(street: Street) -> None:
    """G7 present, then absent: scaling down waits until what is left would be ready."""
    made = await street.make(labels={"scaled": "yes"})
    await street.merge({"spec": {"replicas": 9}})
    await _is_held(street, made, gate="scale-down-unready", policy="few-replicas")

    await street.ready(replicas=9)

    await street.until_async(lambda: _has_replicas(street, 3))


async def test_gate_scaling_does_not_shield_another_violation(street: Street) -> None:
    """G7 holds the replicas alone: what else drifted with them is reverted."""
    made = await street.make(labels={"scaled": "yes"})
    await street.merge({"metadata": {"labels": {"bad": "1"}}, "spec": {"replicas": 9}})

    found = await street.reverted("bad")

    assert found["spec"]["replicas"] == 9
    await _is_held_now(street, made, gate="scale-down-unready")


async def _is_held_now(street: Street, made: dict[str, Any], *, gate: str) -> None:
    record = await street.held(made["metadata"]["uid"], gate, policy="few-replicas")
    assert record.result == "denied"
    await street.settled()
    assert (await street.read())["spec"]["replicas"] == 9


@pytest.mark.parametrize(
    ("demand", "gate"),
    [
        pytest.param({"minAvailable": 5}, "scale-down-minimum", id="minimum"),
        pytest.param({"maxUnavailable": 1}, "scale-down-disruption", id="disruptions"),
    ],
)
async def test_gate_scaling_holds_for_a_disruption_budget(
    street: Street, demand: dict[str, int], gate: str
) -> None:
    """G7 present: a disruption budget that selects the pods keeps them."""
    made = await street.make(labels={"scaled": "yes"})
    await street.ready(replicas=9)
    await street.budget(demand, selector={"app": "web"})
    await street.merge({"spec": {"replicas": 9}})

    await _is_held(street, made, gate=gate, policy="few-replicas")


async def test_gate_scaling_ignores_a_budget_for_other_pods(street: Street) -> None:
    """G7 absent: a disruption budget of somebody else's pods holds nothing."""
    await street.make(labels={"scaled": "yes"})
    await street.ready(replicas=9)
    await street.budget({"minAvailable": 5}, selector={"app": "other"})
    await street.merge({"spec": {"replicas": 9}})

    await street.until_async(lambda: _has_replicas(street, 3))


async def test_gate_ownership_holds_what_a_controller_owns(street: Street) -> None:
    """G8 present: an object that a living controller owns is not written."""
    top = await street.make("top")
    made = await street.make("owned", owner=top)
    await street.label("owned", bad="1")

    await _is_held(street, made, gate="owned", policy="no-bad")


async def test_gate_ownership_believes_no_owner_that_is_not_there(street: Street) -> None:
    """G8 absent: a reference to an owner that does not exist shields nothing."""
    top = await street.make("top")
    top["metadata"]["uid"] = "00000000-0000-0000-0000-000000000000"
    await street.make("owned", owner=top)
    await street.label("owned", bad="1")

    await street.reverted("bad", "owned")


async def test_gate_ownership_plans_on_the_top_owner(street: Street) -> None:
    """G8: where the owner violates too, the owner is repaired, and the owned object is not."""
    top = await street.make("top")
    made = await street.make("owned", owner=top)
    await street.label("top", bad="1")
    await street.label("owned", bad="1")

    await street.reverted("bad", "top")
    await _is_held(street, made, gate="owned", policy="no-bad")


async def test_gate_settle_waits_and_then_acts(street: Street) -> None:
    """G9 present, then over: held while it settles, reverted when it has lasted."""
    made = await street.make()
    await street.label(slow="1")
    record = await street.held(made["metadata"]["uid"], "settling", policy="no-slow")
    assert record.result == "denied"
    assert "slow" in (await street.read())["metadata"]["labels"]

    await street.reverted("slow")


async def test_gate_settle_leaves_alone_what_passes(street: Street) -> None:
    """G9 present: what is gone within the settling time was never written by us."""
    made = await street.make()
    await street.label(slow="1")
    await street.held(made["metadata"]["uid"], "settling")

    await street.label(slow=None)
    await street.settled()

    assert [one.gate for one in street.outcomes(made["metadata"]["uid"])] == ["settling"]


async def test_gate_settle_does_not_wait_for_the_critical(street: Street) -> None:
    """G9 absent: a critical policy does not wait its minute."""
    await street.make()
    await street.label(urgent="1")

    await street.reverted("urgent")


async def test_gate_fight_delays_and_quarantines(street: Street) -> None:
    """G10 absent for the first writes, then present: a fight is delayed.

    Three writes in a row bring the heat to the threshold of the delay.
    """
    made = await street.make()
    for _ in range(4):
        await street.label(hot="1")
        await street.reverted("hot")
    await street.label(hot="1")

    await _is_held_fight(street, made)


async def _is_held_fight(street: Street, made: dict[str, Any]) -> None:
    uid = made["metadata"]["uid"]
    record = await street.held(uid, "fight-delay", policy="no-hot")
    assert record.result == "denied"
    await street.settled()
    assert "hot" in (await street.read())["metadata"]["labels"]


@pytest.mark.parametrize(
    ("label", "policy"),
    [
        pytest.param("doomed", "no-doomed", id="delete"),
        pytest.param("off", "no-replicas", id="scale to zero"),
    ],
)
async def test_gate_approval_holds(street: Street, label: str, policy: str) -> None:
    """G14 present: deleting and scaling to zero always wait for a person."""
    made = await street.make()
    await street.ready(replicas=2)
    await street.label(**{label: "yes"})

    await _is_held(street, made, gate="approval-needed", policy=policy)
    await street.until_async(lambda: street.events("web"))


async def _annotate_namespace(street: Street, value: str | None) -> None:
    client: ApiClient = street.client
    await client.expect(
        "PATCH",
        f"/api/v1/namespaces/{street.namespace}",
        body={"metadata": {"annotations": {"lictor.dev/paused": value}}},
        content_type="application/merge-patch+json",
    )


async def _has_replicas(street: Street, wanted: int) -> bool:
    return bool((await street.read())["spec"]["replicas"] == wanted)
