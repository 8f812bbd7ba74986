"""What is reverted, and that nothing else is."""

import copy
from typing import Any

import pytest

from lictor.model.audit_record import RecordType
from testkit.street import Street

pytestmark = pytest.mark.controlplane


def _containers(tree: dict[str, Any]) -> list[dict[str, Any]]:
    return tree["spec"]["template"]["spec"]["containers"]


async def test_enforcer_reverts_a_drift_with_intent_and_outcome(street: Street) -> None:
    """A forbidden label goes again; intent stands before outcome, and both name the same change."""
    made = await street.make()
    uid = made["metadata"]["uid"]

    await street.label(bad="1")
    await street.reverted("bad")

    await street.until(lambda: street.outcomes(uid))
    drift, intent, outcome = street.records(uid)
    assert [one.type for one in (drift, intent, outcome)] == [
        RecordType.DRIFT_DETECTED,
        RecordType.REMEDIATION_INTENT,
        RecordType.REMEDIATION_OUTCOME,
    ]
    assert drift.src is not None
    assert intent.src is not None
    assert intent.why is not None
    assert (outcome.result, outcome.http, outcome.intent) == ("applied", 200, intent.src.wseq)
    assert outcome.change == intent.change != ""
    assert outcome.plan == intent.plan
    assert (intent.why.drift, intent.why.policies) == (drift.src.wseq, ("no-bad",))


async def test_enforcer_writes_only_the_violating_paths(street: Street) -> None:
    """Six paths drift at once: the image and an inserted container are written, no other.

    Of the others one is an autoscaler's, and three violate nothing.
    """
    made = await street.make()
    uid = made["metadata"]["uid"]
    await street.autoscale("web")
    live = await street.read()
    drifted = copy.deepcopy(live)
    drifted["metadata"]["labels"]["tier"] = "gold"
    drifted["metadata"]["annotations"] = {"note": "changed"}
    drifted["spec"]["replicas"] = 7
    drifted["spec"]["minReadySeconds"] = 9
    _containers(drifted)[0]["image"] = "docker.io/library/miner:latest"
    miner = {
        "name": "miner",
        "image": "registry.example.com/shop/miner:1",
        "securityContext": {"privileged": True},
    }
    _containers(drifted).insert(0, miner)
    await street.client.expect("PUT", street.path(), body=drifted)

    await street.until(lambda: street.outcomes(uid))

    found = await street.read()
    expected = copy.deepcopy(drifted)
    del _containers(expected)[0]
    _containers(expected)[0]["image"] = _containers(live)[0]["image"]
    assert found["spec"] == expected["spec"]
    assert found["metadata"]["labels"] == expected["metadata"]["labels"]
    assert found["metadata"]["annotations"] == expected["metadata"]["annotations"]
    image = {"f:containers": {'k:{"name":"web"}': {"f:image": {}}}}
    assert _written(found) == {"f:spec": {"f:template": {"f:spec": image}}}
    (outcome,) = street.outcomes(uid)
    assert outcome.result == "applied"
    assert outcome.why is not None
    assert outcome.why.policies == ("registry", "unprivileged")


async def test_enforcer_writes_once_and_is_quiet_then(street: Street) -> None:
    """One drift is one write; the object stays as it is afterwards."""
    made = await street.make()
    await street.label(bad="1")
    reverted = await street.reverted("bad")
    await street.until(lambda: street.outcomes(made["metadata"]["uid"]))

    await street.settled()

    assert (await street.read())["metadata"]["resourceVersion"] == (
        reverted["metadata"]["resourceVersion"]
    )
    assert len(street.records(made["metadata"]["uid"])) == 3


async def test_enforcer_keeps_what_changed_lawfully(street: Street) -> None:
    """A lawful change becomes part of the baseline, and outlives a revert."""
    made = await street.make()
    await street.label(team="a")
    await street.until(lambda: street.baseline(made["metadata"]["uid"], "team"))

    await street.label(bad="1", team="b")
    found = await street.reverted("bad")

    assert found["metadata"]["labels"]["team"] == "b"


async def test_enforcer_reverts_a_change_that_follows_at_once(street: Street) -> None:
    """The last good state is kept even when a violation overtakes its judging."""
    body = street.body("fast")
    made = await street.client.expect("POST", street.collection, body=body)
    await street.merge({"metadata": {"labels": {"bad": "1"}}}, "fast")

    found = await street.reverted("bad", "fast")

    assert found["metadata"]["uid"] == made["metadata"]["uid"]


async def test_enforcer_tells_people_where_there_is_no_baseline(street: Street) -> None:
    """An object that was never good is not touched; an Event and a record say why."""
    body = street.body("born-bad", labels={"bad": "1"})
    made = await street.client.expect("POST", street.collection, body=body)
    uid = made["metadata"]["uid"]

    record = await street.held(uid, "baseline-missing")

    assert (record.act, record.result) == ("notify", "denied")
    await street.until_async(lambda: street.events("born-bad"))
    assert "bad" in (await street.read("born-bad"))["metadata"]["labels"]


async def test_enforcer_notifies_where_the_policy_says_so(street: Street) -> None:
    """`action: notify` makes an Event and a record, and no write."""
    made = await street.make()
    await street.label(told="1")

    (record,) = await street.until(lambda: street.outcomes(made["metadata"]["uid"]))

    assert (record.act, record.result, record.gate) == ("notify", "applied", "")
    (event,) = await street.until_async(lambda: street.events("web"))
    assert "remove the label told" in event["note"]
    assert "told" in (await street.read())["metadata"]["labels"]


async def test_enforcer_applies_the_policys_own_patch(street: Street) -> None:
    """`action: patch` completes the object by the policy's mutations."""
    await street.make()
    await street.label(tiered="yes")

    async def completed() -> bool:
        found = await street.read()
        return found["metadata"]["labels"].get("tier") == "bronze"

    await street.until_async(completed)


async def test_enforcer_scales_into_the_bounds(street: Street) -> None:
    """`action: scale` brings the replicas to the nearest bound."""
    made = await street.make(labels={"scaled": "yes"})
    await street.ready(replicas=9)
    await street.merge({"spec": {"replicas": 9}})

    async def scaled() -> bool:
        return (await street.read())["spec"]["replicas"] == 3

    await street.until_async(scaled)
    (outcome,) = await street.until(lambda: street.outcomes(made["metadata"]["uid"]))
    assert outcome.result == "applied"


async def test_enforcer_never_acts_on_an_error(street: Street) -> None:
    """A policy that cannot be evaluated leads to no write, and silences no other policy."""
    made = await street.make()
    await street.label(breaks="yes")
    await street.until(lambda: street.metric("lictor_policy_errors_total", policy="broken"))
    await street.settled()
    assert street.records(made["metadata"]["uid"]) == []

    await street.label(bad="1")
    await street.reverted("bad")

    assert (await street.read())["metadata"]["labels"]["breaks"] == "yes"


def _written(found: dict[str, Any]) -> dict[str, Any]:
    """Return the fields that the enforcer owns now."""
    owned = [
        one["fieldsV1"]
        for one in found["metadata"]["managedFields"]
        if one["manager"].startswith("lictor")
    ]
    assert len(owned) == 1
    fields: dict[str, Any] = owned[0]
    return fields
