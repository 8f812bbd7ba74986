"""What every AuditSink does, simulated or real."""

import base64
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from lictor.errors import AuditUnavailableError
from lictor.ledger.sequencer import open_ledger
from lictor.model.audit_record import AuditRecord, RecordType
from lictor.ports.audit_sink import AuditSink
from lictor.system import SystemClock
from testkit.ledgers import new_ledger
from testkit.simulators.audit_sink import MemoryAuditSink

DRAFT = AuditRecord(type=RecordType.REMEDIATION_INTENT, act="patch")


@pytest.fixture(params=["memory", "sqlite"])
async def sink(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[AuditSink]:
    """Yield each implementation."""
    if request.param == "memory":
        yield MemoryAuditSink()
        return
    settings = new_ledger(tmp_path).settings
    async with open_ledger(settings, cluster="c", version="1", clock=SystemClock()) as sequencer:
        yield sequencer


async def test_append_numbers_one_after_the_other(sink: AuditSink) -> None:
    """Each record has the next number, and its place names writer and run."""
    receipts = [await sink.append(DRAFT) for _ in range(3)]
    first = receipts[0]

    assert [receipt.wseq - first.wseq for receipt in receipts] == [0, 1, 2]
    assert len({receipt.rec.rpartition("/")[0] for receipt in receipts}) == 1
    assert all(
        receipt.rec == f"{first.rec.rpartition('/')[0]}/{receipt.wseq}" for receipt in receipts
    )


async def test_append_gives_a_durable_receipt(sink: AuditSink) -> None:
    """The leaf is the base64 of a hash, and no two are the same."""
    receipts = [await sink.append(DRAFT) for _ in range(2)]

    assert all(receipt.durable for receipt in receipts)
    assert {len(base64.b64decode(receipt.leaf)) for receipt in receipts} == {32}
    assert receipts[0].leaf != receipts[1].leaf


@pytest.mark.parametrize("strict", [True, False])
async def test_simulator_fails_on_demand(*, strict: bool) -> None:
    """A test can see what happens when the ledger fails, in both modes."""
    sink = MemoryAuditSink(failing=True, strict=strict)
    if strict:
        with pytest.raises(AuditUnavailableError, match="simulated"):
            await sink.append(DRAFT)
    else:
        assert not (await sink.append(DRAFT)).durable

    assert (sink.lost, sink.records) == (1, [])
