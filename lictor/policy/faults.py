"""What is wrong with a policy file: where, what, and what was expected there."""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from typing_extensions import override

from lictor.errors import InputError

_SHOWN: Final = 20
"""Faults in one message; the tuple has all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault of one file.

    Attributes:
        line: from 1; 0 where the fault has no line.
        field: path of the field, as `spec.match.resourceRules[0].operations`; "" for the file.
        what: what is wrong there.
        expected: what would be right; "" where `what` says it.
        nearest: the valid name that was probably meant; "" where none is near.
    """

    file: str
    line: int = 0
    field: str = ""
    what: str
    expected: str = ""
    nearest: str = ""

    @override
    def __str__(self) -> str:
        """Write it as compilers do: `file:line: field: what; expected ...; did you mean ...?`."""
        where = f"{self.file}:{self.line}" if self.line else self.file
        text = ": ".join(filter(None, (where, self.field, self.what)))
        if self.expected:
            text += f"; expected {self.expected}"
        if self.nearest:
            text += f"; did you mean {self.nearest}?"
        return text


class PolicyLoadError(InputError):
    """A source is refused as a whole; the last good revision stays.

    Attributes:
        faults: everything that was found, in the order of the files.
    """

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        lines = [str(fault) for fault in self.faults[:_SHOWN]]
        if len(self.faults) > _SHOWN:
            lines.append(f"and {len(self.faults) - _SHOWN} more faults")
        super().__init__("\n".join(lines))


def nearest(name: str, valid: Iterable[str]) -> str:
    """Return the valid name most like `name`, whatever the case; "" where none is near."""
    by_lower = {candidate.lower(): candidate for candidate in sorted(valid)}
    found = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[found[0]] if found else ""


class Faults:
    """Collects the faults of one file, and remembers on which line each field stands."""

    def __init__(self, file: str) -> None:
        """Begin with none."""
        self.file = file
        self.found: list[Fault] = []
        self.lines: dict[str, int] = {}

    def add(
        self, field: str, what: str, *, line: int = 0, expected: str = "", nearest: str = ""
    ) -> None:
        """Add a fault; without a line, it is that of the field or of the nearest one around it."""
        self.found.append(
            Fault(
                file=self.file,
                line=line or self.line_of(field),
                field=field,
                what=what,
                expected=expected,
                nearest=nearest,
            )
        )

    def line_of(self, field: str) -> int:
        """Return the line of a field, or of what is around it; 0 where nothing is known."""
        while field and field not in self.lines:
            field = field[: max(field.rfind("."), field.rfind("["), 0)]
        return self.lines.get(field, 0)
