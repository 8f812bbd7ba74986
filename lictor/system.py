"""The machine as values: the clock, randomness, the host's name and the environment."""

import os
import secrets
import socket
import time
from datetime import UTC, datetime
from typing import Final

RANDOM_BYTES: Final = 4
"""Of an identity: two starts of one host differ but once in 4 billion."""


class SystemClock:
    """The machine's own clocks (implements `lictor.ports.clock.Clock`)."""

    def now(self) -> datetime:
        """Return the wall time, aware, in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds that never go backwards, from an arbitrary start."""
        return time.monotonic()


def host_name() -> str:
    """Return the host's name, which in a Pod is the Pod's; "unknown" where there is none."""
    return socket.gethostname() or "unknown"


def host_identity() -> str:
    """Return the host's name with a random part: a restarted process is another candidate."""
    return f"{host_name()}_{random_hex(RANDOM_BYTES)}"


def random_hex(size: int) -> str:
    """Return `size` random bytes, fit for keys, as hexadecimal digits."""
    return secrets.token_hex(size)


def environment(name: str, default: str = "") -> str:
    """Return the environment variable `name`; an empty one counts as unset."""
    return os.environ.get(name) or default
