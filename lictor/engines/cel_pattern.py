"""Regular expressions in linear time: RE2, which the CEL engine brings along.

Python's own `re` backtracks: `(a+)+$` on 30 characters takes minutes, with the GIL held.
"""

from typing import Final

from cel_expr_python import cel

from lictor.errors import CompileError, EvaluationError

_ENVIRONMENT: Final = cel.NewEnv(variables={"text": cel.Type.STRING, "pattern": cel.Type.STRING})
_MATCHES: Final = _ENVIRONMENT.compile("text.matches(pattern)")


class Pattern:
    """One expression in RE2's syntax (no look-around, no back-references)."""

    __slots__ = ("_pattern",)

    def __init__(self, pattern: str) -> None:
        """Take the expression.

        Raises:
            CompileError: RE2 does not accept it; says why.
        """
        if "\0" in pattern:
            raise CompileError("a pattern cannot hold NUL")
        self._pattern = pattern
        try:
            self.search("")
        except EvaluationError as err:
            raise CompileError(f"RE2 does not accept the pattern {pattern!r}: {err}") from err

    def search(self, text: str) -> bool:
        """Say whether the expression matches anywhere in `text`.

        Raises:
            EvaluationError: `text` holds a NUL character, where the engine would cut it.
        """
        if "\0" in text:
            raise EvaluationError("the text holds a NUL character")
        value = _MATCHES.eval(data={"text": text, "pattern": self._pattern})
        found: object = value.plain_value()
        if not isinstance(found, bool):
            # Ends with the pattern, which is the author's: the text is not quoted.
            raise EvaluationError(str(found).partition(": ")[2])
        return found
