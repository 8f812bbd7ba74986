"""Copies a log, also one that is being written.

A live file must not be copied as a file: what stands in its WAL would be missing.
"""

import sqlite3
from contextlib import closing
from pathlib import Path

from lictor.errors import StoreError
from lictor.ledger.schema import open_reader


def copy(path: Path | str, target: Path | str) -> None:
    """Copy the log `path`, as it is at one moment, to the new file `target`.

    Raises:
        StoreError: `path` could not be read, or `target` exists or could not be written.
    """
    source, goal = Path(path), Path(target)
    try:
        # Made here, so that of two copies at once only one has it, and with our mode.
        goal.touch(mode=0o600, exist_ok=False)
        with closing(open_reader(source)) as reader, closing(sqlite3.connect(goal)) as writer:
            reader.backup(writer)
            # One file, without a WAL beside it.
            writer.execute("PRAGMA journal_mode = DELETE").fetchone()
    except FileExistsError as err:
        raise StoreError(f"{goal}: it exists; a copy overwrites nothing") from err
    except (OSError, sqlite3.Error) as err:
        goal.unlink(missing_ok=True)
        raise StoreError(f"{source} could not be copied to {goal}: {err}") from err
