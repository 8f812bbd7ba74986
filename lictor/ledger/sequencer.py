"""The sequencer: numbers records, and answers once they are durable under a signed checkpoint."""

import asyncio
import base64
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import msgspec
import structlog
from typing_extensions import override

from lictor.audit import Checkpoint, encode, leaf_hash
from lictor.audit.encoding import MAX_INTEGER
from lictor.config.settings import AuditMode, AuditSettings
from lictor.errors import AuditUnavailableError, LictorError, SettingsError
from lictor.ledger.errors import LedgerError
from lictor.ledger.gaps import GapBook, GapReason
from lictor.ledger.keys import load_signer
from lictor.ledger.log_store import LogStore
from lictor.ledger.writer import Committed, Entry, Listener, Writer
from lictor.model.audit_record import SCHEMA_VERSION, AuditRecord, RecordType, SourceSection
from lictor.ports.audit_sink import AuditSink, Receipt
from lictor.ports.clock import Clock
from lictor.ports.signer import Signer
from lictor.system import random_hex
from lictor.telemetry import metrics

CLOSE_SECONDS: Final = 10.0
"""How long closing waits for the last commit; what is in flight then is left to recovery."""

OPEN_SECONDS: Final = 30.0
"""How long opening waits for its first commit."""

_BOOT_BYTES: Final = 8
_LOG: Final = structlog.get_logger()


class Sequencer(AuditSink):
    """One writer of one log; made by `open_ledger`, used from one event loop."""

    def __init__(
        self, settings: AuditSettings, source: SourceSection, *, clock: Clock, signer: Signer
    ) -> None:
        """Take what `open_ledger` has read and checked."""
        self._settings = settings
        self._origin = signer.name
        self._source = source
        self._clock = clock
        self._started = clock.monotonic()
        self._loop = asyncio.get_running_loop()
        self._opened: asyncio.Future[LogStore] = self._loop.create_future()
        self._ended = asyncio.Event()
        self._failed = asyncio.Event()
        self._fault = ""
        self._wseq = 0
        self._committed_count = 0
        self._head: Checkpoint | None = None
        self._open: dict[int, Entry] = {}
        self._is_open = False
        self._closing = False
        self._gaps = GapBook(source.boot, clock=clock)
        self._writer = Writer(
            path=Path(settings.path),
            signer=signer,
            clock=clock,
            batch=settings.batch_records,
            loop=self._loop,
            listener=Listener(
                opened=self._on_opened,
                committed=self._on_committed,
                failed=self._on_failed,
                ended=self._on_ended,
            ),
        )

    @property
    def boot(self) -> str:
        """The random name of this run of the writer."""
        return self._source.boot

    @property
    def head(self) -> Checkpoint | None:
        """The last checkpoint that is durable."""
        return self._head

    @property
    def failure(self) -> str:
        """Why no more records are taken; "" while all is well."""
        return self._fault

    async def wait_failed(self) -> str:
        """Wait until the store has failed, and say why: then only a restart helps."""
        await self._failed.wait()
        return self._fault

    @override
    async def append(self, draft: AuditRecord) -> Receipt:
        """Add `draft` and wait, within the budget of the mode, until it is durable.

        Cancelling the call does not take the record back: what it tells has happened.

        Raises:
            AuditUnavailableError: it is not durable, and the mode is `blocking-strict`.
        """
        wseq, data, leaf = self._encode(draft)
        durable = await self._make_durable(wseq, draft.type, data=data, leaf=leaf)
        rec = f"{self._source.writer}/{self._source.boot}/{wseq}"
        if not durable and self._settings.mode is AuditMode.BLOCKING_STRICT:
            raise AuditUnavailableError(f"record {rec} is not durable: {self._fault or 'too slow'}")
        encoded = base64.b64encode(leaf).decode()
        return Receipt(rec=rec, wseq=wseq, leaf=encoded, durable=durable)

    async def _make_durable(self, wseq: int, kind: RecordType, *, data: bytes, leaf: bytes) -> bool:
        if self._fault or self._closing:
            self._gaps.count(GapReason.STORE, wseq)
            return False
        if len(self._open) >= self._settings.queue_records:
            metrics.LIMIT_HITS.labels("ledger_queue").inc()
            self._gaps.count(GapReason.OVERFLOW, wseq)
            return False
        entry = self._put(wseq, kind, data=data, leaf=leaf)
        try:
            async with asyncio.timeout(self._settings.wait_budget_seconds):
                return await entry.done
        except TimeoutError:
            self._gaps.count(self._give_up(entry), wseq)
            return False

    def _give_up(self, entry: Entry) -> GapReason:
        strict = self._settings.mode is AuditMode.BLOCKING_STRICT
        # In strict mode the answer becomes another, so the record would not tell the truth.
        if strict and self._writer.withdraw(entry):
            self._open.pop(entry.wseq, None)
            return GapReason.WITHDRAWN
        return GapReason.LATE

    def _encode(self, draft: AuditRecord) -> tuple[int, bytes, bytes]:
        wseq = self._wseq
        self._wseq += 1
        elapsed = self._clock.monotonic() - self._started
        record = msgspec.structs.replace(
            draft,
            v=SCHEMA_VERSION,
            ts=self._clock.now().isoformat(timespec="microseconds").replace("+00:00", "Z"),
            mono=int(elapsed * 1e9) & MAX_INTEGER,
            src=msgspec.structs.replace(self._source, wseq=wseq),
        )
        data = encode(record)
        return wseq, data, leaf_hash(data)

    def _put(self, wseq: int, kind: RecordType, *, data: bytes, leaf: bytes) -> Entry:
        done: asyncio.Future[bool] = self._loop.create_future()
        entry = Entry(wseq=wseq, kind=kind, data=data, leaf=leaf, done=done)
        self._open[wseq] = entry
        metrics.LEDGER_QUEUE.set(len(self._open))
        self._writer.put(entry)
        return entry

    def _put_own(self, kind: RecordType, detail: dict[str, str | int]) -> Entry:
        # Records about the ledger itself pass by the limit of the queue: they are few.
        wseq, data, leaf = self._encode(AuditRecord(type=kind, detail=detail))
        return self._put(wseq, kind, data=data, leaf=leaf)

    def _record_gaps(self) -> None:
        gaps = self._gaps.take()
        entry = self._put_own(RecordType.AUDIT_GAP, gaps.detail())

        def settle(done: asyncio.Future[bool]) -> None:
            if not done.result():
                self._gaps.give_back(gaps)

        entry.done.add_done_callback(settle)

    # Called by the writer, on the loop.

    def _on_opened(self, result: LogStore | LictorError) -> None:
        if self._opened.done():
            return
        if isinstance(result, LictorError):
            self._opened.set_exception(result)
        else:
            self._head = result.head
            self._is_open = True
            self._opened.set_result(result)

    def _on_committed(self, done: Committed) -> None:
        self._head = done.checkpoint
        self._committed_count += len(done.entries)
        for entry in done.entries:
            self._resolve(entry, durable=True)
        for kind, count in Counter(entry.kind for entry in done.entries).items():
            metrics.LEDGER_RECORDS.labels(kind.value).inc(count)
        metrics.LEDGER_COMMITS.labels("committed").inc()
        metrics.LEDGER_COMMIT_SECONDS.observe(done.seconds)
        metrics.LEDGER_QUEUE.set(len(self._open))
        if self._gaps.is_due(idle=not self._open):
            self._record_gaps()

    def _on_failed(self, why: str) -> None:
        self._fault = why
        metrics.LEDGER_COMMITS.labels("failed").inc()
        _LOG.error("ledger.failed", origin=self._origin, error=why, waiting=len(self._open))
        # Those that were answered late are among them: now they are lost.
        for entry in list(self._open.values()):
            self._gaps.count(GapReason.STORE, entry.wseq)
            self._resolve(entry, durable=False)
        metrics.LEDGER_QUEUE.set(0)
        self._gaps.save()
        self._failed.set()

    def _on_ended(self) -> None:
        self._ended.set()
        if not self._opened.done():
            self._opened.set_exception(LedgerError("the thread of the ledger has ended"))
        elif not self._closing and not self._fault:
            self._on_failed("the thread of the ledger has ended")

    def _resolve(self, entry: Entry, *, durable: bool) -> None:
        self._open.pop(entry.wseq, None)
        if not entry.done.done():
            entry.done.set_result(durable)

    # The run of the writer, driven by `open_ledger`.

    async def begin(self) -> None:
        """Open the log and make the first records durable.

        Raises:
            LedgerError: that was not possible.
        """
        self._writer.start()
        store = await self._opened
        left_behind = self._gaps.open_file(Path(self._settings.path))
        first = [] if store.head else [self._put_own(RecordType.LOG_GENESIS, self._genesis())]
        first.append(self._put_own(RecordType.BOOT_START, _boot_detail(store)))
        if left_behind:
            first.append(self._put_own(RecordType.AUDIT_GAP, left_behind.detail()))
        try:
            async with asyncio.timeout(OPEN_SECONDS):
                durable = [await entry.done for entry in first]
        except TimeoutError as err:
            raise LedgerError(f"the first commit took more than {OPEN_SECONDS:.0f} s") from err
        if not all(durable):
            raise LedgerError(f"the first commit failed: {self._fault}")
        self._gaps.drop_inherited()

    async def end(self) -> None:
        """Make what was appended durable, say that the run ends, and let go of the log."""
        if self._is_open and not self._fault:
            if self._gaps.is_due(idle=True):
                self._record_gaps()
            self._put_own(RecordType.BOOT_STOP, self._stop_detail())
        self._closing = True
        self._writer.stop()
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._ended.wait()
            self._writer.join(CLOSE_SECONDS)
        except TimeoutError:
            _LOG.error("ledger.close_timeout", origin=self._origin, waiting=len(self._open))
        finally:
            self._gaps.close_file()

    def _genesis(self) -> dict[str, str | int]:
        return {"origin": self._origin, "schema": SCHEMA_VERSION}

    def _stop_detail(self) -> dict[str, str | int]:
        counts: dict[str, str | int] = {
            reason.value: count for reason, count in self._gaps.totals.items()
        }
        return {**counts, "records": self._committed_count}


@asynccontextmanager
async def open_ledger(
    settings: AuditSettings, *, cluster: str, version: str, clock: Clock, image: str = ""
) -> AsyncIterator[Sequencer]:
    """Open the log of this process; it is closed, and its last records durable, at the end.

    `cluster` is the uid of the namespace kube-system; `image` the digest of the own image.

    Raises:
        SettingsError: a setting that must be given is not, or the key cannot be read.
        LedgerError: the log cannot be opened or recovered, or another process writes it.
    """
    for name in ("path", "origin", "key"):
        if not getattr(settings, name):
            raise SettingsError(f"audit.{name}: it must be set")
    if settings.queue_records < 1 or settings.batch_records < 1:
        raise SettingsError("audit: queueRecords and batchRecords must be at least 1")
    signer = load_signer(Path(settings.key), origin=settings.origin)
    source = SourceSection(
        cluster=cluster,
        writer=settings.writer,
        boot=random_hex(_BOOT_BYTES),
        version=version,
        image=image,
    )
    sequencer = Sequencer(settings, source, clock=clock, signer=signer)
    try:
        await sequencer.begin()
        yield sequencer
    finally:
        await sequencer.end()


def _boot_detail(store: LogStore) -> dict[str, str | int]:
    detail: dict[str, str | int] = {}
    if store.head:
        root = base64.b64encode(store.head.root).decode()
        detail |= {"headSize": store.head.size, "headRoot": root}
    if store.last_run:
        end = "clean" if store.last_run.is_clean else "unclean"
        detail |= {
            "previousBoot": store.last_run.boot,
            "previousWseq": store.last_run.wseq,
            "previousEnd": end,
        }
    return detail
