"""The tokens of a CEL expression: enough to rewrite names without touching text or comments."""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from lictor.errors import CompileError


class TokenKind(StrEnum):
    """What a token is, as far as a rewrite cares."""

    STRING = "string"
    NUMBER = "number"
    NAME = "name"
    MARK = "mark"


@dataclass(frozen=True, slots=True)
class Token:
    """One token and where it begins, in characters.

    `ends_operand` says that a "." behind it selects a field instead of naming from the root.
    """

    kind: TokenKind
    text: str
    start: int

    @property
    def end(self) -> int:
        """Where the token ends."""
        return self.start + len(self.text)

    @property
    def ends_operand(self) -> bool:
        """Say whether an operand can end with this token."""
        if self.kind is TokenKind.MARK:
            return self.text in {")", "]", "}"}
        return self.text != "in"


# Grammar of the CEL specification, "Syntax": strings come before names, for their prefixes.
_TOKEN: Final = re.compile(
    r"""
    (?P<space>(?:[\t\n\f\r\ ]+|//[^\n]*)+)
  | (?P<string>
        [bB]?[rR](?:\"\"\"[\s\S]*?\"\"\"|'''[\s\S]*?'''|"[^"\n\r]*"|'[^'\n\r]*')
      | [rR][bB](?:\"\"\"[\s\S]*?\"\"\"|'''[\s\S]*?'''|"[^"\n\r]*"|'[^'\n\r]*')
      | [bB]?(?:\"\"\"(?:\\[\s\S]|[^\\])*?\"\"\"|'''(?:\\[\s\S]|[^\\])*?'''
              |"(?:\\.|[^"\\\n\r])*"|'(?:\\.|[^'\\\n\r])*'))
  | (?P<number>0[xX][0-9a-fA-F]+[uU]?|[0-9]+\.[0-9]+(?:[eE][+-]?[0-9]+)?
      |[0-9]+[eE][+-]?[0-9]+|[0-9]+[uU]?|\.[0-9]+(?:[eE][+-]?[0-9]+)?)
  | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
  | (?P<mark>&&|\|\||==|!=|<=|>=|[-+*/%!<>?:.,()\[\]{}])
    """,
    re.VERBOSE,
)
_NUL: Final = re.compile(r"\\(?:\\|[xX]00|u0000|U00000000|000|.)", re.DOTALL)
_NUL_ESCAPES: Final = frozenset({"\\x00", "\\X00", "\\u0000", "\\U00000000", "\\000"})


def tokenize(source: str) -> tuple[Token, ...]:
    """Split `source` into tokens; white space and comments are left out.

    Raises:
        CompileError: there is a character that begins no token of the language that Kubernetes
            accepts (a backtick: quoted fields are not in its environment), a string that does
            not end, or a NUL in a string: the engine would cut the string there.
    """
    tokens: list[Token] = []
    position = 0
    while position < len(source):
        found = _TOKEN.match(source, position)
        if found is None:
            raise CompileError(f"{place(source, position)}: {_fault(source[position])}")
        kind = str(found.lastgroup)
        if kind != "space":
            token = Token(TokenKind(kind), found.group(), position)
            if kind == "string" and _has_nul(token.text):
                raise CompileError(f"{place(source, position)}: a string cannot hold NUL")
            tokens.append(token)
        position = found.end()
    return tuple(tokens)


def _fault(character: str) -> str:
    if character in "\"'":
        return "this string does not end"
    if character == "`":
        return "Kubernetes knows no quoted field names; write object['a-b']"
    return f"{character!r} is not part of the language"


def _has_nul(literal: str) -> bool:
    if "\0" in literal:
        return True
    if "\\" not in literal or "r" in literal[: literal.find(literal[-1])].lower():
        return False
    return not _NUL_ESCAPES.isdisjoint(_NUL.findall(literal))


def place(source: str, offset: int) -> str:
    """Write where `offset` is, for a person: `line 2, column 7`."""
    line = source.count("\n", 0, offset) + 1
    column = offset - source.rfind("\n", 0, offset)
    return f"line {line}, column {column}"
