"""The sequencer: numbering, durability, its modes, and what it does when the store fails."""

import asyncio
import base64
import sqlite3
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from lictor.audit import encode, leaf_hash, sign_note
from lictor.config.settings import AuditMode, AuditSettings
from lictor.errors import AuditUnavailableError, SettingsError
from lictor.ledger.errors import LedgerDamagedError, LedgerError, LedgerLockedError
from lictor.ledger.keys import load_signer
from lictor.ledger.reader import LedgerReader
from lictor.ledger.schema import open_writer
from lictor.ledger.sequencer import Sequencer, open_ledger
from lictor.ledger.writer import THREAD_NAME
from lictor.model.audit_record import AuditRecord, RecordType, RequestSection
from lictor.system import SystemClock
from testkit.ledgers import LedgerHome, new_ledger

DRAFT = AuditRecord(type=RecordType.ADMISSION_DECISION)


@pytest.fixture
def home(tmp_path: Path) -> LedgerHome:
    """Make the keys of a ledger."""
    return new_ledger(tmp_path)


@asynccontextmanager
async def opened(home: LedgerHome, **changes: object) -> AsyncIterator[Sequencer]:
    """Open the ledger with some settings changed."""
    settings = replace(home.settings, **changes)  # type: ignore[arg-type]  # real settings
    async with open_ledger(settings, cluster="c", version="1", clock=SystemClock()) as sequencer:
        yield sequencer


@contextmanager
def stalled(home: LedgerHome) -> Iterator[None]:
    """Keep the store from committing, as a slow disk does."""
    with closing(sqlite3.connect(home.path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


@contextmanager
def broken(home: LedgerHome) -> Iterator[None]:
    """Make each commit fail."""
    with closing(sqlite3.connect(home.path, isolation_level=None)) as connection:
        connection.execute(
            "CREATE TRIGGER broken BEFORE INSERT ON checkpoint "
            "BEGIN SELECT RAISE(ABORT, 'the disk is gone'); END"
        )
        yield
        connection.execute("DROP TRIGGER broken")


def gaps(home: LedgerHome) -> list[dict[str, str | int]]:
    """Return the details of the `audit.gap` records."""
    found = home.records()
    return [record.detail or {} for record in found if record.type is RecordType.AUDIT_GAP]


async def test_append_is_durable_when_it_returns(home: LedgerHome) -> None:
    """The receipt names the record, and the leaf stands in the log that others read."""
    async with opened(home) as sequencer:
        receipt = await sequencer.append(DRAFT)
        stored = list(LedgerReader(home.path).leaves())[-1]

        assert receipt.durable
        assert receipt.rec == f"w0/{sequencer.boot}/{receipt.wseq}"
        assert receipt.leaf == base64.b64encode(stored.hash).decode()
        assert stored.hash == leaf_hash(stored.data)
        assert home.verify().is_intact


async def test_append_completes_the_draft(home: LedgerHome) -> None:
    """Version, time, source and number are the sequencer's."""
    async with opened(home) as sequencer:
        await sequencer.append(DRAFT)
    record = home.records()[2]

    assert record.v == "audit/1"
    assert record.ts.endswith("Z")
    assert record.mono is not None
    assert record.src is not None
    assert (record.src.cluster, record.src.writer, record.src.version) == ("c", "w0", "1")


async def test_run_is_framed_by_its_own_records(home: LedgerHome) -> None:
    """Genesis once, then a start and a stop for each run; a start names the run before."""
    for _ in range(2):
        async with opened(home) as sequencer:
            await sequencer.append(DRAFT)
    first, second = (home.records()[1].detail, home.records()[4].detail)

    assert [record.type.value for record in home.records()] == [
        "log.genesis",
        *["boot.start", "admission.decision", "boot.stop"] * 2,
    ]
    assert first == {}
    assert second is not None
    assert (second["previousEnd"], second["previousWseq"], second["headSize"]) == ("clean", 3, 4)


async def test_append_numbers_contiguously_under_load(home: LedgerHome) -> None:
    """Many at once: all durable, in order, without a hole, in fewer commits than records."""
    async with opened(home) as sequencer, asyncio.TaskGroup() as group:
        tasks = [group.create_task(sequencer.append(DRAFT)) for _ in range(1500)]
    receipts = [task.result() for task in tasks]

    assert [receipt.wseq for receipt in receipts] == list(range(2, 1502))
    assert all(receipt.durable for receipt in receipts)
    assert home.verify().is_intact
    assert home.verify().warnings == ()


async def test_checkpoints_are_thinned_out(home: LedgerHome) -> None:
    """Recent checkpoints stay, and few older ones: the file does not grow by them."""
    async with opened(home, batch_records=50) as sequencer, asyncio.TaskGroup() as group:
        for _ in range(3000):
            group.create_task(sequencer.append(DRAFT))
    sizes = [checkpoint.size for checkpoint in LedgerReader(home.path).snapshot().checkpoints]

    assert 16 <= len(sizes) <= 20
    assert home.verify().is_intact


async def test_append_takes_hostile_texts(home: LedgerHome) -> None:
    """A name that is no Unicode, or a huge one, does not lose the record."""
    async with opened(home) as sequencer:
        for name in ("\ud800", "x" * 1_000_000):
            draft = AuditRecord(type=RecordType.ADMISSION_DECISION, req=RequestSection(name=name))

            assert (await sequencer.append(draft)).durable
    assert home.verify().is_intact


async def test_append_that_is_cancelled_is_still_recorded(home: LedgerHome) -> None:
    """The caller may go away; what was decided was decided."""
    async with opened(home) as sequencer:
        with stalled(home):
            task = asyncio.ensure_future(sequencer.append(DRAFT))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
    assert RecordType.ADMISSION_DECISION in [record.type for record in home.records()]


async def test_blocking_answers_without_durability_when_the_store_is_slow(home: LedgerHome) -> None:
    """After the budget the receipt says so; the record follows, and the gap is recorded as late."""
    async with opened(home, wait_budget_seconds=0.02) as sequencer:
        with stalled(home):
            receipt = await sequencer.append(DRAFT)

        assert not receipt.durable
    assert gaps(home) == [
        {"boot": sequencer.boot, "late": 1, "lost": 0, "first": 2, "last": 2},
    ]
    assert home.verify().warnings == ()


async def test_blocking_strict_withdraws_what_is_not_durable_in_time(home: LedgerHome) -> None:
    """The caller is refused; a record that nobody acted on does not appear later."""
    async with opened(home.strict(), wait_budget_seconds=0.02) as sequencer:
        with stalled(home):
            first = asyncio.ensure_future(sequencer.append(DRAFT))
            await asyncio.sleep(0.01)  # so that it is being committed already
            with pytest.raises(AuditUnavailableError, match="too slow"):
                await sequencer.append(DRAFT)
            with pytest.raises(AuditUnavailableError, match="not durable"):
                await first
    (gap,) = gaps(home)

    assert (gap["late"], gap["withdrawn"], gap["lost"]) == (1, 1, 1)
    assert [record.type for record in home.records()].count(RecordType.ADMISSION_DECISION) == 1
    assert home.verify().warnings == ()


async def test_overflow_is_counted_and_recorded(home: LedgerHome) -> None:
    """Beyond the queue a record is lost at once, its number stays, and one record tells all."""
    async with opened(home, queue_records=4, wait_budget_seconds=0.5) as sequencer:
        with stalled(home):
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(sequencer.append(DRAFT)) for _ in range(20)]
                await asyncio.sleep(0.05)

                assert sum(task.done() for task in tasks) == 16
                group.create_task(asyncio.sleep(0))
    kinds = [record.type for record in home.records()]
    (gap,) = gaps(home)

    assert (gap["overflow"], gap["lost"]) == (16, 16)
    assert kinds.count(RecordType.ADMISSION_DECISION) + 16 == 20
    assert home.verify().warnings == ()


async def test_gap_is_recorded_in_the_next_pause(home: LedgerHome) -> None:
    """A gap does not wait for the end of the run."""
    async with opened(home, wait_budget_seconds=0.02) as sequencer:
        with stalled(home):
            await sequencer.append(DRAFT)
        # Committed before the next record, which came later.
        await sequencer.append(DRAFT)
        await sequencer.append(DRAFT)

        assert len(gaps(home)) == 1


async def test_failed_store_takes_no_more_records(home: LedgerHome) -> None:
    """After a failed commit nothing is durable any more, at once, and the program is told."""
    async with opened(home) as sequencer:
        with broken(home):
            first = await sequencer.append(DRAFT)
            second = await sequencer.append(DRAFT)

        assert not first.durable
        assert not second.durable
        assert "the disk is gone" in await sequencer.wait_failed()
        assert "the disk is gone" in sequencer.failure
    assert [record.type.value for record in home.records()] == ["log.genesis", "boot.start"]


async def test_failed_store_refuses_in_strict_mode(home: LedgerHome) -> None:
    """In strict mode each append is refused, with the reason."""
    async with opened(home.strict()) as sequencer:
        with broken(home):
            for _ in range(2):
                with pytest.raises(AuditUnavailableError, match="the disk is gone"):
                    await sequencer.append(DRAFT)


async def test_next_run_records_the_gap_of_a_failed_one(home: LedgerHome) -> None:
    """What was lost while the store had failed is told by the next run, once."""
    async with opened(home) as sequencer:
        with broken(home):
            for _ in range(3):
                await sequencer.append(DRAFT)
    for _ in range(2):
        async with opened(home):
            pass

    assert gaps(home) == [{"boot": sequencer.boot, "store": 3, "lost": 3, "first": 2, "last": 4}]
    assert home.records()[2].detail == {
        "headSize": 2,
        "headRoot": (home.records()[2].detail or {})["headRoot"],
        "previousBoot": sequencer.boot,
        "previousEnd": "unclean",
        "previousWseq": 1,
    }


async def test_gap_outlives_a_run_that_could_not_begin(home: LedgerHome) -> None:
    """Where the next run cannot commit either, the one after it tells the gap."""
    async with opened(home) as sequencer:
        with broken(home):
            await sequencer.append(DRAFT)
    with broken(home), pytest.raises(LedgerError, match="the first commit failed"):
        async with opened(home):
            pass
    async with opened(home):
        pass

    assert gaps(home) == [{"boot": sequencer.boot, "store": 1, "lost": 1, "first": 2, "last": 2}]


async def test_open_ledger_excludes_a_second_writer(home: LedgerHome) -> None:
    """Of two writers one fails, and says why; afterwards the log is free."""
    async with opened(home) as sequencer:
        with pytest.raises(LedgerLockedError, match="another process writes"):
            async with opened(home):
                pass

        assert (await sequencer.append(DRAFT)).durable
    async with opened(home):
        pass


async def test_open_ledger_leaves_no_thread(home: LedgerHome) -> None:
    """Also after an error in its body, the log is closed and the thread gone."""

    async def fail() -> None:
        async with opened(home):
            assert THREAD_NAME in [thread.name for thread in threading.enumerate()]
            raise ZeroDivisionError("in the body")

    with pytest.raises(ZeroDivisionError, match="in the body"):
        await fail()

    assert THREAD_NAME not in [thread.name for thread in threading.enumerate()]
    assert home.records()[-1].type is RecordType.BOOT_STOP


async def test_end_does_not_wait_for_ever(
    home: LedgerHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that hangs cannot keep the program from ending."""
    monkeypatch.setattr("lictor.ledger.sequencer.CLOSE_SECONDS", 0.05)
    async with AsyncExitStack() as stack:
        sequencer = await stack.enter_async_context(opened(home))
        with stalled(home):
            async with asyncio.timeout(2):
                await stack.aclose()

    assert sequencer._writer.join(8)
    assert home.verify().is_intact


async def test_failure_of_the_thread_is_a_failure_of_the_ledger(home: LedgerHome) -> None:
    """Should the thread ever end by itself, nobody waits for it in vain."""
    async with opened(home) as sequencer:
        sequencer._writer._inbox.put(None)
        async with asyncio.timeout(5):
            assert "has ended" in await sequencer.wait_failed()

        assert not (await sequencer.append(DRAFT)).durable


async def test_append_after_the_end_is_not_durable(home: LedgerHome) -> None:
    """A record that comes after the run has ended is lost, and counted."""
    async with opened(home) as sequencer:
        pass

    async with asyncio.timeout(1):  # far below the wait budget of these tests
        assert not (await sequencer.append(DRAFT)).durable


def change(home: LedgerHome, statement: str, *values: object) -> None:
    """Change the database."""
    with closing(sqlite3.connect(home.path)) as connection:
        connection.execute(statement, values)
        connection.commit()


TAMPERED = [
    pytest.param("UPDATE leaf SET data = replace(data, 'w0', 'w1') WHERE idx = 2", id="leaf"),
    pytest.param("UPDATE leaf SET hash = zeroblob(32) WHERE idx = 2", id="hash"),
    pytest.param("DELETE FROM leaf WHERE idx = 2", id="hole"),
    pytest.param("DELETE FROM leaf WHERE idx = 3", id="last-leaf-gone"),
    pytest.param("INSERT INTO leaf VALUES (4, x'7b7d', zeroblob(32))", id="unsigned-leaf"),
    pytest.param("DELETE FROM checkpoint", id="no-checkpoint"),
    pytest.param("UPDATE checkpoint SET note = replace(note, 'a', 'b')", id="notes"),
    pytest.param("UPDATE checkpoint SET frontier = zeroblob(32) WHERE size = 4", id="frontier"),
    pytest.param("UPDATE checkpoint SET frontier = x'' WHERE size = 4", id="no-frontier"),
    pytest.param("UPDATE checkpoint SET size = 9 WHERE size = 4", id="size"),
]


@pytest.mark.parametrize("statement", TAMPERED)
async def test_open_ledger_refuses_a_damaged_log(home: LedgerHome, statement: str) -> None:
    """The key is not used on a log whose head or tail is not as it was signed."""
    async with opened(home) as sequencer:
        await sequencer.append(DRAFT)
    change(home, statement)

    with pytest.raises(LedgerDamagedError, match=r"ledger\.db"):
        async with opened(home):
            pass


async def test_open_ledger_refuses_a_leaf_that_was_replaced_with_its_hash(home: LedgerHome) -> None:
    """Leaf and hash that fit each other, but not the root, are found in the tail."""
    async with opened(home) as sequencer:
        await sequencer.append(DRAFT)
    data = encode(DRAFT)
    change(home, "UPDATE leaf SET data = ?, hash = ? WHERE idx = 2", data, leaf_hash(data))

    with pytest.raises(LedgerDamagedError, match="not those that were signed"):
        async with opened(home):
            pass


async def test_open_ledger_refuses_a_checkpoint_of_another_origin(home: LedgerHome) -> None:
    """What the key signed for another log does not count for this one."""
    async with opened(home) as sequencer:
        pass
    head = sequencer.head
    assert head is not None
    signer = load_signer(Path(home.settings.key), origin=home.settings.origin)
    note = sign_note(replace(head, origin="a.example/other").text, signer)
    change(home, "UPDATE checkpoint SET note = ? WHERE size = ?", note, head.size)

    with pytest.raises(LedgerDamagedError, match="about another log"):
        async with opened(home):
            pass


async def test_open_ledger_refuses_the_key_of_another_log(home: LedgerHome, tmp_path: Path) -> None:
    """A log is continued by its own key only."""
    (tmp_path / "other").mkdir()
    other = new_ledger(tmp_path / "other")
    async with opened(home):
        pass

    with pytest.raises(LedgerDamagedError, match="is the key that of this ledger"):
        async with opened(home, key=other.settings.key):
            pass


@pytest.mark.parametrize(
    ("prepare", "match"),
    [
        pytest.param(
            lambda path: path.write_bytes(b"x" * 9000), "not a database", id="no-database"
        ),
        pytest.param(lambda path: path.mkdir(), "ledger.db", id="folder"),
    ],
)
async def test_open_ledger_refuses_what_is_no_ledger(
    home: LedgerHome, prepare: "object", match: str
) -> None:
    """Another file is left alone."""
    prepare(home.path)  # type: ignore[operator]  # a function

    with pytest.raises(LedgerError, match=match):
        async with opened(home):
            pass


@pytest.mark.parametrize(
    ("statement", "match"),
    [
        pytest.param("PRAGMA user_version = 2", "version 2", id="version"),
        pytest.param("PRAGMA application_id = 7", "no ledger", id="application"),
    ],
)
async def test_open_ledger_refuses_other_databases(
    home: LedgerHome, statement: str, match: str
) -> None:
    """A database of another program, or of a later version, is refused by name."""
    async with opened(home):
        pass
    change(home, statement)

    with pytest.raises(LedgerError, match=match):
        async with opened(home):
            pass


async def test_open_ledger_refuses_a_missing_folder(home: LedgerHome) -> None:
    """The folder is the operator's to make: it is a volume."""
    with pytest.raises(LedgerError, match="No such file"):
        async with opened(home, path=str(home.path.parent / "absent" / "l.db")):
            pass


@pytest.mark.parametrize("name", ["path", "origin", "key"])
async def test_open_ledger_needs_its_settings(home: LedgerHome, name: str) -> None:
    """What has no default is asked for by name."""
    with pytest.raises(SettingsError, match=rf"audit\.{name}"):
        async with opened(home, **{name: ""}):
            pass


async def test_open_ledger_refuses_a_queue_of_nothing(home: LedgerHome) -> None:
    """Limits below one would lose every record."""
    with pytest.raises(SettingsError, match="at least 1"):
        async with opened(home, queue_records=0):
            pass


async def test_ledger_file_is_for_its_owner(home: LedgerHome) -> None:
    """Names and groups of users stand in it."""
    async with opened(home):
        modes = {path.name: path.stat().st_mode & 0o777 for path in home.path.parent.iterdir()}

    assert {modes[name] for name in modes if name.startswith("ledger.db")} == {0o600}


def test_each_commit_is_synced(home: LedgerHome) -> None:
    """FULL, since NORMAL loses acknowledged commits when the power fails; WAL beside it."""
    with closing(open_writer(home.path)) as connection:
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_settings_default_to_blocking() -> None:
    """The default waits for the disk."""
    assert AuditSettings().mode is AuditMode.BLOCKING
