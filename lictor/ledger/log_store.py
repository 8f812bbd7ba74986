"""The embedded store of a log: SQLite, one transaction for a commit's leaves and checkpoint.

It blocks, and belongs to one thread.
"""

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from lictor.audit import Checkpoint, sign_note
from lictor.errors import StoreError
from lictor.ledger.errors import LedgerDamagedError, LedgerError
from lictor.ledger.keys import verifier_key
from lictor.ledger.lock import exclusive
from lictor.ledger.recovery import RECENT, LastRun, Recovered, recover
from lictor.ledger.schema import open_writer
from lictor.ports.signer import Signer

KEEP_EVERY: Final = 1024
"""Of the checkpoints that are not recent, one is kept for so many leaves: they bracket a fault."""


class LogStore:
    """An open, verified log that can be appended to; made by `open_log`."""

    __slots__ = ("_connection", "_signer", "_state")

    def __init__(self, connection: sqlite3.Connection, state: Recovered, *, signer: Signer) -> None:
        self._connection = connection
        self._state = state
        self._signer = signer

    @property
    def head(self) -> Checkpoint | None:
        """The last checkpoint that is durable; None in a new log."""
        return self._state.head

    @property
    def last_run(self) -> LastRun | None:
        """Who wrote before this process."""
        return self._state.last_run

    def commit(self, leaves: Sequence[tuple[bytes, bytes]]) -> Checkpoint:
        """Append leaves, each with its hash, and sign; both are durable once it returns.

        After an error the store must not be used any more: what is on the disk is unknown until it
        was recovered (a failed fsync is not tried again, since the kernel may have dropped the
        pages that it was about).

        Raises:
            StoreError: nothing of it may be taken for durable.
        """
        state = self._state
        start = state.frontier.size
        for _, leaf in leaves:
            state.frontier.append(leaf)
        frontier = state.frontier
        checkpoint = Checkpoint(self._signer.name, frontier.size, frontier.root())
        note = sign_note(checkpoint.text, self._signer)
        rows = [(start + i, data, leaf) for i, (data, leaf) in enumerate(leaves)]
        try:
            run = self._connection.execute
            run("BEGIN IMMEDIATE")
            self._connection.executemany("INSERT INTO leaf VALUES (?, ?, ?)", rows)
            run("INSERT INTO checkpoint VALUES (?, ?, ?)", (frontier.size, note, frontier.pack()))
            self._forget_old()
            run("COMMIT")
        except (sqlite3.Error, OverflowError) as err:
            self._roll_back()
            raise StoreError(f"the ledger could not commit: {err}") from err
        state.recent.append(frontier.size)
        state.head = checkpoint
        return checkpoint

    def _forget_old(self) -> None:
        recent = self._state.recent
        if len(recent) < RECENT:
            return
        oldest = recent.popleft()
        if oldest // KEEP_EVERY > self._state.kept // KEEP_EVERY:
            self._state.kept = oldest
        else:
            self._connection.execute("DELETE FROM checkpoint WHERE size = ?", (oldest,))

    def _roll_back(self) -> None:
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except sqlite3.Error:
            # Closing the connection drops the transaction as well.
            return


@contextmanager
def open_log(path: Path, *, signer: Signer) -> Iterator[LogStore]:
    """Lock, open and recover the log in the file `path`, which is made where it is missing.

    Raises:
        LedgerLockedError: another process writes it.
        LedgerDamagedError: it is not as the signer's key signed it, or cannot be read.
        LedgerError: it cannot be opened, or is no ledger of this version.
    """
    with exclusive(path):
        try:
            connection = _open(path)
        except (sqlite3.Error, OSError) as err:
            raise LedgerError(f"{path}: {err}") from err
        with closing(connection):
            try:
                state = recover(connection, path, key=verifier_key(signer))
            except sqlite3.OperationalError as err:
                raise LedgerError(f"{path}: {err}") from err
            except sqlite3.DatabaseError as err:
                raise LedgerDamagedError(f"{path}: {err}") from err
            yield LogStore(connection, state, signer=signer)


def _open(path: Path) -> sqlite3.Connection:
    if not path.exists():
        # Names and groups of users stand in it: for us alone. The WAL takes the same mode.
        path.touch(mode=0o600)
        # The file's name must survive a power failure as well as what is in it.
        folder = os.open(path.absolute().parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    return open_writer(path)
