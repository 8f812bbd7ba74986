"""What must hold of a ledger before its key is used again.

Leaves and the checkpoint over them stand in one transaction, so SQLite has dropped whatever was
half written. What is left is verified: the last checkpoint, and the leaves of the last few commits.
`lictor audit verify` reads the rest.
"""

import sqlite3
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from lictor.audit import (
    Checkpoint,
    Frontier,
    NoteError,
    VerifierKey,
    decode,
    leaf_hash,
    open_note,
    parse_checkpoint,
)
from lictor.errors import InputError
from lictor.ledger.errors import LedgerDamagedError, LedgerError
from lictor.ledger.schema import APPLICATION_ID, CHECKPOINTS, LEAF_COUNT, LEAVES, TABLES, VERSION
from lictor.model.audit_record import RecordType

RECENT: Final = 16
"""Checkpoints that are kept whatever their size; the leaves since the oldest are the tail."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LastRun:
    """The writer before this one, as its last record tells.

    Attributes:
        wseq: of its last record.
        is_clean: whether that is its `boot.stop`.
    """

    boot: str
    wseq: int
    is_clean: bool


@dataclass(slots=True, kw_only=True)
class Recovered:
    """The state to go on from.

    Attributes:
        head: the last checkpoint; None in a new ledger.
        recent: sizes of the last checkpoints, ascending.
        kept: the largest size of an older checkpoint, 0 where there is none.
        last_run: None in a new ledger, or where its last record is of a type that is not known.
    """

    frontier: Frontier = field(default_factory=Frontier)
    head: Checkpoint | None = None
    recent: deque[int] = field(default_factory=deque)
    kept: int = 0
    last_run: LastRun | None = None


def recover(connection: sqlite3.Connection, path: Path, *, key: VerifierKey) -> Recovered:
    """Make the tables of a new ledger, or verify the head and the tail of an old one.

    Raises:
        LedgerDamagedError: it is not as `key` signed it.
        LedgerError: it is no ledger, or one of another version.
        sqlite3.Error: it cannot be read.
    """
    _prepare(connection, path)
    rows = connection.execute(f"{CHECKPOINTS} ORDER BY size DESC LIMIT ?", (RECENT + 1,)).fetchall()
    size = _leaf_count(connection)
    if not rows:
        if size:
            raise LedgerDamagedError(f"{path}: {size} leaves, and no checkpoint over them")
        return Recovered()
    signed = [_signed(path, row, key=key) for row in rows]
    head, frontier = signed[0]
    if size != head.size:
        raise LedgerDamagedError(f"{path}: {size} leaves; the last checkpoint signs {head.size}")
    # All checkpoints of a short log are kept: then the tail is the log.
    base = signed[RECENT - 1][1] if len(signed) > RECENT else Frontier()
    last = _check_tail(connection, path, base=base, head=head)
    return Recovered(
        frontier=frontier,
        head=head,
        recent=deque(checkpoint.size for checkpoint, _ in reversed(signed[:RECENT])),
        kept=signed[RECENT][0].size if len(signed) > RECENT else 0,
        last_run=_last_run(last),
    )


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if not tables and not application:
        connection.executescript(
            f"BEGIN IMMEDIATE; {TABLES} PRAGMA application_id = {APPLICATION_ID};"
            f"PRAGMA user_version = {VERSION}; COMMIT;"
        )
    elif application != APPLICATION_ID:
        raise LedgerError(f"{path}: a database, but no ledger")
    elif version != VERSION:
        raise LedgerError(f"{path}: a ledger of version {version}; expected {VERSION}")


def _leaf_count(connection: sqlite3.Connection) -> int:
    (size,) = connection.execute(LEAF_COUNT).fetchone()
    return int(size)


def _signed(
    path: Path, row: tuple[int, bytes, bytes], *, key: VerifierKey
) -> tuple[Checkpoint, Frontier]:
    size, note, packed = row
    where = f"{path}: checkpoint {size}"
    try:
        text, _ = open_note(note, [key])
        checkpoint = parse_checkpoint(text)
        frontier = Frontier.unpack(size, packed)
    except NoteError as err:
        raise LedgerDamagedError(f"{where}, note: {err} (is the key that of this ledger?)") from err
    except InputError as err:
        raise LedgerDamagedError(f"{where}, frontier: {err}") from err
    if checkpoint.origin != key.name or checkpoint.size != size:
        raise LedgerDamagedError(f"{where}, note: it is about another log or size")
    if frontier.root() != checkpoint.root:
        raise LedgerDamagedError(f"{where}, frontier: its root is not the one that was signed")
    return checkpoint, frontier


def _check_tail(
    connection: sqlite3.Connection, path: Path, *, base: Frontier, head: Checkpoint
) -> bytes:
    last = b""
    rows = connection.execute(LEAVES, (base.size, head.size, -1))
    for index, data, stored in rows:
        computed = leaf_hash(data)
        if index != base.size or computed != stored:
            raise LedgerDamagedError(f"{path}: leaf {index}: its bytes are not those of its hash")
        base.append(computed)
        last = data
    if base.root() != head.root:
        raise LedgerDamagedError(f"{path}: the last leaves are not those that were signed")
    return last


def _last_run(leaf: bytes) -> LastRun | None:
    try:
        record = decode(leaf)
    except InputError:
        return None
    if record.src is None or record.src.wseq is None:
        return None
    return LastRun(
        boot=record.src.boot,
        wseq=record.src.wseq,
        is_clean=record.type is RecordType.BOOT_STOP,
    )
