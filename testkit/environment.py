"""Makes the Python environment that everything here runs in. Standard library only.

It lives in the cache folder, keyed by the checkout, the lock and the interpreter; a file that is
written last marks it as complete. `.venv` in the checkout is a link to it, where that can be made.
"""

import contextlib
import importlib.util
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from typing import Final

from testkit.cache import cache_folder, key_of, locked, write_atomically
from testkit.progress import Progress, last_line

ROOT: Final = Path(__file__).resolve().parent.parent
LOCK: Final = ROOT / "requirements" / "dev.txt"
PROJECT: Final = ROOT / "pyproject.toml"
NEEDED_BYTES: Final = 400 * 2**20
"""Of an environment with all locked packages."""


class EnvironmentFailedError(Exception):
    """The environment cannot be made; the message says what to do."""


def environment_folder() -> Path:
    """Return where the environment of this checkout, lock and interpreter belongs."""
    interpreter = f"{sys.version} {Path(sys.executable).resolve()} {os.uname().machine}"
    name = f"{key_of(str(ROOT))}-{key_of(LOCK.read_bytes(), interpreter)}"
    return cache_folder() / "environments" / name


def ensure_environment(progress: Progress) -> Path:
    """Return the interpreter of a complete environment; two processes at once make it once.

    Raises:
        EnvironmentFailedError: it cannot be made.
    """
    folder = environment_folder()
    if not _is_complete(folder):
        busy = "waiting for another process that makes the environment"
        try:
            with locked(folder.with_suffix(".lock"), on_wait=lambda: progress.say(busy)):
                _complete(folder, progress)
        except OSError as err:
            raise EnvironmentFailedError(
                f"the cache folder cannot be written ({err}); set LICTOR_CACHE to one that can"
            ) from err
    _link(folder)
    return folder / "bin" / "python"


def remove_environments() -> None:
    """Remove every environment of this checkout, and the link to it."""
    for folder in (cache_folder() / "environments").glob(f"{key_of(str(ROOT))}-*"):
        if folder.is_dir():
            shutil.rmtree(folder, ignore_errors=True)
        else:
            folder.unlink(missing_ok=True)
    link = ROOT / ".venv"
    if link.is_symlink():
        link.unlink()


def _complete(folder: Path, progress: Progress) -> None:
    if _is_complete(folder):
        return
    if not (folder / "locked").exists() or not (folder / "bin" / "python").exists():
        _make(folder, progress)
    argv: list[str | Path] = [
        folder / "bin" / "python",
        "-m",
        "pip",
        "install",
        "--disable-pip-version-check",
    ]
    argv += ["--no-deps", "--no-build-isolation", "--editable", ROOT]
    _install(argv, what="installing the project itself", folder=folder, progress=progress)
    write_atomically(folder / "complete", key_of(PROJECT.read_bytes()))


def _make(folder: Path, progress: Progress) -> None:
    progress.say(f"making the environment {folder}")
    shutil.rmtree(folder, ignore_errors=True)
    try:
        venv.create(folder, with_pip=True, symlinks=True)
    except (OSError, subprocess.CalledProcessError) as err:
        raise EnvironmentFailedError(
            f"{sys.executable} cannot make an environment ({err}); {_advice(folder)}"
        ) from err
    argv: list[str | Path] = [
        folder / "bin" / "python",
        "-m",
        "pip",
        "install",
        "--disable-pip-version-check",
    ]
    argv += ["--require-hashes", "-r", LOCK]
    _install(argv, what="installing the locked packages", folder=folder, progress=progress)
    write_atomically(folder / "locked", "")


def _advice(folder: Path) -> str:
    """Say what is most likely wrong where no environment can be made."""
    if importlib.util.find_spec("ensurepip") is None:
        return "on Debian and Ubuntu install python3-venv"
    free = shutil.disk_usage(cache_folder()).free
    if free < NEEDED_BYTES:
        return f"{cache_folder()} has {free >> 20} MiB free, and {NEEDED_BYTES >> 20} are needed"
    return f"try {sys.executable} -m venv {folder}"


def _install(argv: list[str | Path], *, what: str, folder: Path, progress: Progress) -> None:
    log = folder / "pip.log"
    # The build back end looks for its own program on PATH.
    path = f"{folder / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    if not progress.run(argv, what=what, log=log, environment={"PATH": path}):
        raise EnvironmentFailedError(
            f"{what} failed: {last_line(log)}; all of it is in {log}."
            " The first run needs a package index and some"
            f" {NEEDED_BYTES >> 20} MiB in {cache_folder()} (LICTOR_CACHE names another folder)"
        )


def _is_complete(folder: Path) -> bool:
    mark = folder / "complete"
    if not mark.exists() or not (folder / "bin" / "python").exists():
        return False
    return mark.read_text(encoding="utf-8") == key_of(PROJECT.read_bytes())


def _link(folder: Path) -> None:
    """Point `.venv` at the environment, unless something else stands there or we may not write."""
    link = ROOT / ".venv"
    if link.exists() and not link.is_symlink():
        return
    if link.is_symlink() and link.readlink() == folder:
        return
    temporary = ROOT / f".venv.{os.getpid()}"
    with contextlib.suppress(OSError):  # a checkout that we may only read: it is a convenience
        temporary.symlink_to(folder)
        temporary.replace(link)
