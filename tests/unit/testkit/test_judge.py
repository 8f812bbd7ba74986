"""The judge of the chaos run finds each fault that it is there to find."""

import base64
import hashlib
import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from testkit import judge
from testkit.history import Revision

KEY = "/registry/deployments/shop/web"
USER = "system:serviceaccount:lictor-system:lictor-enforcer"


def good(body: Mapping[str, Any]) -> bool:
    """Comply unless marked bad."""
    return not body.get("bad", False)


def states(*marks: str, key: str = KEY, uid: str = "u1") -> list[Revision]:
    """Return a history: g for a good state, b for a bad one, - for a deletion."""
    values = {
        "g": {"metadata": {"uid": uid}},
        "b": {"metadata": {"uid": uid}, "bad": True},
        "-": None,
    }
    return [Revision(key, number, values[mark]) for number, mark in enumerate(marks, 1)]


def event(**changes: Any) -> dict[str, Any]:  # noqa: ANN401 - parts of an event
    """Return a write of the enforcer that took effect, as the API server logs it."""
    return {
        "stage": "ResponseComplete",
        "verb": "patch",
        "requestURI": "/apis/apps/v1/namespaces/shop/deployments/web",
        "user": {"username": USER},
        "objectRef": {"resource": "deployments", "namespace": "shop", "name": "web"},
        "responseStatus": {"code": 200},
        **changes,
    }


def acknowledged(rec: str, leaf: str) -> dict[str, Any]:
    """Return an event that carries a receipt of the gate."""
    notes = {"open.lictor.dev/rec": rec, "open.lictor.dev/leaf": leaf, "other/rule": "x"}
    return event(annotations=notes)


def ledger_of(folder: Path, *records: Mapping[str, Any]) -> Path:
    """Write a ledger's table of leaves, and nothing else of it."""
    path = folder / "ledger"
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE leaf (idx INTEGER PRIMARY KEY, data BLOB)")
        rows = [(index, json.dumps(record).encode()) for index, record in enumerate(records)]
        database.executemany("INSERT INTO leaf VALUES (?, ?)", rows)
    return path


def record(kind: str, wseq: int, *, boot: str = "b1", **fields: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return a record of the enforcer about the Deployment web."""
    source = {"writer": "w0", "boot": boot, "wseq": wseq}
    return {"type": kind, "src": source, "obj": {"ns": "shop", "name": "web"}, **fields}


def test_leaves_are_hashed_as_rfc_6962_says(tmp_path: Path) -> None:
    """A leaf is found by its place in its writer's run, with the hash that a receipt shows."""
    one = record("admission.decision", 7)
    data = json.dumps(one).encode()

    found = judge.leaves(ledger_of(tmp_path, one))

    assert found == {"w0/b1/7": base64.b64encode(hashlib.sha256(b"\0" + data).digest()).decode()}


@pytest.mark.parametrize(
    ("ledger", "found"),
    [
        pytest.param({"w0/b1/1": "hash"}, [], id="there"),
        pytest.param({}, ["acknowledged record w0/b1/1 is lost"], id="lost"),
        pytest.param({"w0/b1/1": "odd"}, ["acknowledged record w0/b1/1 is altered"], id="altered"),
    ],
)
def test_lost_acknowledged_finds_what_the_ledger_lacks(
    ledger: dict[str, str], found: list[str]
) -> None:
    """A receipt in the API server's log must be a leaf, with these very bytes."""
    events = [event(), acknowledged("w0/b1/1", "hash")]

    assert judge.lost_acknowledged(events, ledger) == found


def test_receipts_without_a_leaf_are_never_there() -> None:
    """A receipt that names no leaf is no receipt: it matches no ledger."""
    bare = event(annotations={"open.lictor.dev/rec": "w0/b1/1"})

    found = judge.lost_acknowledged([bare], {"w0/b1/1": "hash"})

    assert found == ["acknowledged record w0/b1/1 is altered"]


@pytest.mark.parametrize(
    ("marks", "baselines", "lasting"),
    [
        pytest.param("gbg", {"u1"}, False, id="repaired"),
        pytest.param("gb", {"u1"}, True, id="not-repaired"),
        pytest.param("gbgb", {"u1"}, True, id="bad-again"),
        pytest.param("gb", set[str](), False, id="no-baseline"),
        pytest.param("gb", {"u2"}, False, id="baseline-of-another"),
        pytest.param("gb-", {"u1"}, False, id="deleted"),
    ],
)
def test_lasting_violations_finds_what_is_bad_at_the_end(
    marks: str,
    baselines: set[str],
    lasting: bool,  # noqa: FBT001 - a table
) -> None:
    """What has a baseline and is bad in its last revision was not repaired."""
    found = judge.lasting_violations(states(*marks), good, baselines=baselines)

    assert found == ([f"{KEY} is bad at the end, and has a baseline"] if lasting else [])


@pytest.mark.parametrize(
    ("marks", "repairs", "drifts"),
    [
        pytest.param("", 0, 0, id="nothing"),
        pytest.param("g", 0, 0, id="created-good"),
        pytest.param("b", 0, 0, id="created-bad"),
        pytest.param("gggg", 0, 0, id="always-good"),
        pytest.param("gbbgg", 1, 1, id="once"),
        pytest.param("gbgbg", 2, 2, id="twice"),
        pytest.param("gb-g", 0, 1, id="deleted-between"),
        pytest.param("g-b", 0, 0, id="another-object"),
    ],
)
def test_turns_are_counted_within_one_life_of_an_object(
    marks: str, repairs: int, drifts: int
) -> None:
    """Only a step from bad to good is a repair, only one from good to bad is a drift."""
    history = states(*marks)

    assert judge.repairs(history, good).total() == repairs
    assert judge.drifts(history, good).total() == drifts


def test_turns_of_two_objects_are_not_mixed() -> None:
    """Interleaved histories are those of their objects."""
    one, other = states("g", "b", "g"), states("b", "b", "b", key=KEY + "2", uid="u2")
    mixed = [revision for pair in zip(one, other, strict=True) for revision in pair]

    assert judge.repairs(mixed, good) == {KEY: 1}


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"verb": "get"}, id="read"),
        pytest.param({"requestURI": "/x?dryRun=All&fieldManager=y"}, id="dry-run"),
        pytest.param({"stage": "RequestReceived", "responseStatus": None}, id="not-answered"),
        pytest.param({"responseStatus": {"code": 409}}, id="refused"),
        pytest.param({"user": {"username": "somebody"}}, id="other-user"),
        pytest.param({"objectRef": {"resource": "pods"}}, id="other-resource"),
    ],
)
def test_writes_by_leaves_out_what_changed_nothing(changes: dict[str, Any]) -> None:
    """Of a user's requests only those count that changed such an object."""
    write = event()

    found = judge.writes_by([event(**changes), write], USER, resource="deployments")

    assert found == {("shop", "web"): [write]}


@pytest.mark.parametrize(
    ("marks", "writes", "needless"),
    [
        pytest.param("gbg", 1, False, id="one-each"),
        pytest.param("gbgbg", 2, False, id="two-each"),
        pytest.param("gbg", 2, True, id="reverted-twice"),
        pytest.param("gg", 1, True, id="nothing-to-revert"),
    ],
)
def test_needless_writes_finds_a_drift_that_was_reverted_twice(
    marks: str,
    writes: int,
    needless: bool,  # noqa: FBT001 - a table
) -> None:
    """Each write of the enforcer made something good that was bad."""
    found = judge.needless_writes(
        states(*marks), good, writes={("shop", "web"): [event()] * writes}
    )

    assert bool(found) is needless
    assert all(line.startswith(f"shop/web was written {writes} times") for line in found)


@pytest.mark.parametrize(
    ("records", "orphans"),
    [
        pytest.param([record("remediation.intent", 1)], 1, id="no-outcome"),
        pytest.param(
            [record("remediation.intent", 1), record("remediation.outcome", 2, intent=1)],
            0,
            id="with-outcome",
        ),
        pytest.param(
            [
                record("remediation.intent", 1),
                record("remediation.outcome", 1, boot="b2", intent=1),
            ],
            1,
            id="outcome-of-another-run",
        ),
        pytest.param(
            [record("remediation.outcome", 1), record("admission.decision", 2)], 0, id="no-intent"
        ),
    ],
)
def test_orphaned_intents_counts_what_the_same_run_did_not_end(
    tmp_path: Path, records: list[dict[str, Any]], orphans: int
) -> None:
    """An intent without an outcome of its own run is evidence of a kill after it."""
    assert judge.orphaned_intents(ledger_of(tmp_path, *records)) == orphans


@pytest.mark.parametrize(
    ("intents", "writes", "found"),
    [
        pytest.param(2, 1, [], id="a-write-that-failed"),
        pytest.param(1, 1, [], id="one-each"),
        pytest.param(1, 2, ["shop/web: 2 writes, 1 intents"], id="a-write-without-intent"),
        pytest.param(0, 1, ["shop/web: 1 writes, 0 intents"], id="none"),
    ],
)
def test_unrecorded_writes_finds_a_write_without_an_intent(
    tmp_path: Path, intents: int, writes: int, found: list[str]
) -> None:
    """No object is written more often than it was recorded that it would be."""
    records = [record("remediation.intent", n) for n in range(intents)]
    ledger = ledger_of(tmp_path, *records, record("remediation.outcome", 90, intent=0))

    assert judge.unrecorded_writes({("shop", "web"): [event()] * writes}, ledger) == found


@pytest.mark.parametrize(
    ("second", "needless"),
    [
        pytest.param({"spec": {"replicas": 2}}, True, id="spec rewritten while good"),
        pytest.param({"spec": {"replicas": 1}}, False, id="only metadata changed"),
        pytest.param({"spec": {"replicas": 2}, "bad": True}, False, id="made bad by the traffic"),
    ],
)
def test_needless_revisions_finds_a_rewrite_of_what_was_good(
    second: dict[str, Any],
    needless: bool,  # noqa: FBT001 - a table
) -> None:
    """Only a change of a spec that stays good is a second revert."""
    history = [Revision(KEY, 1, {"spec": {"replicas": 1}}), Revision(KEY, 2, second)]

    found = judge.needless_revisions(history, lambda body: "bad" not in body)

    assert bool(found) is needless
