"""What the targets of the Makefile do. Standard library only: it runs before the environment is.

Whatever a tool keeps goes to the cache folder, so that a checkout may be read-only.
"""

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from testkit.cache import cache_folder, key_of
from testkit.environment import (
    ROOT,
    EnvironmentFailedError,
    ensure_environment,
    remove_environments,
)
from testkit.progress import Progress

TEST_PROGRAMS: Final = ("etcd", "kube-apiserver", "kube-controller-manager", "kubectl")
UP_PROGRAMS: Final = ("etcd", "kube-apiserver")
KUBECTL: Final = "kubectl"
WORKERS: Final = 4
EXIT_UNAVAILABLE: Final = 2
EXIT_INTERRUPTED: Final = 130
LEFTOVERS: Final = ("build", "dist", ".pytest_cache", ".mypy_cache", ".ruff_cache", ".hypothesis")


def up(_arguments: Sequence[str]) -> int:
    """Start the control plane, gate and enforcer, and walk the tour."""
    progress = Progress()
    python = ensure_environment(progress)
    if not _programs(python, UP_PROGRAMS):
        progress.say(f"`make up` needs {' and '.join(UP_PROGRAMS)}")
        return EXIT_UNAVAILABLE
    if not _ends_at_once() and shutil.which(KUBECTL) is None:
        _programs(python, (KUBECTL,))  # to try things with afterwards; the tour needs none
    return _become(python, "testkit.tour")


def _ends_at_once() -> bool:
    return os.environ.get("ONCE", "") not in ("", "0")


def test(arguments: Sequence[str]) -> int:
    """Run the tests; further arguments go to pytest."""
    python = ensure_environment(Progress())
    _programs(python, TEST_PROGRAMS)  # what is missing is skipped, and the summary says so
    workers = min(os.cpu_count() or 1, WORKERS)
    options = ["-o", f"cache_dir={_tool_cache('pytest')}"]
    if workers > 1:
        options += ["-n", str(workers), "--dist", "loadscope", "--no-loadscope-reorder"]
    if os.environ.get("LICTOR_COVERAGE", "") not in ("", "0"):
        return _measured(python, [*options, *arguments])
    return _become(python, "pytest", *options, *arguments)


def lint(_arguments: Sequence[str]) -> int:
    """Check style, types, layering and the lock."""
    progress = Progress()
    python = ensure_environment(progress)
    failed = []
    for name, argv in _checks(python).items():
        progress.say(name)
        if subprocess.run(argv, cwd=ROOT, env=_environment(), check=False).returncode:
            failed.append(name)
    progress.say(f"lint failed: {', '.join(failed)}" if failed else "lint passed")
    return 1 if failed else 0


def bench(arguments: Sequence[str]) -> int:
    """Measure, and write the results as JSON."""
    python = ensure_environment(Progress())
    _programs(python, TEST_PROGRAMS)
    return _become(python, "benchmarks", *arguments)


def clean(_arguments: Sequence[str]) -> int:
    """Remove this checkout's environment and caches; the built programs stay."""
    remove_environments()
    shutil.rmtree(_tool_caches(), ignore_errors=True)
    for name in LEFTOVERS:
        shutil.rmtree(ROOT / name, ignore_errors=True)
    print(f"built programs stay in {cache_folder()}; remove that folder to build them again")
    return 0


COMMANDS: Final[dict[str, Callable[[Sequence[str]], int]]] = {
    "up": up,
    "test": test,
    "lint": lint,
    "bench": bench,
    "clean": clean,
}


def _checks(python: Path) -> dict[str, list[str | Path]]:
    tools = python.parent
    return {
        "ruff check": [tools / "ruff", "check", "."],
        "ruff format": [tools / "ruff", "format", "--check", "."],
        "mypy": [tools / "mypy", "--cache-dir", _tool_cache("mypy")],
        "import contracts": [tools / "lint-imports", "--cache-dir", _tool_cache("imports")],
        "lock": [python, "-m", "testkit.lock"],
    }


def _measured(python: Path, options: Sequence[str]) -> int:
    """Run pytest with coverage of every process that it starts, then report."""
    data = _tool_cache(f"coverage-{os.getpid()}")
    data.mkdir(parents=True)
    environment = _environment() | {"COVERAGE_FILE": str(data / "data")}

    def run(*argv: str) -> int:
        command = [str(python), "-m", *argv]
        return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode

    try:
        code = run("coverage", "run", "-m", "pytest", *options)
        run("coverage", "combine", "--quiet")
        report = run("coverage", "report", "--skip-covered", "--skip-empty")
    finally:
        shutil.rmtree(data, ignore_errors=True)
    return code or report


def _programs(python: Path, names: Sequence[str]) -> bool:
    """Build what lacks with the environment's interpreter, which has pip."""
    argv = [str(python), "-m", "testkit.binaries", *names]
    return subprocess.run(argv, cwd=ROOT, check=False).returncode == 0


def _become(python: Path, module: str, *arguments: str) -> int:
    """Replace this process, so that a signal reaches the program itself."""
    os.chdir(ROOT)
    os.execve(python, [str(python), "-m", module, *arguments], _environment())  # noqa: S606


def _environment() -> dict[str, str]:
    caches = {
        "RUFF_CACHE_DIR": str(_tool_cache("ruff")),
        "HYPOTHESIS_STORAGE_DIRECTORY": str(_tool_cache("hypothesis")),
    }
    return {**os.environ, **caches}


def _tool_caches() -> Path:
    return cache_folder() / "tools" / key_of(str(ROOT))


def _tool_cache(name: str) -> Path:
    return _tool_caches() / name


def main(argv: Sequence[str] | None = None) -> int:
    """Run one target."""
    parser = argparse.ArgumentParser(prog="python -m testkit.workshop")
    commands = parser.add_subparsers(required=True, metavar="TARGET")
    for name, command in COMMANDS.items():
        commands.add_parser(name, help=command.__doc__).set_defaults(run=command)
    parsed, rest = parser.parse_known_args(argv)
    try:
        return int(parsed.run(rest))
    except EnvironmentFailedError as err:
        print(f"error: {err}", file=sys.stderr)
        return EXIT_UNAVAILABLE
    except KeyboardInterrupt:
        print("interrupted; the next run goes on from here", file=sys.stderr)
        return EXIT_INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
