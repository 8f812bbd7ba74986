"""Reads a log, also one that is being written.

Leaves are read in short transactions, since an append-only log does not change below its head: a
long reading neither holds up the writer nor lets its WAL grow.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from typing_extensions import override

from lictor.audit import StoredCheckpoint, StoredLeaf, decode
from lictor.errors import InputError, StoreError
from lictor.ledger.schema import (
    APPLICATION_ID,
    CHECKPOINTS,
    LEAF_COUNT,
    LEAVES,
    VERSION,
    open_reader,
)
from lictor.model.audit_record import AuditRecord, RecordType
from lictor.ports.record_reader import RecordReader, StoredRecord

_CHUNK: Final = 2048
"""Leaves a transaction: some 4 MB."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The checkpoints of a log at one moment, and how many leaves there were."""

    size: int
    checkpoints: tuple[StoredCheckpoint, ...]


class LedgerReader(RecordReader):
    """Reads the log in one file; holds nothing open between the calls."""

    __slots__ = ("_path",)

    def __init__(self, path: Path | str) -> None:
        """Take the file; it is opened when something is asked for."""
        self._path = Path(path)

    @override
    def records(self, types: Sequence[RecordType], *, start: int = 0) -> Iterator[StoredRecord]:
        """Yield the records of these types (all, when empty) from leaf `start` on, in order.

        What is appended meanwhile is not among them; nor are types that this version does not know.

        Raises:
            StoreError: the log could not be read.
        """
        wanted = frozenset(types)
        for leaf in self.leaves(start=start):
            record = _decoded(leaf.data)
            if record is not None and (not wanted or record.type in wanted):
                yield StoredRecord(leaf.index, record)

    def snapshot(self) -> Snapshot:
        """Return the checkpoints and the size, both of one moment.

        Raises:
            StoreError: the log could not be read, or the file is no ledger of this version.
        """
        try:
            with closing(self._open()) as connection:
                connection.execute("BEGIN")
                rows = connection.execute(f"{CHECKPOINTS} ORDER BY size").fetchall()
                (size,) = connection.execute(LEAF_COUNT).fetchone()
        except sqlite3.Error as err:
            raise StoreError(f"{self._path}: {err}") from err
        return Snapshot(size, tuple(StoredCheckpoint(*row) for row in rows))

    def leaves(self, *, start: int = 0, end: int | None = None) -> Iterator[StoredLeaf]:
        """Yield the leaves from `start` to before `end` (all there are now, where it is None).

        Raises:
            StoreError: the log could not be read, or the file is no ledger of this version.
        """
        stop = self.snapshot().size if end is None else end
        try:
            with closing(self._open()) as connection:
                rows = _chunk(connection, start, stop)
                while rows:
                    for row in rows:
                        yield StoredLeaf(*row)
                    rows = _chunk(connection, rows[-1][0] + 1, stop)
        except sqlite3.Error as err:
            raise StoreError(f"{self._path}: {err}") from err

    def _open(self) -> sqlite3.Connection:
        connection = open_reader(self._path)
        try:
            self._check_kind(connection)
        except (sqlite3.Error, StoreError):
            connection.close()
            raise
        return connection

    def _check_kind(self, connection: sqlite3.Connection) -> None:
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if (application, version) != (APPLICATION_ID, VERSION):
            what = f"version {version}" if application == APPLICATION_ID else "no ledger"
            raise StoreError(f"{self._path}: {what}; expected a ledger of version {VERSION}")


def _chunk(connection: sqlite3.Connection, start: int, stop: int) -> list[tuple[int, bytes, bytes]]:
    return connection.execute(LEAVES, (start, stop, _CHUNK)).fetchall()


def _decoded(data: bytes) -> AuditRecord | None:
    try:
        return decode(data)
    except InputError:
        return None
