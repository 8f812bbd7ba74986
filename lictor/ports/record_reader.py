"""Reads records back."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from lictor.model.audit_record import AuditRecord, RecordType


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """A record and the index of its leaf."""

    index: int
    record: AuditRecord


class RecordReader(Protocol):
    """Reads the records of one log."""

    def records(self, types: Sequence[RecordType], *, start: int = 0) -> Iterator[StoredRecord]:
        """Yield the records of these types (all, when empty) from leaf `start` on, in order.

        Raises:
            StoreError: the log could not be read.
        """
        ...
