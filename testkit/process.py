"""Child processes that can be stopped, killed, frozen and started again, and never outlive us."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

POLL_SECONDS: Final = 0.02
TAIL_BYTES: Final = 64 * 1024

# Runs between fork and exec: asks the kernel to kill the child when the thread that made it is
# gone (a `preexec_fn` could deadlock where there are threads), then becomes the program.
_GUARD: Final = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)
if os.getppid() != int(sys.argv[1]):
    os._exit(1)
os.execv(sys.argv[2], sys.argv[2:])
"""


def guarded(argv: Sequence[str | Path]) -> list[str]:
    """Return the command line that runs `argv` so that the kernel kills it when we are gone.

    `argv` begins with an absolute path.
    """
    guard = [sys.executable, "-I", "-S", "-c", _GUARD, str(os.getpid())]
    return [*guard, *(str(part) for part in argv)]


class StartError(Exception):
    """A child did not become ready; the message ends with the tail of its log."""


def always_ready() -> bool:
    """Tell that a child is ready as soon as it runs."""
    return True


class Child:
    """One program, its arguments and its log; it may be started more than once.

    The kernel kills the program when the thread that called `start` ends, however that happens:
    call it from a thread that lives as long as the child is needed.
    """

    def __init__(
        self,
        argv: Sequence[str | Path],
        log: Path,
        *,
        environment: Mapping[str, str] | None = None,
        ready: Callable[[], bool] = always_ready,
        ready_seconds: float = 60.0,
    ) -> None:
        """Describe the program; nothing runs yet.

        Args:
            argv: absolute path of the program, then its arguments.
            log: takes what it writes to stdout and stderr, over all its starts.
            environment: added to our own environment.
            ready: polled after the start until it is true; it must return soon.
            ready_seconds: how long to wait for it.
        """
        self.argv = tuple(str(part) for part in argv)
        self.log = log
        self.name = Path(self.argv[0]).name
        self._environment = dict(environment or {})
        self._ready = ready
        self._ready_seconds = ready_seconds
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id of the current run; 0 where it was never started."""
        return self._process.pid if self._process else 0

    @property
    def running(self) -> bool:
        """Whether the process is there, frozen or not."""
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """How the last run ended, as `subprocess` counts it; None while it runs."""
        return self._process.poll() if self._process else None

    def start(self, *, wait: bool = True) -> None:
        """Start the program and wait until it is ready.

        Raises:
            StartError: it ended, or was not ready in time. It is gone then.
        """
        if self.running:
            return
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                guarded(self.argv),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **self._environment},
                start_new_session=True,  # a Ctrl-C is for us: we stop our children in order
            )
        if wait:
            self.wait_ready()

    def wait_ready(self) -> None:
        """Poll until the program is ready.

        Raises:
            StartError: it ended, or was not ready in time. It is gone then.
        """
        deadline = time.monotonic() + self._ready_seconds
        while not self._ready():
            if not self.running:
                raise StartError(f"{self.name} ended with {self.exit_code}\n{self.log_tail()}")
            if time.monotonic() > deadline:
                self.kill()
                late = f"{self.name} was not ready after {self._ready_seconds:.0f} s"
                raise StartError(f"{late}\n{self.log_tail()}")
            time.sleep(POLL_SECONDS)

    def wait(self, timeout_seconds: float = 30.0) -> int:
        """Wait for the end of the program and return its exit code.

        Raises:
            TimeoutError: it still runs.
        """
        if self._process is None:
            raise TimeoutError(f"{self.name} was never started")
        try:
            return self._process.wait(timeout_seconds)
        except subprocess.TimeoutExpired as err:
            raise TimeoutError(f"{self.name} still runs after {timeout_seconds} s") from err

    def stop(self, timeout_seconds: float = 20.0) -> int | None:
        """Ask the program to end (SIGTERM), kill it where it does not, and return its exit code."""
        if self._process is None:
            return None
        self.signal(signal.SIGTERM)
        self.thaw()
        try:
            return self.wait(timeout_seconds)
        except TimeoutError:
            self.kill()
            return self.exit_code

    def kill(self) -> None:
        """Kill the program (SIGKILL) and wait until it is gone."""
        if self._process is not None:
            self.signal(signal.SIGKILL)
            self._process.wait()

    def freeze(self) -> None:
        """Stop the program in its tracks (SIGSTOP); its sockets stay open."""
        self.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen program go on (SIGCONT)."""
        self.signal(signal.SIGCONT)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; one that has ended already gets none."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def log_tail(self, lines: int = 40) -> str:
        """Return the last lines of the log."""
        if not self.log.exists():
            return ""
        with self.log.open("rb") as file:
            file.seek(max(0, self.log.stat().st_size - TAIL_BYTES))
            text = file.read().decode(errors="replace")
        return "\n".join(text.splitlines()[-lines:])
