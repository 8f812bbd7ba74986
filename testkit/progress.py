"""Tells a person what is going on, and for how long already. Standard library only."""

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from testkit.process import guarded

HEARTBEAT_SECONDS: Final = 15.0
POLL_SECONDS: Final = 0.1
TAIL_LINES: Final = 12


class Progress:
    """Prints lines that begin with the time since it was made."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def say(self, text: str) -> None:
        """Print one line."""
        print(f"[{time.monotonic() - self._began:6.1f} s] {text}", flush=True)

    def run(
        self,
        argv: Sequence[str | Path],
        *,
        what: str,
        log: Path,
        environment: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> bool:
        """Run a program into a log file, say every while that it still runs, and tell if it passed.

        The program is killed when we are.
        """
        self.say(what)
        began = beat = time.monotonic()
        with log.open("wb") as output:
            process = subprocess.Popen(
                guarded(argv),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
                cwd=cwd,
            )
            try:
                while process.poll() is None:
                    time.sleep(POLL_SECONDS)
                    if time.monotonic() - beat > HEARTBEAT_SECONDS:
                        beat = time.monotonic()
                        self.say(f"  still {what} ({beat - began:.0f} s)")
            except BaseException:
                process.kill()
                process.wait()
                raise
        if process.returncode == 0:
            return True
        self.say(f"  failed: {what}; the end of {log}:")
        print(tail(log), flush=True)
        return False


def tail(log: Path, lines: int = TAIL_LINES) -> str:
    """Return the last lines of a log."""
    text = log.read_text(encoding="utf-8", errors="replace")
    return "\n".join(f"    {line}" for line in text.splitlines()[-lines:])


def last_line(log: Path) -> str:
    """Return the last line of a log that speaks of an error, else the last that is not empty."""
    text = log.read_text(encoding="utf-8", errors="replace")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower()]
    return next(reversed(errors or lines), "no output")
