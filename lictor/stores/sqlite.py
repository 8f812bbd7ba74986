"""Baselines and states in one SQLite file.

A write is on the disk when it returns. The stores may be used from several threads; each call is
one statement, and takes a fraction of a millisecond on a local disk.
"""

import sqlite3
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import msgspec
from typing_extensions import override

from lictor.errors import StoreError
from lictor.jsontypes import JsonObject
from lictor.model.document import MAX_OBJECT_BYTES
from lictor.model.names import Digest, Gvr, ObjectKey, Uid
from lictor.ports.baseline_store import Baseline, BaselineStore
from lictor.ports.state_store import StateKind, StateStore

APPLICATION_ID: Final = 0x4C495354
"""`LIST`, in the header of the file."""

VERSION: Final = 1
_BUSY_SECONDS: Final = 5.0
_TABLES: Final = """
CREATE TABLE baseline (
    uid TEXT PRIMARY KEY,
    grp TEXT NOT NULL,
    version TEXT NOT NULL,
    resource TEXT NOT NULL,
    namespace TEXT NOT NULL,
    name TEXT NOT NULL,
    digest TEXT NOT NULL,
    body BLOB,
    policy_set TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE state (
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY (kind, key)
) WITHOUT ROWID;
"""
_GET: Final = """
SELECT grp, version, resource, namespace, name, uid, digest, body, policy_set
FROM baseline WHERE uid = ?
"""
_PUT: Final = """
INSERT OR REPLACE INTO baseline
(grp, version, resource, namespace, name, uid, digest, body, policy_set)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
"""


class _Database:
    """One connection for all threads; every error is a StoreError."""

    __slots__ = ("_connection", "_lock", "_path")

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        try:
            if not path.exists():
                path.touch(mode=0o600)  # objects stand in it: for us alone
            self._connection = sqlite3.connect(
                path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
        except (sqlite3.Error, OSError) as err:
            raise StoreError(f"{path}: {err}") from err
        try:
            self._prepare()
        except (sqlite3.Error, StoreError) as err:
            self._connection.close()
            raise StoreError(f"{path}: {err}") from err

    def _prepare(self) -> None:
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        (application,) = self._connection.execute("PRAGMA application_id").fetchone()
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        (tables,) = self._connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        if not tables and not application:
            self._connection.executescript(
                f"BEGIN IMMEDIATE; {_TABLES} PRAGMA application_id = {APPLICATION_ID};"
                f"PRAGMA user_version = {VERSION}; COMMIT;"
            )
        elif (application, version) != (APPLICATION_ID, VERSION):
            raise StoreError(f"not a state file of version {VERSION}")

    def run(self, statement: str, values: tuple[object, ...]) -> list[tuple[object, ...]]:
        with self._lock:
            try:
                return self._connection.execute(statement, values).fetchall()
            except (sqlite3.Error, UnicodeEncodeError, OverflowError) as err:
                raise StoreError(f"{self._path}: {err}") from err

    def close(self) -> None:
        with self._lock:
            self._connection.close()


class SqliteBaselineStore(BaselineStore):
    """Keeps bodies compressed."""

    __slots__ = ("_database",)

    def __init__(self, database: _Database) -> None:
        self._database = database

    @override
    def get(self, uid: Uid) -> Baseline | None:
        """Return the baseline of `uid`."""
        rows = self._database.run(_GET, (uid,))
        return _baseline(rows[0]) if rows else None

    @override
    def put(self, baseline: Baseline) -> None:
        """Keep `baseline`; the same again costs no write."""
        body = None if baseline.body is None else zlib.compress(baseline.body)
        place = (*_place(baseline.key), baseline.uid)
        values = (*place, baseline.digest, body, baseline.policy_set)
        if self._database.run(_GET, (baseline.uid,)) != [values]:
            self._database.run(_PUT, values)

    @override
    def forget(self, uid: Uid) -> None:
        """Drop the baseline of `uid`, if there is one."""
        self._database.run("DELETE FROM baseline WHERE uid = ?", (uid,))


class SqliteStateStore(StateStore):
    """Keeps states as JSON."""

    __slots__ = ("_database",)

    def __init__(self, database: _Database) -> None:
        self._database = database

    @override
    def read(self, kind: StateKind, key: str) -> JsonObject | None:
        """Return the state."""
        statement = "SELECT value FROM state WHERE kind = ? AND key = ?"
        rows = self._database.run(statement, (kind.value, key))
        return _state(rows[0][0]) if rows else None

    @override
    def write(self, kind: StateKind, key: str, value: JsonObject | None) -> None:
        """Keep or forget the state."""
        if value is None:
            statement = "DELETE FROM state WHERE kind = ? AND key = ?"
            self._database.run(statement, (kind.value, key))
            return
        statement = "INSERT OR REPLACE INTO state (kind, key, value) VALUES (?, ?, ?)"
        self._database.run(statement, (kind.value, key, _encoded(value)))

    @override
    def items(self, kind: StateKind) -> Iterator[tuple[str, JsonObject]]:
        """Yield the states of `kind` by key, as they are at the first step."""
        statement = "SELECT key, value FROM state WHERE kind = ? ORDER BY key"
        for key, value in self._database.run(statement, (kind.value,)):
            yield str(key), _state(value)


class Stores:
    """Both stores of one file; a context manager that closes it."""

    __slots__ = ("_database", "baselines", "states")

    def __init__(self, database: _Database) -> None:
        self._database = database
        self.baselines: BaselineStore = SqliteBaselineStore(database)
        self.states: StateStore = SqliteStateStore(database)

    def close(self) -> None:
        """Close the file; the stores raise StoreError from then on."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def open_stores(path: Path | str) -> Stores:
    """Open the stores in the file `path`, which is made where it is missing.

    Raises:
        StoreError: it cannot be opened, or is something else.
    """
    return Stores(_Database(Path(path)))


def _place(key: ObjectKey) -> tuple[str, str, str, str, str]:
    resource = key.resource
    return (resource.group, resource.version, resource.resource, key.namespace, key.name)


def _baseline(row: tuple[object, ...]) -> Baseline:
    group, version, resource, namespace, name, uid, digest, body, policy_set = row
    return Baseline(
        key=ObjectKey(Gvr(str(group), str(version), str(resource)), str(namespace), str(name)),
        uid=Uid(str(uid)),
        digest=Digest(str(digest)),
        body=_inflated(body) if isinstance(body, bytes) else None,
        policy_set=Digest(str(policy_set)),
    )


def _inflated(body: bytes) -> bytes:
    machine = zlib.decompressobj()
    try:
        data = machine.decompress(body, MAX_OBJECT_BYTES)
    except zlib.error as err:
        raise StoreError(f"the body of a baseline is damaged: {err}") from err
    if not machine.eof:
        raise StoreError("the body of a baseline is damaged, or larger than an object can be")
    return data


def _encoded(value: JsonObject) -> bytes:
    try:
        return msgspec.json.encode(value)
    except (UnicodeEncodeError, TypeError, RecursionError) as err:
        raise StoreError(f"a state is not JSON: {err}") from err


def _state(data: object) -> JsonObject:
    try:
        tree = msgspec.json.decode(data if isinstance(data, bytes) else b"")
    except (msgspec.DecodeError, UnicodeDecodeError) as err:
        raise StoreError(f"a state is damaged: {err}") from err
    if not isinstance(tree, dict):
        raise StoreError("a state is damaged: it is not an object")
    return tree
