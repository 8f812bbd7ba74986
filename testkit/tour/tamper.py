"""Changes one byte of a ledger, as somebody with access to the file would."""

import sqlite3
from contextlib import closing
from pathlib import Path


def flip_one_byte(ledger: Path) -> str:
    """Change one byte in the middle of the newest leaf; return what was done, for a person.

    The table is written through SQLite: a random flip in a database file often touches no leaf.
    """
    with closing(sqlite3.connect(ledger)) as database, database:
        index, data = database.execute(
            "SELECT idx, data FROM leaf ORDER BY idx DESC LIMIT 1"
        ).fetchone()
        place = len(data) // 2
        changed = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
        database.execute("UPDATE leaf SET data = ? WHERE idx = ?", (changed, index))
    return f"flip one bit of byte {place} of leaf {index}"
