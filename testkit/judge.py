"""Judges a run from what others wrote: etcd's revisions and the API server's audit log.

Each function returns what it found wrong, a line each; nothing found is an empty list.
"""

import base64
import hashlib
import json
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from testkit.history import Revision

Good = Callable[[Mapping[str, Any]], bool]
"""Whether an object complies, by a rule that shares no code with the policies."""

SUCCESS: Final = range(200, 300)


def leaves(ledger: Path) -> dict[str, str]:
    """Read a ledger without its own code: `<writer>/<boot>/<wseq>` to base64 of the leaf hash."""
    with closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)) as database:
        found = {}
        for (data,) in database.execute("SELECT data FROM leaf ORDER BY idx"):
            source = json.loads(data)["src"]
            rec = f"{source['writer']}/{source['boot']}/{source['wseq']}"
            found[rec] = base64.b64encode(hashlib.sha256(b"\0" + data).digest()).decode()
    return found


def receipts(events: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """Yield (rec, leaf) of every answer of the gate that the API server took note of."""
    for event in events:
        notes = event.get("annotations") or {}
        for key, rec in notes.items():
            webhook, _, name = key.partition("/")
            if name == "rec":
                yield rec, notes.get(f"{webhook}/leaf", "")


def lost_acknowledged(events: Iterable[Mapping[str, Any]], ledger: Mapping[str, str]) -> list[str]:
    """Find receipts in the API server's log whose record the ledger does not hold."""
    return [
        f"acknowledged record {rec} is {'altered' if rec in ledger else 'lost'}"
        for rec, leaf in receipts(events)
        if ledger.get(rec) != leaf
    ]


def lasting_violations(
    history: Sequence[Revision], good: Good, *, baselines: Collection[str]
) -> list[str]:
    """Find objects that are bad at the end though a baseline of them is known, by uid."""
    last = {revision.key: revision.value for revision in history}
    return [
        f"{key} is bad at the end, and has a baseline"
        for key, value in sorted(last.items())
        if value is not None and not good(value) and value["metadata"]["uid"] in baselines
    ]


def repairs(history: Sequence[Revision], good: Good) -> Counter[str]:
    """Count, by key, the revisions in which a bad object became good."""
    return _turns(history, good, now_good=True)


def drifts(history: Sequence[Revision], good: Good) -> Counter[str]:
    """Count, by key, the revisions in which a good object became bad."""
    return _turns(history, good, now_good=False)


def _turns(history: Sequence[Revision], good: Good, *, now_good: bool) -> Counter[str]:
    before: dict[str, bool] = {}
    turns: Counter[str] = Counter()
    for revision in history:
        if revision.value is None:
            before.pop(revision.key, None)
            continue
        now = good(revision.value)
        if now is now_good and before.get(revision.key, now) is not now_good:
            turns[revision.key] += 1
        before[revision.key] = now
    return turns


def writes_by(
    events: Iterable[Mapping[str, Any]], user: str, *, resource: str
) -> dict[tuple[str, str], list[Mapping[str, Any]]]:
    """Return a user's writes of a resource that took effect, by namespace and name."""
    found = defaultdict(list)
    for event in events:
        target = event.get("objectRef") or {}
        takes_effect = (
            event["verb"] in ("create", "update", "patch", "delete")
            and "dryRun=" not in event["requestURI"]
            and event["stage"] == "ResponseComplete"
            and event["responseStatus"]["code"] in SUCCESS
        )
        if takes_effect and event["user"]["username"] == user and target["resource"] == resource:
            found[target["namespace"], target["name"]].append(event)
    return dict(found)


def needless_revisions(history: Sequence[Revision], good: Good) -> list[str]:
    """Find revisions that changed the spec of an object that was good and stayed good.

    Whoever drives the run writes specs only to make them bad: any other change of one is a revert
    that had been made already. etcd holds it also where a killed API server logged nothing.
    """
    found: list[str] = []
    before: dict[str, Mapping[str, Any]] = {}
    for revision in history:
        value, last = revision.value, before.get(revision.key)
        if value is None:
            before.pop(revision.key, None)
            continue
        before[revision.key] = value
        if last is not None and good(last) and good(value) and last["spec"] != value["spec"]:
            found.append(f"{revision.key} was good, and revision {revision.revision} rewrote it")
    return found


def needless_writes(
    history: Sequence[Revision],
    good: Good,
    *,
    writes: Mapping[tuple[str, str], Sequence[object]],
) -> list[str]:
    """Find objects that the enforcer wrote more often than they went from bad to good.

    A drift that is reverted twice shows as a write that made nothing good.
    """
    repaired = repairs(history, good)
    by_name: Counter[tuple[str, str]] = Counter()
    for key, count in repaired.items():
        namespace, name = key.split("/")[-2:]
        by_name[namespace, name] += count
    return [
        f"{namespace}/{name} was written {len(found)} times for {by_name[namespace, name]} repairs"
        for (namespace, name), found in sorted(writes.items())
        if len(found) > by_name[namespace, name]
    ]


def orphaned_intents(ledger: Path) -> int:
    """Count the intents whose outcome another run of the program wrote, or nobody."""
    with closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)) as database:
        records = [json.loads(row[0]) for row in database.execute("SELECT data FROM leaf")]
    boot_of = {
        (record["src"]["boot"], record["intent"])
        for record in records
        if record["type"] == "remediation.outcome" and "intent" in record
    }
    return sum(
        (record["src"]["boot"], record["src"]["wseq"]) not in boot_of
        for record in records
        if record["type"] == "remediation.intent"
    )


def unrecorded_writes(
    writes: Mapping[tuple[str, str], Sequence[object]], ledger: Path
) -> list[str]:
    """Find objects that were written more often than intents to write them were recorded."""
    with closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)) as database:
        records = [json.loads(row[0]) for row in database.execute("SELECT data FROM leaf")]
    intents = Counter(
        (record["obj"].get("ns", ""), record["obj"]["name"])
        for record in records
        if record["type"] == "remediation.intent"
    )
    return [
        f"{namespace}/{name}: {len(found)} writes, {intents[namespace, name]} intents"
        for (namespace, name), found in sorted(writes.items())
        if len(found) > intents[namespace, name]
    ]
