"""A sequencer in memory."""

import base64
from dataclasses import dataclass, field

import msgspec
from typing_extensions import override

from lictor.audit import digest
from lictor.errors import AuditUnavailableError
from lictor.model.audit_record import SCHEMA_VERSION, AuditRecord, SourceSection
from lictor.ports.audit_sink import AuditSink, Receipt


@dataclass(slots=True, kw_only=True)
class MemoryAuditSink(AuditSink):
    """Keeps what was appended in `records`, numbered from 0 as the real one does.

    Attributes:
        failing: while it is True, a record is lost as it is with a store that failed.
        strict: whether a lost record raises, or gives a receipt that is not durable.
    """

    writer: str = "w0"
    boot: str = "00000000000000b0"
    failing: bool = False
    strict: bool = True
    records: list[AuditRecord] = field(default_factory=list)
    lost: int = 0
    _wseq: int = 0

    @override
    async def append(self, draft: AuditRecord) -> Receipt:
        """Add `draft`, or lose it.

        Raises:
            AuditUnavailableError: it is failing and strict.
        """
        wseq = self._wseq
        self._wseq += 1
        source = SourceSection(writer=self.writer, boot=self.boot, wseq=wseq)
        record = msgspec.structs.replace(draft, v=SCHEMA_VERSION, src=source)
        if self.failing:
            self.lost += 1
            if self.strict:
                raise AuditUnavailableError("the simulated store failed")
        else:
            self.records.append(record)
        leaf = digest(msgspec.json.encode(record)).removeprefix("sha256:")
        return Receipt(
            rec=f"{self.writer}/{self.boot}/{wseq}",
            wseq=wseq,
            leaf=base64.b64encode(bytes.fromhex(leaf)).decode(),
            durable=not self.failing,
        )
