"""What the record costs: latency of one append at several loads, throughput, and verification.

The load is open: records come at their times (Poisson), whether the ledger keeps up or not. Each
record looks like a denied Deployment, some 1.6 KB. Medians of interleaved runs, since single runs
of a shared disk stall.
"""

import asyncio
import random
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

from benchmarks.machine import keep, percentiles
from lictor.audit import encode
from lictor.ledger.sequencer import Sequencer, open_ledger
from lictor.model.audit_record import (
    AuditRecord,
    DecisionSection,
    OwnerSection,
    PolicySection,
    RecordType,
    RequestSection,
    UserSection,
    ViolationSection,
)
from lictor.system import SystemClock
from testkit.ledgers import LedgerHome, new_ledger

RATES: Final = (0, 200, 1000, 3000)
"""Records a second; 0 is one after the other."""

RUNS: Final = 5
RUN_SECONDS: Final = 2.0
BURST: Final = 20_000
_DIGEST: Final = "sha256:" + "0123456789abcdef" * 4

DECISION: Final = AuditRecord(
    type=RecordType.ADMISSION_DECISION,
    req=RequestSection(
        uid="8f1f3a3e-2f6b-4c0e-9d3c-2b8c1f4f6a55",
        op="UPDATE",
        dry_run=False,
        gvk=("apps", "v1", "Deployment"),
        gvr=("apps", "v1", "deployments"),
        ns="team-7",
        name="web",
        obj_uid="5a1c9c1e-7a2d-4d93-8a44-0c7f6f0b9d21",
        rv="881",
        user=UserSection(
            name="system:serviceaccount:ci:deployer",
            groups=("system:serviceaccounts", "system:serviceaccounts:ci", "system:authenticated"),
        ),
        body=_DIGEST,
        obj=_DIGEST,
        old=_DIGEST,
        attest=_DIGEST,
        options=_DIGEST,
        bytes=4311,
    ),
    pol=PolicySection(set=_DIGEST, engine="0.1.0", inputs=_DIGEST, evaluated=42),
    dec=DecisionSection(allowed=False, code=403, mode="enforce", resp=_DIGEST, us=1843),
    owner=OwnerSection(name="team-7", by="namespace"),
    viol=(
        ViolationSection(
            p="no-privileged-containers",
            b="no-privileged-containers",
            r="validations[0]",
            sev="high",
            path="/spec/template/spec/containers/0/securityContext/privileged",
            msg="container web must not be privileged: remove securityContext.privileged",
        ),
    ),
)


async def measure() -> None:
    """Run every load several times in turn, then a burst, and verify what was written."""
    with tempfile.TemporaryDirectory() as folder:
        home = new_ledger(Path(folder))
        runs: dict[int, list[dict[str, float]]] = {rate: [] for rate in RATES}
        async with open_ledger(
            home.settings, cluster="bench", version="0", clock=SystemClock()
        ) as sequencer:
            for number in range(RUNS):
                for rate in RATES:
                    runs[rate].append(percentiles(await _load(sequencer, rate, seed=number)))
            bursts = [await _burst(sequencer) for _ in range(RUNS)]
        keep("ledger", _result(home, runs, bursts))


def _result(
    home: LedgerHome, runs: dict[int, list[dict[str, float]]], bursts: Sequence[float]
) -> dict[str, Any]:
    began = time.perf_counter()
    report = home.verify()
    seconds = time.perf_counter() - began
    size = report.head.size if report.head else 0
    return {
        "record_bytes": len(encode(DECISION)),
        "append": {
            f"{rate}/s" if rate else "one_by_one": {
                name: median(run[name] for run in found) for name in found[0]
            }
            for rate, found in runs.items()
        },
        "burst_records_per_second": round(median(bursts)),
        "verified_records": size,
        "verified_intact": report.is_intact,
        "verify_records_per_second": round(size / seconds),
        "file_bytes_per_record": round(home.path.stat().st_size / max(1, size)),
    }


async def _load(sequencer: Sequencer, rate: int, *, seed: int) -> list[float]:
    times: list[float] = []
    if not rate:
        end = time.perf_counter() + RUN_SECONDS
        while time.perf_counter() < end:
            times.append(await _append(sequencer))
        return times
    chance = random.Random(seed)  # noqa: S311 (a load, repeatable)
    due = time.perf_counter()
    end = due + RUN_SECONDS
    async with asyncio.TaskGroup() as group:
        while due < end:
            due += chance.expovariate(rate)
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            task = group.create_task(_append(sequencer))
            task.add_done_callback(lambda done: times.append(done.result()))
    return times


async def _append(sequencer: Sequencer) -> float:
    began = time.perf_counter()
    await sequencer.append(DECISION)
    return time.perf_counter() - began


async def _burst(sequencer: Sequencer) -> float:
    began = time.perf_counter()
    # Below the limit of the queue, so that none is lost.
    for _ in range(BURST // 5_000):
        async with asyncio.TaskGroup() as group:
            for _ in range(5_000):
                group.create_task(sequencer.append(DECISION))
    return BURST / (time.perf_counter() - began)


if __name__ == "__main__":
    asyncio.run(measure())
