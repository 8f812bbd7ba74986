"""The targets work from anywhere, and say what they do."""

import os
import subprocess
from pathlib import Path

import pytest

from testkit.environment import environment_folder, remove_environments
from testkit.toolchain import find_go

# Interpreters are started here, which takes seconds where all cores are busy.
pytestmark = pytest.mark.timeout(60)

ROOT = Path(__file__).resolve().parents[3]
TARGETS = ("up", "test", "lint", "bench", "clean")


def run(*argv: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the checkout."""
    return subprocess.run(
        argv,
        cwd=cwd,
        env={**os.environ, "MAKEFLAGS": "", **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )


@pytest.mark.parametrize(
    "argv",
    [
        pytest.param(("make", "-C", str(ROOT)), id="folder"),
        pytest.param(("make", "-f", str(ROOT / "Makefile")), id="file"),
    ],
)
def test_make_without_a_target_lists_all(tmp_path: Path, argv: tuple[str, ...]) -> None:
    """Help is the default, from any folder."""
    answer = run(*argv, cwd=tmp_path)

    assert answer.returncode == 0
    assert [name for name in TARGETS if f"\n  {name}\t" not in answer.stdout] == []


def test_python_says_what_it_looked_for(tmp_path: Path) -> None:
    """Without a Python that is new enough nothing starts, and the reason is clear."""
    old = tmp_path / "python3"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)

    answer = run(str(ROOT / "tools" / "python"), "--version", cwd=tmp_path, PATH=str(tmp_path))

    assert answer.returncode == 2
    assert "no Python 3.11 or newer on PATH" in answer.stderr


def test_python_passes_over_an_older_one(tmp_path: Path) -> None:
    """A `python3` that is too old does not hide a newer `python3.12`."""
    for name, script in (("python3", "exit 1"), ("python3.12", 'echo "chosen: $*"')):
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)

    answer = run(str(ROOT / "tools" / "python"), "--version", cwd=tmp_path, PATH=str(tmp_path))

    assert answer.stdout.endswith("chosen: --version\n")


def test_environment_folder_follows_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another lock is another environment; another checkout too."""
    lock = tmp_path / "dev.txt"
    lock.write_text("one")
    monkeypatch.setenv("LICTOR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("testkit.environment.LOCK", lock)
    first = environment_folder()
    assert environment_folder() == first

    lock.write_text("two")
    second = environment_folder()
    monkeypatch.setattr("testkit.environment.ROOT", tmp_path)

    assert len({first, second, environment_folder()}) == 3
    assert first.name.split("-")[0] == second.name.split("-")[0]


def test_remove_environments_leaves_those_of_other_checkouts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only what belongs to this checkout goes; a real `.venv` folder stays."""
    monkeypatch.setenv("LICTOR_CACHE", str(tmp_path / "cache"))
    other = environment_folder()
    other.mkdir(parents=True)
    checkout = tmp_path / "checkout"
    (checkout / ".venv").mkdir(parents=True)
    monkeypatch.setattr("testkit.environment.ROOT", checkout)
    mine = environment_folder()
    mine.mkdir()

    remove_environments()

    assert (mine.exists(), other.exists(), (checkout / ".venv").exists()) == (False, True, True)


@pytest.mark.parametrize(
    ("version", "found"),
    [
        pytest.param("go1.26.0", True, id="exact"),
        pytest.param("go1.27.3", True, id="newer"),
        pytest.param("go1.9.7", False, id="older"),
        pytest.param("devel", False, id="unknown"),
    ],
)
def test_find_go_compares_versions_as_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, *, found: bool
) -> None:
    """1.9 is older than 1.26; what tells no version is not used."""
    go = tmp_path / "go"
    go.write_text(f"#!/bin/sh\necho {version}\n")
    go.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))

    assert find_go((1, 26, 0)) == (go if found else None)
