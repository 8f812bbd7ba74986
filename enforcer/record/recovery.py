"""Finds what a process that died had begun: intents without an outcome."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from lictor.errors import InputError
from lictor.model.audit_record import AuditRecord, RecordType
from lictor.model.document import Document
from lictor.model.names import Digest, Gvr, ObjectKey
from lictor.model.plan import WriteResult
from lictor.ports.record_reader import RecordReader
from lictor.ports.state_store import StateKind, StateStore

_STATE_KEY: Final = "ledger"


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenIntent:
    """An intent without an outcome, and the leaf it stands in."""

    index: int
    record: AuditRecord

    @property
    def boot(self) -> str:
        """The life of the process that wrote it."""
        return self.record.src.boot if self.record.src is not None else ""

    @property
    def key(self) -> ObjectKey:
        """The object that was to be written.

        Raises:
            InputError: the record names no object.
        """
        section = self.record.obj
        if section is None or section.gvr is None:
            raise InputError(f"the intent in leaf {self.index} names no object")
        return ObjectKey(Gvr(*section.gvr), section.ns, section.name)

    def result(
        self, document: Document | None, *, attest: Callable[[Document], Digest]
    ) -> WriteResult:
        """Say what became of it, from the state that is there now."""
        section, planned = self.record.obj, self.record.after
        if document is None or section is None or document.uid != section.uid:
            return WriteResult.APPLIED if self.record.act == "delete" else WriteResult.GONE
        if planned is not None and attest(document) == planned.digest:
            return WriteResult.APPLIED
        return WriteResult.UNKNOWN


def open_intents(reader: RecordReader, *, start: int = 0) -> tuple[tuple[OpenIntent, ...], int]:
    """Return the intents from leaf `start` on that have no outcome, and the next leaf to read.

    An outcome names its intent by the change: `wseq` begins anew with each boot.

    Raises:
        StoreError: the log could not be read.
    """
    found: dict[str, OpenIntent] = {}
    end = start
    types = (RecordType.REMEDIATION_INTENT, RecordType.REMEDIATION_OUTCOME)
    for stored in reader.records(types, start=start):
        end = stored.index + 1
        if stored.record.type is RecordType.REMEDIATION_INTENT:
            found[stored.record.change] = OpenIntent(index=stored.index, record=stored.record)
        else:
            found.pop(stored.record.change, None)
    return tuple(found.values()), end


class Recovery:
    """Remembers how far the log has been read, so that a start does not read all of it."""

    def __init__(self, reader: RecordReader, states: StateStore, *, boot: str) -> None:
        """Take the log, and the boot that is ours: its intents are still in our own hands."""
        self._reader = reader
        self._states = states
        self._boot = boot
        self._end = 0

    def find(self) -> tuple[OpenIntent, ...]:
        """Return the intents without an outcome.

        Raises:
            StoreError: the log or the state could not be read.
        """
        state = self._states.read(StateKind.RECOVERY, _STATE_KEY) or {}
        start = state.get("start")
        begin = start if isinstance(start, int) else 0
        found, end = open_intents(self._reader, start=begin)
        ours = [intent for intent in found if intent.boot == self._boot]
        self._end = min([end, *(intent.index for intent in ours)])
        return tuple(intent for intent in found if intent.boot != self._boot)

    def finish(self) -> None:
        """Keep that everything up to the last look has its outcome.

        Raises:
            StoreError: the state could not be written.
        """
        self._states.write(StateKind.RECOVERY, _STATE_KEY, {"start": self._end})
