"""Counts records that were not made durable in time, and remembers them beside the ledger.

The numbers become one `audit.gap` record once the ledger takes records again. Until then they
stand in a small file whose blocks exist already, so that a full disk can still take them. The file
is a help and no evidence: it is not signed.
"""

import os
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final, Self

import msgspec
import structlog

from lictor.ledger.errors import LedgerError
from lictor.ports.clock import Clock
from lictor.telemetry import metrics

GAP_SECONDS: Final = 1.0
"""How long a gap waits for a pause in which to be recorded."""

_FILE_BYTES: Final = 4096
_LOG: Final = structlog.get_logger()


class GapReason(StrEnum):
    """Why a record is not durable.

    `LATE` alone says that it may still have become so, after its answer was given.
    """

    OVERFLOW = "overflow"
    STORE = "store"
    WITHDRAWN = "withdrawn"
    LATE = "late"


class Gaps(msgspec.Struct, kw_only=True):
    """What was counted since the last `audit.gap`.

    Attributes:
        boot: whose records they are.
        first, last: the smallest and the largest `wseq` among them.
        counts: by reason.
    """

    boot: str
    first: int = -1
    last: int = -1
    counts: dict[GapReason, int] = {}

    def add(self, reason: GapReason, wseq: int) -> None:
        """Count one record."""
        self.counts[reason] = self.counts.get(reason, 0) + 1
        self.first = wseq if self.first < 0 else min(self.first, wseq)
        self.last = max(self.last, wseq)

    @property
    def lost(self) -> int:
        """How many numbers will be missing in the log for good."""
        return sum(count for reason, count in self.counts.items() if reason is not GapReason.LATE)

    def __bool__(self) -> bool:
        """Whether anything was counted."""
        return bool(self.counts)

    def detail(self) -> dict[str, str | int]:
        """Return the `detail` of the `audit.gap` record."""
        counts: dict[str, str | int] = {str(reason): n for reason, n in self.counts.items()}
        return {
            **counts,
            "boot": self.boot,
            "lost": self.lost,
            "first": self.first,
            "last": self.last,
        }

    def merge(self, other: Self) -> None:
        """Add what `other` counted."""
        for reason, count in other.counts.items():
            self.counts[reason] = self.counts.get(reason, 0) + count
        known = [number for number in (self.first, other.first) if number >= 0]
        self.first = min(known, default=-1)
        self.last = max(self.last, other.last)


@dataclass(frozen=True, slots=True)
class GapFile:
    """The file `<ledger>.gaps`."""

    descriptor: int

    @classmethod
    def open(cls, path: Path) -> tuple[Self, Gaps | None]:
        """Open it for the ledger `path`, with what an earlier process has left in it.

        Raises:
            OSError: it cannot be made.
        """
        file = Path(f"{path.resolve()}.gaps")
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        descriptor = os.open(file, flags, 0o600)
        found = os.pread(descriptor, _FILE_BYTES, 0)
        if len(found) < _FILE_BYTES:
            os.pwrite(descriptor, found.ljust(_FILE_BYTES), 0)
            os.fsync(descriptor)
        return cls(descriptor), _left_behind(found)

    def save(self, gaps: Gaps) -> None:
        """Write `gaps` in place of what is there.

        Raises:
            OSError: it could not be written.
        """
        data = msgspec.json.encode(gaps) if gaps else b""
        os.pwrite(self.descriptor, data.ljust(_FILE_BYTES), 0)

    def close(self) -> None:
        """Close it."""
        os.close(self.descriptor)


class GapBook:
    """All gaps of one run of a writer: counted, handed out to be recorded, or taken back."""

    def __init__(self, boot: str, *, clock: Clock) -> None:
        """Start with none."""
        self._boot = boot
        self._clock = clock
        self._gaps = Gaps(boot=boot)
        self._since = 0.0
        self._file: GapFile | None = None
        self._inherited: Gaps | None = None
        self.totals: Counter[GapReason] = Counter()

    def count(self, reason: GapReason, wseq: int) -> None:
        """Count one record that is not durable."""
        if not self._gaps:
            self._since = self._clock.monotonic()
        self._gaps.add(reason, wseq)
        self.totals[reason] += 1
        metrics.LEDGER_GAPS.labels(reason.value).inc()

    def is_due(self, *, idle: bool) -> bool:
        """Tell whether to record now: in a pause, or once the gap is `GAP_SECONDS` old."""
        return bool(self._gaps) and (idle or self._clock.monotonic() - self._since >= GAP_SECONDS)

    def take(self) -> Gaps:
        """Hand out what was counted, and start anew."""
        gaps, self._gaps = self._gaps, Gaps(boot=self._boot)
        return gaps

    def give_back(self, gaps: Gaps) -> None:
        """Take back what could not be recorded."""
        self._gaps.merge(gaps)

    def open_file(self, path: Path) -> Gaps | None:
        """Open the file beside the ledger `path`; return what another process has left in it.

        Raises:
            LedgerError: it cannot be made.
        """
        try:
            self._file, self._inherited = GapFile.open(path)
        except OSError as err:
            raise LedgerError(f"{path}.gaps: {err.strerror}") from err
        return self._inherited

    def drop_inherited(self) -> None:
        """Free the file for our own gaps: what stood in it is recorded."""
        self._inherited = None
        self.save()

    def save(self) -> None:
        """Write what is not recorded yet to the file, as far as the disk allows it."""
        if self._file is not None and self._inherited is None:
            try:
                self._file.save(self._gaps)
            except OSError as err:
                _LOG.warning("ledger.gaps_not_saved", error=str(err), lost=self._gaps.lost)

    def close_file(self) -> None:
        """Save, and close the file."""
        self.save()
        if self._file is not None:
            self._file.close()
            self._file = None


def _left_behind(data: bytes) -> Gaps | None:
    try:
        gaps = msgspec.json.decode(data, type=Gaps)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return gaps or None
