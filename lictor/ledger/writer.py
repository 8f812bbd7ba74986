"""The thread that commits: takes what has gathered while the last commit ran, and signs it."""

import asyncio
import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Final

from lictor.audit import Checkpoint
from lictor.errors import LictorError, StoreError
from lictor.ledger.errors import LedgerError
from lictor.ledger.log_store import LogStore, open_log
from lictor.model.audit_record import RecordType
from lictor.ports.clock import Clock
from lictor.ports.signer import Signer


class Stage(StrEnum):
    """Where a record is on its way."""

    QUEUED = "queued"
    WITHDRAWN = "withdrawn"
    TAKEN = "taken"


@dataclass(slots=True, kw_only=True, eq=False)
class Entry:
    """One record on its way to the store.

    Attributes:
        done: resolved on the loop: True once it is durable, False once it is lost.
    """

    wseq: int
    kind: RecordType
    data: bytes
    leaf: bytes
    done: asyncio.Future[bool]
    stage: Stage = Stage.QUEUED


@dataclass(frozen=True, slots=True, kw_only=True)
class Committed:
    """One group commit that is durable."""

    entries: Sequence[Entry]
    checkpoint: Checkpoint
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """What is called on the loop; `failed` is the last call but `ended`."""

    opened: Callable[[LogStore | LictorError], None]
    committed: Callable[[Committed], None]
    failed: Callable[[str], None]
    ended: Callable[[], None]


@dataclass(slots=True, kw_only=True, eq=False)
class Writer:
    """Owns the store for as long as its thread runs."""

    path: Path
    signer: Signer
    clock: Clock
    batch: int
    loop: asyncio.AbstractEventLoop
    listener: Listener
    _inbox: queue.SimpleQueue[Entry | None] = field(default_factory=queue.SimpleQueue)
    _stages: threading.Lock = field(default_factory=threading.Lock)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread: it opens the store, then commits until `stop`."""
        # A daemon, so that a disk that hangs cannot keep the process from ending.
        self._thread = threading.Thread(target=self._run, name=THREAD_NAME, daemon=True)
        self._thread.start()

    def put(self, entry: Entry) -> None:
        """Hand over one record; never blocks."""
        self._inbox.put(entry)

    def stop(self) -> None:
        """Let the thread end after what was put before."""
        self._inbox.put(None)

    def join(self, timeout_seconds: float) -> bool:
        """Wait for the thread; tell whether it has ended."""
        if self._thread is not None:
            self._thread.join(timeout_seconds)
        return self._thread is None or not self._thread.is_alive()

    def withdraw(self, entry: Entry) -> bool:
        """Take `entry` back; False where it is being committed already."""
        with self._stages:
            if entry.stage is Stage.QUEUED:
                entry.stage = Stage.WITHDRAWN
            return entry.stage is Stage.WITHDRAWN

    def _run(self) -> None:
        try:
            with open_log(self.path, signer=self.signer) as store:
                self._call(partial(self.listener.opened, store))
                self._commit_all(store)
        except LedgerError as err:
            self._call(partial(self.listener.opened, err))
        finally:
            self._call(self.listener.ended)

    def _commit_all(self, store: LogStore) -> None:
        is_open = True
        while is_open:
            batch, is_open = self._next_batch()
            if not batch:
                continue
            started = self.clock.monotonic()
            try:
                checkpoint = store.commit([(entry.data, entry.leaf) for entry in batch])
            except StoreError as err:
                self._call(partial(self.listener.failed, str(err)))
                return
            seconds = self.clock.monotonic() - started
            done = Committed(entries=batch, checkpoint=checkpoint, seconds=seconds)
            self._call(partial(self.listener.committed, done))

    def _next_batch(self) -> tuple[list[Entry], bool]:
        """Wait for a record, then take what else is there; False: it was told to stop."""
        found: list[Entry] = []
        entry = self._inbox.get()
        is_open = entry is not None
        while entry is not None:
            found.append(entry)
            if len(found) >= self.batch:
                break
            try:
                entry = self._inbox.get_nowait()
            except queue.Empty:
                break
            is_open = entry is not None
        with self._stages:
            taken = [entry for entry in found if entry.stage is Stage.QUEUED]
            for entry in taken:
                entry.stage = Stage.TAKEN
        return taken, is_open

    def _call(self, function: Callable[[], None]) -> None:
        try:
            self.loop.call_soon_threadsafe(function)
        except RuntimeError:
            # The loop is closed: nobody waits any more.
            return


THREAD_NAME: Final = "lictor-ledger"
