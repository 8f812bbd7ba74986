"""The tables of an embedded ledger, and how its file is opened."""

import sqlite3
from pathlib import Path
from typing import Final
from urllib.parse import quote

APPLICATION_ID: Final = 0x4C494354
"""`LICT`, in the header of the file."""

VERSION: Final = 1
"""`user_version` of the file: rises with each change of the tables."""

BUSY_SECONDS: Final = 5.0
"""How long a statement waits for a reader; writers exclude each other by a lock."""

TABLES: Final = """
CREATE TABLE leaf (
    idx INTEGER PRIMARY KEY,
    data BLOB NOT NULL,
    hash BLOB NOT NULL
);
CREATE TABLE checkpoint (
    size INTEGER PRIMARY KEY,
    note BLOB NOT NULL,
    frontier BLOB NOT NULL
);
"""

# Who tampers may also have changed the types: bytes are read whatever they are said to be.
LEAVES: Final = """
SELECT CAST(idx AS INTEGER), coalesce(CAST(data AS BLOB), x''), coalesce(CAST(hash AS BLOB), x'')
FROM leaf WHERE idx >= ? AND idx < ? ORDER BY idx LIMIT ?
"""
CHECKPOINTS: Final = """
SELECT CAST(size AS INTEGER), coalesce(CAST(note AS BLOB), x''),
coalesce(CAST(frontier AS BLOB), x'') FROM checkpoint
"""
LEAF_COUNT: Final = "SELECT CAST(coalesce(max(idx) + 1, 0) AS INTEGER) FROM leaf"


def open_writer(path: Path) -> sqlite3.Connection:
    """Open the file for writing; each commit is on the disk when it returns.

    Raises:
        sqlite3.Error: it cannot be opened, or is no database.
        OSError: the folder cannot be synced.
    """
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        # NORMAL loses commits that were acknowledged when the power fails.
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA trusted_schema = OFF")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def open_reader(path: Path) -> sqlite3.Connection:
    """Open the file for reading only, beside a writer or without one.

    Raises:
        sqlite3.Error: it cannot be opened, or is no database.
    """
    uri = f"file:{quote(str(path.absolute()))}?mode=ro"
    connection = sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None)
    try:
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    except sqlite3.OperationalError:
        connection.close()
        if path.with_name(path.name + "-wal").exists() or not path.exists():
            raise
    except sqlite3.Error:
        connection.close()
        raise
    else:
        return connection
    # In a folder that cannot be written, SQLite cannot make the WAL index of a closed ledger.
    # Without a WAL there is no writer, so the file does not change.
    return sqlite3.connect(f"{uri}&immutable=1", uri=True, isolation_level=None)
