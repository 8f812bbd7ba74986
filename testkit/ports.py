"""Loopback ports that stay ours while their server is down."""

import fcntl
import os
import random
import socket
import tempfile
from pathlib import Path
from typing import Final

LOOPBACK: Final = "127.0.0.1"

# Below Linux's usual ephemeral range (32768 and up): there, an outgoing connection of anybody
# could take the port of a server that is being restarted.
FIRST: Final = 18_000
LAST: Final = 32_000
ATTEMPTS: Final = 500

_leases: dict[int, int] = {}


def lease_port() -> int:
    """Return a free TCP port of the loopback, kept for this process until `release_port`.

    The lease is an advisory lock, so two test runs of one user never get the same port; it ends
    with the process.

    Raises:
        OSError: none was found.
    """
    folder = Path(tempfile.gettempdir()) / f"lictor-ports-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    for port in random.SystemRandom().sample(range(FIRST, LAST), ATTEMPTS):
        lock = _try_lock(folder / str(port))
        if lock is None:
            continue
        if _is_free(port):
            _leases[port] = lock
            return port
        os.close(lock)
    raise OSError(f"no free port among {ATTEMPTS} between {FIRST} and {LAST}")


def release_port(port: int) -> None:
    """Give a leased port back; one that is not leased is left alone."""
    lock = _leases.pop(port, None)
    if lock is not None:
        os.close(lock)


def _try_lock(path: Path) -> int | None:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True
