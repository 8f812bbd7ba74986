"""One writer a ledger: an advisory lock that the kernel releases when the process ends."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lictor.ledger.errors import LedgerError, LedgerLockedError


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold the lock of the ledger `path`: the file `<path>.lock`, which stays behind.

    Raises:
        LedgerLockedError: another process, or this one, holds it.
        LedgerError: the lock file cannot be made.
    """
    # Two names of one file are one ledger.
    file = Path(f"{path.resolve()}.lock")
    try:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as err:
        raise LedgerError(f"{file}: {err.strerror}; the ledger needs its lock file") from err
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as err:
            raise LedgerLockedError(f"{path}: another process writes this ledger") from err
        yield
    finally:
        os.close(descriptor)
