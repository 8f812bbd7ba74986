"""Reading and copying ledgers, live and closed."""

import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from lictor.audit import verify_log
from lictor.errors import StoreError
from lictor.ledger import backup
from lictor.ledger.reader import LedgerReader
from lictor.ledger.schema import open_reader
from lictor.ledger.sequencer import Sequencer, open_ledger
from lictor.model.audit_record import AuditRecord, RecordType
from lictor.system import SystemClock
from testkit.ledgers import LedgerHome, new_ledger

INTENT = AuditRecord(type=RecordType.REMEDIATION_INTENT)
DECISION = AuditRecord(type=RecordType.ADMISSION_DECISION)


@pytest.fixture
def home(tmp_path: Path) -> LedgerHome:
    """Make the keys of a ledger."""
    return new_ledger(tmp_path)


@asynccontextmanager
async def opened(home: LedgerHome) -> AsyncIterator[Sequencer]:
    """Open the ledger."""
    async with open_ledger(home.settings, cluster="c", version="1", clock=SystemClock()) as found:
        yield found


@pytest.fixture
async def closed(home: LedgerHome) -> LedgerHome:
    """Write a ledger of three records, and close it."""
    async with opened(home):
        pass
    return home


async def test_records_yields_by_type_and_from_an_index(home: LedgerHome) -> None:
    """The types and the start are what was asked for; indexes are those of the leaves."""
    async with opened(home) as sequencer:
        for draft in (INTENT, DECISION, INTENT):
            await sequencer.append(draft)
    reader = LedgerReader(home.path)

    assert [stored.index for stored in reader.records(())] == [0, 1, 2, 3, 4, 5]
    assert [stored.index for stored in reader.records([RecordType.REMEDIATION_INTENT])] == [2, 4]
    assert [stored.index for stored in reader.records([INTENT.type], start=3)] == [4]


async def test_records_streams_a_log_that_grows(home: LedgerHome) -> None:
    """A reading that has begun sees the log as it was then, and holds up nobody."""
    async with opened(home) as sequencer:
        await sequencer.append(DECISION)
        reading = LedgerReader(home.path).records(())
        first = next(reading)

        assert (await sequencer.append(INTENT)).durable
        assert first.index == 0
        assert [stored.index for stored in reading] == [1, 2]


async def test_leaves_are_read_across_chunks(
    home: LedgerHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No leaf is lost or doubled where one transaction ends."""
    monkeypatch.setattr("lictor.ledger.reader._CHUNK", 2)
    async with opened(home) as sequencer:
        for _ in range(5):
            await sequencer.append(DECISION)

    assert [leaf.index for leaf in LedgerReader(home.path).leaves()] == list(range(8))


async def test_records_passes_over_types_that_come_later(home: LedgerHome) -> None:
    """A record of a type that is not known yet is not in the way."""
    async with opened(home):
        pass
    with closing(sqlite3.connect(home.path)) as connection:
        connection.execute("""UPDATE leaf SET data = '{"type":"new.type"}' WHERE idx = 1""")
        connection.commit()

    assert [stored.index for stored in LedgerReader(home.path).records(())] == [0, 2]


async def test_reader_cannot_write(home: LedgerHome) -> None:
    """The connection of a reader refuses a change."""
    async with opened(home):
        pass
    with (
        closing(open_reader(home.path)) as connection,
        pytest.raises(sqlite3.OperationalError, match="readonly"),
    ):
        connection.execute("DELETE FROM leaf")


def count_as_nobody(path: Path) -> int:
    """Count the leaves as a user who may write nothing; exits with the count."""
    if os.geteuid() == 0:
        os.setuid(65534)
    return len(list(LedgerReader(path).leaves()))


def test_reader_needs_no_right_to_write(closed: LedgerHome) -> None:
    """A closed ledger is read also where SQLite cannot make its index beside it."""
    with TemporaryDirectory() as name:
        # pytest's own folders are closed to other users.
        path = Path(name, "copy.db")
        path.write_bytes(closed.path.read_bytes())
        path.chmod(0o644)
        path.parent.chmod(0o555)
        child = os.fork()
        if child == 0:
            try:
                os._exit(count_as_nobody(path))
            finally:
                os._exit(99)
        _, status = os.waitpid(child, 0)
        path.parent.chmod(0o755)

    assert os.waitstatus_to_exitcode(status) == 3


@pytest.mark.parametrize(
    ("prepare", "match"),
    [
        pytest.param(lambda _: None, "unable to open", id="missing"),
        pytest.param(
            lambda path: path.write_bytes(b"x" * 5000), "not a database", id="no-database"
        ),
        pytest.param(lambda path: sqlite3.connect(path).close(), "unable|no ledger", id="empty"),
    ],
)
def test_reader_refuses_what_is_no_ledger(home: LedgerHome, prepare: object, match: str) -> None:
    """Every fault of the file is a StoreError that names it."""
    prepare(home.path)  # type: ignore[operator]  # a function

    with pytest.raises(StoreError, match=match):
        LedgerReader(home.path).snapshot()
    with pytest.raises(StoreError, match=match):
        list(LedgerReader(home.path).records(()))


async def test_copy_of_a_live_ledger_verifies(home: LedgerHome, tmp_path: Path) -> None:
    """The copy is complete without the files beside the original, and for its owner alone."""
    target = tmp_path / "copy.db"
    async with opened(home) as sequencer:
        for _ in range(50):
            await sequencer.append(DECISION)
        backup.copy(home.path, target)
        await sequencer.append(INTENT)
    snapshot = LedgerReader(target).snapshot()
    leaves = LedgerReader(target).leaves()

    assert snapshot.size == 52
    assert verify_log(leaves, snapshot.checkpoints, keys=[home.key]).is_intact
    assert target.stat().st_mode & 0o777 == 0o600


def test_copy_is_one_file(closed: LedgerHome, tmp_path: Path) -> None:
    """Nothing beside the copy is needed to read it, also where the original has a WAL."""
    backup.copy(closed.path, tmp_path / "copy.db")

    assert LedgerReader(tmp_path / "copy.db").snapshot().size == 3
    assert [path.name for path in tmp_path.glob("copy.db*")] == ["copy.db"]


async def test_copy_overwrites_nothing(home: LedgerHome, tmp_path: Path) -> None:
    """A file that exists stays, and a copy that fails leaves none."""
    async with opened(home):
        pass
    (tmp_path / "there").write_text("precious")

    with pytest.raises(StoreError, match="it exists"):
        backup.copy(home.path, tmp_path / "there")
    with pytest.raises(StoreError, match="could not be copied"):
        backup.copy(tmp_path / "absent", tmp_path / "new")
    assert (tmp_path / "there").read_text() == "precious"
    assert not (tmp_path / "new").exists()
