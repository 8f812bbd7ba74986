"""The folder outside the tree that holds what is fetched and built. Standard library only."""

import fcntl
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

KEY_LENGTH: Final = 12


def cache_folder() -> Path:
    """Return `$LICTOR_CACHE`, else `lictor` in the user's cache folder; it may not exist yet."""
    own = os.environ.get("LICTOR_CACHE", "")
    if own:
        return Path(own).absolute()
    shared = os.environ.get("XDG_CACHE_HOME", "")
    if shared and Path(shared).is_absolute():  # the XDG specification: ignore a relative one
        return Path(shared) / "lictor"
    home = Path("~").expanduser()
    if home.is_absolute() and os.access(home, os.W_OK):
        return home / ".cache" / "lictor"
    return Path(tempfile.gettempdir()) / f"lictor-cache-{os.getuid()}"


def key_of(*parts: str | bytes) -> str:
    """Return a short name for these inputs: equal inputs, equal name."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()[:KEY_LENGTH]


@contextmanager
def locked(path: Path, *, on_wait: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold the lock file `path` against every other process; the kernel frees it at our end.

    Args:
        path: the file; its folder is made.
        on_wait: called once where another process holds the lock.

    Raises:
        OSError: the folder cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if on_wait is not None:
                on_wait()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def write_atomically(path: Path, text: str) -> None:
    """Write a small file so that no reader ever sees half of it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
