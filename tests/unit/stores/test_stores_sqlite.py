"""The embedded stores: durability, faults of the file, and threads."""

import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest

from lictor.errors import StoreError
from lictor.model.names import Digest, Gvr, ObjectKey, Uid
from lictor.ports.baseline_store import Baseline
from lictor.ports.state_store import StateKind
from lictor.stores.sqlite import open_stores
from testkit.simulators.baseline_store import MemoryBaselineStore
from testkit.simulators.state_store import MemoryStateStore

BASELINE = Baseline(
    key=ObjectKey(Gvr("", "v1", "pods"), "shop", "web"),
    uid=Uid("u-1"),
    digest=Digest("sha256:1"),
    body=b"{}" * 1000,
    policy_set=Digest("sha256:2"),
)

KILLED = """
import os, signal, sys
from lictor.ports.state_store import StateKind
from lictor.stores.sqlite import open_stores
stores = open_stores(sys.argv[1])
for number in range(20):
    stores.states.write(StateKind.HEAT, "a", {"n": number})
    print(number, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_stores_survive_a_restart(tmp_path: Path) -> None:
    """What was kept is there when the file is opened again, compressed and for its owner alone."""
    path = tmp_path / "state.db"
    with open_stores(path) as stores:
        stores.baselines.put(BASELINE)
        stores.states.write(StateKind.HEAT, "a", {"n": 1})
    with open_stores(path) as stores:
        assert stores.baselines.get(BASELINE.uid) == BASELINE
        assert stores.states.read(StateKind.HEAT, "a") == {"n": 1}
    with closing(sqlite3.connect(path)) as connection:
        ((size,),) = connection.execute("SELECT length(body) FROM baseline").fetchall()

    assert size < 100
    assert path.stat().st_mode & 0o777 == 0o600


def test_stores_survive_a_kill(tmp_path: Path) -> None:
    """A write that has returned is there after SIGKILL."""
    command = [sys.executable, "-c", KILLED, str(tmp_path / "state.db")]
    child = subprocess.run(command, capture_output=True, text=True, check=False)

    assert child.returncode == -9
    with open_stores(tmp_path / "state.db") as stores:
        assert stores.states.read(StateKind.HEAT, "a") == {"n": int(child.stdout.split()[-1])}


def test_each_write_is_synced(tmp_path: Path) -> None:
    """FULL, since NORMAL loses committed writes when the power fails."""
    with open_stores(tmp_path / "state.db") as stores:
        assert stores._database.run("PRAGMA synchronous", ()) == [(2,)]
        assert stores._database.run("PRAGMA journal_mode", ()) == [("wal",)]


def test_stores_are_used_from_several_threads(tmp_path: Path) -> None:
    """Writes of several threads do not disturb each other."""
    with open_stores(tmp_path / "state.db") as stores:

        def write(name: str) -> None:
            for number in range(20):
                stores.states.write(StateKind.HEAT, f"{name}{number}", {"n": number})

        threads = [threading.Thread(target=write, args=(name,)) for name in "abcd"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert len(list(stores.states.items(StateKind.HEAT))) == 80


def test_put_of_the_same_baseline_writes_nothing(tmp_path: Path) -> None:
    """Seeding what is known already costs no fsync."""
    with open_stores(tmp_path / "state.db") as stores:
        stores.baselines.put(BASELINE)
        before = (tmp_path / "state.db-wal").stat().st_size
        stores.baselines.put(BASELINE)

        assert (tmp_path / "state.db-wal").stat().st_size == before


def test_closed_stores_say_so(tmp_path: Path) -> None:
    """After the end each call is a StoreError."""
    stores = open_stores(tmp_path / "state.db")
    stores.close()

    with pytest.raises(StoreError, match="closed"):
        stores.baselines.get(Uid("u-1"))


@pytest.mark.parametrize(
    ("prepare", "match"),
    [
        pytest.param(
            lambda path: path.write_bytes(b"x" * 5000), "not a database", id="no-database"
        ),
        pytest.param(lambda path: path.mkdir(), "unable to open", id="folder"),
    ],
)
def test_open_stores_refuses_other_files(tmp_path: Path, prepare: object, match: str) -> None:
    """Another file is left alone, and the error names it."""
    prepare(tmp_path / "state.db")  # type: ignore[operator]  # a function

    with pytest.raises(StoreError, match=match):
        open_stores(tmp_path / "state.db")


def test_open_stores_refuses_another_version(tmp_path: Path) -> None:
    """A file of a later version is not written to."""
    open_stores(tmp_path / "state.db").close()
    with closing(sqlite3.connect(tmp_path / "state.db")) as connection:
        connection.execute("PRAGMA user_version = 2")

    with pytest.raises(StoreError, match="version 1"):
        open_stores(tmp_path / "state.db")


def test_open_stores_needs_its_folder(tmp_path: Path) -> None:
    """The folder is a volume, which the operator makes."""
    with pytest.raises(StoreError, match="No such file"):
        open_stores(tmp_path / "absent" / "state.db")


@pytest.mark.parametrize(
    "statement",
    [
        pytest.param("UPDATE baseline SET body = x'00ff'", id="not-zlib"),
        pytest.param("UPDATE baseline SET body = substr(body, 1, 9)", id="torn"),
        pytest.param("UPDATE state SET value = x'5b'", id="not-json"),
        pytest.param("UPDATE state SET value = x'5b5d'", id="not-an-object"),
        pytest.param("UPDATE state SET value = 7", id="not-bytes"),
    ],
)
def test_damaged_rows_are_store_errors(tmp_path: Path, statement: str) -> None:
    """A row that cannot be read is an error, and never half an object."""
    path = tmp_path / "state.db"
    with open_stores(path) as stores:
        stores.baselines.put(BASELINE)
        stores.states.write(StateKind.HEAT, "a", {"n": 1})
        with closing(sqlite3.connect(path)) as connection:
            connection.execute(statement)
            connection.commit()

        with pytest.raises(StoreError, match="damaged"):
            _ = (stores.baselines.get(BASELINE.uid), stores.states.read(StateKind.HEAT, "a"))


def test_keys_that_are_no_text_are_store_errors(tmp_path: Path) -> None:
    """A lone surrogate is an error of the tree of errors."""
    with open_stores(tmp_path / "state.db") as stores:
        with pytest.raises(StoreError, match="surrogates"):
            stores.states.write(StateKind.HEAT, "\ud800", {})
        with pytest.raises(StoreError, match="not JSON"):
            stores.states.write(StateKind.HEAT, "a", {"x": "\ud800"})


def test_simulators_fail_on_demand() -> None:
    """A test can see what happens when a store fails."""
    with pytest.raises(StoreError, match="simulated"):
        MemoryBaselineStore(failing=True).get(Uid("u"))
    with pytest.raises(StoreError, match="simulated"):
        MemoryStateStore(failing=True).read(StateKind.HEAT, "a")
