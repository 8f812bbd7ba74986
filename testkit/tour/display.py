"""What the tour prints: numbered steps, what was done, what came back, and whether it is right."""

import sys
import textwrap
import time
from collections.abc import Iterable
from typing import Final

_INDENT: Final = "     "
_WIDTH: Final = 120


class Display:
    """Writes to standard output, with the time since the start."""

    def __init__(self) -> None:
        """Begin the clock; colours only on a terminal."""
        self._start = time.monotonic()
        self._coloured = sys.stdout.isatty()

    def progress(self, text: str) -> None:
        """Say what is going on."""
        print(f"{self._elapsed()} {text}", flush=True)

    def step(self, number: int, title: str) -> None:
        """Begin a step."""
        print(f"\n{self._elapsed()} {self._paint('1', f'({number}) {title}')}", flush=True)

    def did(self, text: str) -> None:
        """Say what was done."""
        self._lines("$ ", text.splitlines())

    def came_back(self, text: str) -> None:
        """Show what came back."""
        self._lines("  ", text.splitlines())

    def verdict(self, text: str, *, right: bool) -> None:
        """Say whether the step did what it says."""
        mark = self._paint("32", "ok") if right else self._paint("31", "WRONG")
        print(f"{_INDENT}-> {mark}: {text}", flush=True)

    def plain(self, text: str = "") -> None:
        """Print as it is."""
        print(text, flush=True)

    def _lines(self, lead: str, lines: Iterable[str]) -> None:
        for line in lines:
            head, tail = f"{_INDENT}{lead}", f"{_INDENT}{' ' * len(lead)}  "
            wrapped = textwrap.wrap(
                line, _WIDTH, initial_indent=head, subsequent_indent=tail, break_long_words=False
            )
            print("\n".join(wrapped or [head]), flush=True)

    def _elapsed(self) -> str:
        return f"[{time.monotonic() - self._start:6.1f}s]"

    def _paint(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._coloured else text
