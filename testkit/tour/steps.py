"""The five steps. Each says what it does, shows what came back, and tells whether it is right."""

import asyncio
import re
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from lictor.ledger.backup import copy
from lictor.ledger.reader import LedgerReader
from lictor.model.audit_record import AuditRecord, RecordType
from lictor.model.patch import PatchOperation, make_patch, resolve
from lictor.system import SystemClock
from testkit import workloads
from testkit.client import ApiClient
from testkit.tour.display import Display
from testkit.tour.tamper import flip_one_byte
from testkit.world import ENFORCER, GATE, World

OWNED: Final = "shop"
UNOWNED: Final = "attic"
NAME: Final = "web"
STRATEGIC_MERGE: Final = "application/strategic-merge-patch+json"
REVERT_SECONDS: Final = 30.0
_POLL_SECONDS: Final = 0.01


class Tour:
    """Walks through what Lictor is for, as somebody who uses the cluster."""

    def __init__(self, world: World, client: ApiClient, display: Display) -> None:
        """Take a world whose gate and enforcer run."""
        self._world = world
        self._client = client
        self._display = display
        self._right = True

    async def walk(self) -> bool:
        """Take all steps; return whether each did what it says."""
        await self._client.create_namespace(UNOWNED)
        await self._client.create_namespace(OWNED, labels={workloads.OWNER_LABEL: "team-shop"})
        await self._denied()
        await self._completed()
        await self._reverted()
        await self._measured()
        await self._verified()
        return self._right

    async def _denied(self) -> None:
        show = self._display
        show.step(1, "A Deployment without an owner, in a namespace without an owner")
        show.did(f"create deployment {NAME} in namespace {UNOWNED}")
        status, answer = await self._create(UNOWNED)
        show.came_back(_message(status, answer))
        denied = status == 403 and "lictor.dev/owner" in _message(status, answer)  # noqa: PLR2004
        self._judge("denied at the gate, with the label to set", right=denied)

    async def _completed(self) -> None:
        show = self._display
        show.step(2, "The same Deployment, in a namespace that has an owner")
        show.did(f"create deployment {NAME} in namespace {OWNED}")
        status, answer = await self._create(OWNED)
        if status != 201:  # noqa: PLR2004
            show.came_back(_message(status, answer))
            self._judge("admitted", right=False)
            return
        owner = answer["metadata"]["labels"].get(workloads.OWNER_LABEL, "")
        show.came_back(f"201 Created; metadata.labels[{workloads.OWNER_LABEL}] = {owner!r}")
        self._judge("admitted, and completed with its owner", right=owner == "team-shop")

    async def _reverted(self) -> None:
        show = self._display
        show.step(3, "The gate is away (it fails open), and somebody changes that Deployment")
        await self._baseline_known()
        self._world.gate.stop()
        show.did("stop the gate")
        show.did(f"patch deployment {NAME}: privileged container, image {workloads.BAD_IMAGE}")
        path = f"{workloads.collection(OWNED)}/{NAME}"
        bad = await self._client.expect(
            "PATCH", path, body=workloads.going_bad(), content_type=STRATEGIC_MERGE
        )
        written = SystemClock().now()
        show.came_back(f"200 OK: it got in, as resourceVersion {_version(bad)}")
        outcome = await self._outcome(after=written)
        live = await self._client.expect("GET", path)
        for line in _diff(bad, live):
            show.came_back(line)
        if outcome is None:
            self._judge(f"reverted within {REVERT_SECONDS:.0f} s", right=False)
            return
        took = (datetime.fromisoformat(outcome.ts) - written).total_seconds()
        gone = not self._world.gate.running
        right = workloads.is_good(live) and gone and took <= 1.0
        self._judge(
            f"reverted and verified {took * 1000:.0f} ms after the write; the gate is still away",
            right=right,
        )

    async def _measured(self) -> None:
        show = self._display
        show.step(4, "The gate is back; what the metrics say, by owner")
        self._world.gate.start()
        show.did(f"start the gate; patch deployment {NAME} once more")
        status, answer = await self._client.request(
            "PATCH",
            f"{workloads.collection(OWNED)}/{NAME}",
            body=workloads.going_bad(),
            content_type=STRATEGIC_MERGE,
        )
        show.came_back(_message(status, answer))
        found = {name: list(_violations(self._world.metrics(name))) for name in (GATE, ENFORCER)}
        for program, lines in found.items():
            show.did(f"scrape the {program}")
            for line in lines:
                show.came_back(line)
        owned = all(any('owner="team-shop"' in line for line in lines) for lines in found.values())
        self._judge("both count the violations of team-shop", right=owned and status == 403)  # noqa: PLR2004

    async def _verified(self) -> None:
        show = self._display
        show.step(5, "The record: verified while it is written, then with one byte changed")
        right = True
        for program in (GATE, ENFORCER):
            right &= self._verify(self._world.ledger(program)) == 0
        altered = self._world.directory / "altered.ledger"
        altered.unlink(missing_ok=True)
        copy(self._world.ledger(ENFORCER), altered)
        show.did(f"copy the enforcer's ledger; {flip_one_byte(altered)}")
        right &= self._verify(altered) == 1
        self._judge("both ledgers verify, and the altered copy does not", right=right)

    def _verify(self, ledger: Path) -> int:
        arguments = ("audit", "verify", str(ledger), "--trust", str(self._world.trust))
        self._display.did("lictor " + " ".join(arguments))
        done = self._world.command(*arguments)
        self._display.came_back(done.stdout + done.stderr)
        self._display.came_back(f"exit code {done.returncode}")
        return done.returncode

    async def _create(self, namespace: str) -> tuple[int, Any]:
        body = workloads.deployment(NAME)
        return await self._client.request("POST", workloads.collection(namespace), body=body)

    async def _baseline_known(self) -> None:
        """Wait until the enforcer has seen the good state: what it never saw, it can't restore."""
        deadline = time.monotonic() + REVERT_SECONDS
        while time.monotonic() < deadline:
            if 'lictor_enforcer_baselines_total{result="kept"}' in self._world.metrics(ENFORCER):
                return
            await asyncio.sleep(_POLL_SECONDS)

    async def _outcome(self, *, after: datetime) -> AuditRecord | None:
        """Wait for the record of an applied repair of our Deployment."""
        reader = LedgerReader(self._world.ledger(ENFORCER))
        deadline = time.monotonic() + REVERT_SECONDS
        while time.monotonic() < deadline:
            for stored in reader.records((RecordType.REMEDIATION_OUTCOME,)):
                record = stored.record
                ours = record.obj is not None and (record.obj.ns, record.obj.name) == (OWNED, NAME)
                if ours and record.result == "applied" and _time(record) >= after:
                    return record
            await asyncio.sleep(_POLL_SECONDS)
        return None

    def _judge(self, text: str, *, right: bool) -> None:
        self._right = self._right and right
        self._display.verdict(text, right=right)


def _time(record: AuditRecord) -> datetime:
    return datetime.fromisoformat(record.ts)


def _message(status: int, answer: Any) -> str:  # noqa: ANN401 - whatever the API server sends
    if isinstance(answer, dict) and "message" in answer:
        return f"{status} {answer.get('reason', '')}: {answer['message']}"
    return f"{status}"


def _version(body: dict[str, Any]) -> str:
    return str(body["metadata"]["resourceVersion"])


def _diff(bad: dict[str, Any], live: dict[str, Any]) -> Iterator[str]:
    """Yield one line for each field of the spec that the enforcer put back."""
    before, after = {"spec": bad["spec"]}, {"spec": live["spec"]}
    for operation in make_patch(before, after):
        yield f"{operation.path}: {_old(before, operation)!r} -> {operation.value!r}"


def _old(before: dict[str, Any], operation: PatchOperation) -> Any:  # noqa: ANN401 - any JSON
    return None if operation.op == "add" else resolve(before, operation.path)


def _violations(metrics: str) -> Iterator[str]:
    """Yield the violation counters of a scrape that are not zero."""
    pattern = re.compile(r"lictor_violations_total\{.*\} (?!0\.0$)")
    return (line for line in metrics.splitlines() if pattern.match(line))
