"""The ledger with real processes that are killed, run out of disk, or compete."""

import asyncio
import base64
import os
import random
import resource
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from lictor.audit import parse_checkpoint
from lictor.errors import AuditUnavailableError
from lictor.ledger.errors import LedgerLockedError
from lictor.ledger.reader import LedgerReader
from lictor.ledger.sequencer import Sequencer, open_ledger
from lictor.model.audit_record import AuditRecord, RecordType
from lictor.system import SystemClock
from testkit.ledgers import LedgerHome, new_ledger

DRAFT = AuditRecord(type=RecordType.ADMISSION_DECISION, detail={"text": "x" * 500})
KILLS = 60

pytestmark = [
    pytest.mark.timeout(120),
    # From Python 3.12 on, where a thread of the test runner is alive; the child uses none of it.
    pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"),
]


def forked(work: Callable[[int], None]) -> tuple[int, int]:
    """Run `work` in a child with the write end of a pipe; return its pid and the read end."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.close(reader)
            work(writer)
            code = 0
        finally:
            os._exit(code)
    os.close(writer)
    return pid, reader


async def write_forever(home: LedgerHome, pipe: int) -> None:
    """Append from eight tasks, and tell each receipt."""

    async def append(sequencer: Sequencer) -> None:
        while True:
            receipt = await sequencer.append(DRAFT)
            os.write(pipe, f"{receipt.rec} {receipt.leaf} {receipt.durable}\n".encode())

    async with (
        open_ledger(home.settings, cluster="c", version="1", clock=SystemClock()) as sequencer,
        asyncio.TaskGroup() as group,
    ):
        for _ in range(8):
            group.create_task(append(sequencer))


def receipts_until_killed(home: LedgerHome, seconds: float) -> dict[str, str]:
    """Let a process write, kill it `seconds` after its first receipt, return what it was told."""
    pid, pipe = forked(lambda writer: asyncio.run(write_forever(home, writer)))
    with os.fdopen(pipe, "rb") as file:
        told = file.readline()
        time.sleep(seconds)
        os.kill(pid, signal.SIGKILL)
        told += file.read()
    os.waitpid(pid, 0)
    whole, _, _ = told.decode().rpartition("\n")
    receipts = [line.split() for line in whole.splitlines()]
    assert all(durable == "True" for _, _, durable in receipts)
    return {rec: leaf for rec, leaf, _ in receipts}


def stored_leaves(home: LedgerHome) -> dict[str, str]:
    """Return the leaf hash of each record, by its name."""
    reader = LedgerReader(home.path)
    sources = [stored.record.src for stored in reader.records(())]
    names = [f"{src.writer}/{src.boot}/{src.wseq}" for src in sources if src is not None]
    hashes = [base64.b64encode(leaf.hash).decode() for leaf in reader.leaves()]
    return dict(zip(names, hashes, strict=True))


def test_no_acknowledged_record_is_lost_by_sigkill(tmp_path: Path) -> None:
    """After each of many kills all receipts stand in a log that verifies; no size has two roots."""
    home = new_ledger(tmp_path)
    chance = random.Random(3)  # noqa: S311 (seeded on purpose)
    told: dict[str, str] = {}
    roots: dict[int, bytes] = {}
    for _ in range(KILLS):
        told |= receipts_until_killed(home, chance.uniform(0, 0.04))
        stored = stored_leaves(home)

        assert told.items() <= stored.items()
        for checkpoint in LedgerReader(home.path).snapshot().checkpoints:
            text = checkpoint.note.decode().rpartition("\n\n")[0] + "\n"
            root = parse_checkpoint(text).root
            assert roots.setdefault(checkpoint.size, root) == root
    report = home.verify()

    assert report.is_intact
    assert report.warnings == ()
    assert report.records["boot.start"] == KILLS
    assert len(told) > 10 * KILLS


async def write_until_full(home: LedgerHome, pipe: int, *, limit: int) -> None:
    """Append until the store fails, with files of at most `limit` bytes where it is not 0."""
    async with open_ledger(
        home.settings, cluster="c", version="1", clock=SystemClock()
    ) as sequencer:
        if limit:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        while not sequencer.failure:
            try:
                receipt = await sequencer.append(DRAFT)
            except AuditUnavailableError:
                os.write(pipe, b"refused\n")
                continue
            os.write(pipe, f"{receipt.rec} {receipt.durable}\n".encode())


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """Mount a file system of 512 KiB, or skip."""
    command = ["/bin/mount", "-t", "tmpfs", "-o", "size=512k", "lictor-test", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True, check=False)
    except OSError as err:
        pytest.skip(f"a small file system cannot be mounted: {err}")
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be mounted: {mounted.stderr.decode().strip()}")
    try:
        yield
    finally:
        subprocess.run(["/bin/umount", str(folder)], check=True)


def fill(home: LedgerHome, *, limit: int) -> list[list[str]]:
    """Let a process write until its disk is full; return what it was told."""
    pid, pipe = forked(lambda writer: asyncio.run(write_until_full(home, writer, limit=limit)))
    with os.fdopen(pipe, "rb") as file:
        told = [line.split() for line in file.read().decode().splitlines()]
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    return told


@pytest.mark.parametrize("strict", [False, True], ids=["blocking", "blocking-strict"])
def test_full_disk_loses_nothing_that_was_acknowledged(tmp_path: Path, *, strict: bool) -> None:
    """At the limit the mode decides the answer; what was durable is, and the gap is recorded."""
    home = new_ledger(tmp_path)
    home = home.strict() if strict else home
    told = fill(home, limit=300_000)
    durable = [rec for rec, *answer in told if answer == ["True"]]

    assert told[-1] == ["refused"] if strict else told[-1][1] == "False"
    assert len(durable) > 20
    asyncio.run(open_and_close(home))
    report = home.verify()

    assert set(durable) <= stored_leaves(home).keys()
    assert report.is_intact
    assert report.warnings == ()
    assert report.records["audit.gap"] == 1


@pytest.mark.parametrize("strict", [False, True], ids=["blocking", "blocking-strict"])
def test_full_file_system_loses_nothing_that_was_acknowledged(
    tmp_path: Path, *, strict: bool
) -> None:
    """The same on a file system that is really full; the gap file had its blocks before."""
    home = new_ledger(tmp_path)
    (tmp_path / "disk").mkdir()
    with small_disk(tmp_path / "disk"):
        moved = replace(home.settings, path=str(tmp_path / "disk" / "ledger.db"))
        home = replace(home, settings=moved)
        told = fill(home.strict() if strict else home, limit=0)
        durable = [rec for rec, *answer in told if answer == ["True"]]

        assert len(durable) > 20
        assert set(durable) <= stored_leaves(home).keys()
        assert home.verify().is_intact
        assert b'"store":1' in Path(f"{home.path}.gaps").read_bytes()


async def open_and_close(home: LedgerHome) -> None:
    """Run the writer once."""
    async with open_ledger(home.settings, cluster="c", version="1", clock=SystemClock()):
        pass


def test_second_process_is_refused(tmp_path: Path) -> None:
    """While one process writes, another cannot; when it was killed, the log is free at once."""
    home = new_ledger(tmp_path)
    pid, pipe = forked(lambda writer: asyncio.run(write_forever(home, writer)))
    with os.fdopen(pipe, "rb") as file:
        assert file.readline()
        with pytest.raises(LedgerLockedError, match="another process writes"):
            asyncio.run(open_and_close(home))
        assert home.verify().is_intact
        os.kill(pid, signal.SIGKILL)
        file.read()
    os.waitpid(pid, 0)
    asyncio.run(open_and_close(home))

    assert home.verify().is_intact
