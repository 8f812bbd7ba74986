"""Children are started, stopped, frozen and never outlive us."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from testkit.process import Child, StartError

# Interpreters are started here, which takes seconds where all cores are busy.
pytestmark = pytest.mark.timeout(60)

SLEEPER = "import time\nprint('up', flush=True)\ntime.sleep(60)"
STUBBORN = f"import signal\nsignal.signal(15, signal.SIG_IGN)\n{SLEEPER}"
PARENT = """
import os, sys
from pathlib import Path
from testkit.process import Child
log = Path(sys.argv[1])
program = "import time; print('up', flush=True); time.sleep(60)"
child = Child([sys.executable, "-c", program], log, ready=lambda: "up" in log.read_text())
child.start()
print(child.pid, flush=True)
os.kill(os.getpid(), 9)
"""


def child_of(program: str, folder: Path, *, ready_seconds: float = 5.0) -> Child:
    """Describe a Python program that is ready when it has printed `up`."""
    log = folder / "child.log"
    return Child(
        [sys.executable, "-c", program],
        log,
        ready=lambda: log.exists() and "up" in log.read_text(),
        ready_seconds=ready_seconds,
    )


def is_alive(pid: int) -> bool:
    """Tell whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_child_stop_ends_a_program(tmp_path: Path) -> None:
    """SIGTERM ends it, and its exit code tells so."""
    child = child_of(SLEEPER, tmp_path)
    child.start()
    assert child.running

    assert child.stop() == -15

    assert not child.running


def test_child_stop_kills_what_does_not_listen(tmp_path: Path) -> None:
    """A program that ignores SIGTERM is killed in the end."""
    child = child_of(STUBBORN, tmp_path)
    child.start()

    assert child.stop(timeout_seconds=0.2) == -9


def test_child_stop_ends_a_frozen_program(tmp_path: Path) -> None:
    """A frozen program is thawed, so that it can obey."""
    child = child_of(SLEEPER, tmp_path)
    child.start()
    child.freeze()

    assert child.stop(timeout_seconds=5) == -15


def test_child_start_again_appends_to_its_log(tmp_path: Path) -> None:
    """A killed program starts again, as another process with the same log."""
    child = child_of(SLEEPER, tmp_path)
    child.start()
    first = child.pid
    child.kill()

    child.start()

    assert child.pid != first
    deadline = time.monotonic() + 5
    while child.log_tail() != "up\nup" and time.monotonic() < deadline:
        time.sleep(0.01)
    assert child.log_tail() == "up\nup"
    child.kill()


def test_child_start_reports_the_log_of_one_that_ended(tmp_path: Path) -> None:
    """Why it ended is in the message."""
    child = child_of("raise SystemExit('no such flag')", tmp_path)

    with pytest.raises(StartError, match=r"ended with 1\nno such flag"):
        child.start()


def test_child_start_kills_one_that_is_late(tmp_path: Path) -> None:
    """What never gets ready does not stay."""
    child = child_of("import time\ntime.sleep(60)", tmp_path, ready_seconds=0.2)

    with pytest.raises(StartError, match="was not ready after 0 s"):
        child.start()

    assert not child.running


def test_child_does_not_outlive_a_killed_parent(tmp_path: Path) -> None:
    """The kernel kills it, since a killed parent cannot."""
    answer = subprocess.run(
        [sys.executable, "-c", PARENT, str(tmp_path / "log")],
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
    )
    pid = int(answer.stdout)

    deadline = time.monotonic() + 3
    while is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.01)

    assert answer.returncode == -9
    assert not is_alive(pid)
