"""Rewrites a policy's expression to one that all policies can share an activation with.

An evaluation takes one activation, and filling one costs ten times what an expression does. So what
differs by policy must not need an activation of its own: `variables.x` becomes the variable's own
expression, and `params` the name under which the policy's parameters stand in the activation of
the request. `JSONPatch{...}` becomes a map, since the engine knows no such message.

A variable that is used twice is evaluated twice, where Kubernetes would remember its value; what it
says is the same, for expressions have no side effects.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from lictor.engines.cel_lexer import TokenKind, place, tokenize
from lictor.errors import CompileError

MAX_EXPRESSION: Final = 16 * 1024
"""Characters in one expression as written; the longest of public libraries has about 2,000."""

MAX_REWRITTEN: Final = 64 * 1024
"""Characters after variables were put in: variables that use each other twice double each time.
The engine refuses more than 100,000 and takes 0.1 s to compile as many."""

GLOBALS: Final = ("object", "oldObject", "request", "namespaceObject")
"""What every expression can read."""

_RESERVED: Final = frozenset({*GLOBALS, "params", "variables", "authorizer"})
_PRIVATE: Final = "lictor_"
_WRITTEN: Final = {"lictor_range": "lists.range", "lictor_split": "split"}
_PATCH_FIELDS: Final = ("op", "path", "from", "value")
# The fields of `request`, which have static types in Kubernetes: with the conversion that gives a
# field its type, or "" where none does.
_Fields: TypeAlias = "Mapping[str, _Fields | str]"
_KIND: Final[_Fields] = dict.fromkeys(("group", "version", "kind"), "string")
_RESOURCE: Final[_Fields] = dict.fromkeys(("group", "version", "resource"), "string")
_REQUEST: Final[_Fields] = {
    **dict.fromkeys(("kind", "requestKind"), _KIND),
    **dict.fromkeys(("resource", "requestResource"), _RESOURCE),
    **dict.fromkeys(("name", "namespace", "operation"), "string"),
    **dict.fromkeys(("subResource", "requestSubResource"), "string"),
    "userInfo": {"username": "string", "uid": "string", "groups": "", "extra": ""},
    "dryRun": "bool",
    "options": "",
}
_MACROS: Final = frozenset(
    {"all", "exists", "exists_one", "existsOne", "map", "filter", "transformList", "transformMap"}
    | {"transformMapEntry", "optMap", "optFlatMap", "sortBy"}
)
# A chain of names binds as tightly as a pair of parentheses, and costs the parser one level less.
_CHAIN: Final = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*", re.ASCII)


def as_written(message: str) -> str:
    """Put back the names of functions that were renamed."""
    for name, written in _WRITTEN.items():
        message = message.replace(name, written)
    return message


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewritten:
    """An expression as the engine gets it.

    Attributes:
        text: the rewritten source.
        names: the variables of the activation that it reads.
        calls: the functions and methods that it calls, by their last name; `sets` for its library.
        origins: pairs of an offset in `text` and the offset in the source that it comes from.
    """

    source: str
    text: str
    names: frozenset[str]
    calls: frozenset[str]
    origins: tuple[tuple[int, int], ...]

    def where(self, line: int, column: int) -> str:
        """Translate a place in `text` (from 1) to one in the source, for a person."""
        starts = [0, *(found.end() for found in re.finditer("\n", self.text))]
        offset = starts[min(max(line, 1), len(starts)) - 1] + max(column, 1) - 1
        origin = 0
        for output, start in self.origins:
            if output > offset:
                break
            origin = start
        return place(self.source, origin)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What an expression may name.

    Attributes:
        parameters: the name in the activation that `params` stands for; "" where the policy has
            none, and `params` is an error.
        hidden: names in the activation that belong to other policies.
        variables: what `variables.x` stands for; None knows no variables at all.
    """

    parameters: str = ""
    hidden: frozenset[str] = frozenset()
    variables: Mapping[str, Rewritten] = field(default_factory=dict)


def rewrite(source: str, *, scope: Scope) -> Rewritten:
    """Rewrite one expression.

    Raises:
        CompileError: it is too long before or after, names what it may not, or `JSONPatch` has a
            field that there is not.
    """
    if len(source) > MAX_EXPRESSION:
        raise CompileError(f"{len(source)} characters; at most {MAX_EXPRESSION} are compiled")
    rewriter = _Rewriter(source, scope=scope)
    rewriter.run()
    return rewriter.result()


class _Rewriter:
    """One pass over the tokens; keeps what stands before, and which braces are open."""

    def __init__(self, source: str, *, scope: Scope) -> None:
        self._source = source
        self._scope = scope
        self._tokens = tokenize(source)
        self._out: list[str] = []
        self._length = 0
        self._origins: list[tuple[int, int]] = []
        self._names: set[str] = set()
        self._calls: set[str] = set()
        # Of each open bracket, the fields of JSONPatch that it has had, or None.
        self._open: list[set[str] | None] = []
        self._read = 0

    def result(self) -> Rewritten:
        return Rewritten(
            source=self._source,
            text="".join(self._out),
            names=frozenset(self._names),
            calls=frozenset(self._calls),
            origins=tuple(self._origins),
        )

    def run(self) -> None:
        position = 0
        while position < len(self._tokens):
            position = self._step(position)
        self._gap(len(self._source))
        self._origins.append((self._length, len(self._source)))

    def _step(self, at: int) -> int:
        """Rewrite what begins at token `at`; return the token to go on with."""
        token = self._tokens[at]
        if token.kind is TokenKind.MARK:
            return self._mark(at)
        if token.kind is not TokenKind.NAME:
            return self._keep(at)
        if self._is_call(at):
            # Of `sets.contains` the library counts: strings have a `contains` too.
            self._calls.add("sets" if self._text(at - 2) == "sets" else token.text)
        if self._is_field_of_patch(at):
            return self._patch_field(at)
        if self._is_selection(at):
            return self._method(at)
        return self._name(at)

    # What stands at a place.

    def _text(self, at: int) -> str:
        return self._tokens[at].text if 0 <= at < len(self._tokens) else ""

    def _is_name(self, at: int) -> bool:
        return 0 <= at < len(self._tokens) and self._tokens[at].kind is TokenKind.NAME

    def _is_call(self, at: int) -> bool:
        return self._text(at + 1) == "("

    def _dot(self, at: int) -> int:
        """Return the place of the "." in front of `at`, also where it is ".?"; -1 without one."""
        before = at - 2 if self._text(at - 1) == "?" else at - 1
        return before if self._text(before) == "." else -1

    def _is_selection(self, at: int) -> bool:
        dot = self._dot(at)
        return dot > 0 and self._tokens[dot - 1].ends_operand

    def _is_field_of_patch(self, at: int) -> bool:
        before = self._text(at - 2) if self._text(at - 1) == "?" else self._text(at - 1)
        return bool(self._open) and self._open[-1] is not None and before in {"{", ","}

    # What is written.

    def _gap(self, until: int) -> None:
        # A comment becomes a space: it would swallow what is put behind it on its line.
        skipped = self._source[self._read : until]
        if skipped:
            self._emit("\n" * skipped.count("\n") or " ", start=self._read)
        self._read = until

    def _emit(self, text: str, *, start: int) -> None:
        self._origins.append((self._length, start))
        self._out.append(text)
        self._length += len(text)
        if self._length > MAX_REWRITTEN:
            raise CompileError(
                f"more than {MAX_REWRITTEN} characters once variables are put in: "
                "variables that use each other several times grow without bound"
            )

    def _replace(self, at: int, text: str, *, count: int = 1) -> int:
        """Write `text` for `count` tokens."""
        token = self._tokens[at]
        self._gap(token.start)
        self._emit(text, start=token.start)
        self._read = self._tokens[at + count - 1].end
        return at + count

    def _keep(self, at: int) -> int:
        return self._replace(at, self._tokens[at].text)

    def _refuse(self, at: int, message: str) -> CompileError:
        return CompileError(f"{place(self._source, self._tokens[at].start)}: {message}")

    # The rules.

    def _mark(self, at: int) -> int:
        text = self._tokens[at].text
        if text in {"(", "[", "{"}:
            self._open.append(None)
        elif text in {")", "]", "}"} and self._open and self._open.pop() is not None:
            return self._replace(at, "})")
        return self._keep(at)

    def _method(self, at: int) -> int:
        if self._is_call(at):
            self._refuse_hiding(at)
            if self._tokens[at].text == "split":
                return self._replace(at, "lictor_split")
        return self._keep(at)

    def _refuse_hiding(self, at: int) -> None:
        """Refuse `.all(object, ...)`: a variable put in below it would read the wrong object."""
        if self._tokens[at].text not in _MACROS:
            return
        for name in (at + 2, at + 4):
            if self._text(name) in _RESERVED and self._text(name + 1) == ",":
                raise self._refuse(name, f"the loop variable hides {self._text(name)!r}; rename it")
            if self._text(name + 1) != ",":
                return

    def _name(self, at: int) -> int:
        text = self._tokens[at].text
        if text in self._scope.hidden or text.startswith(_PRIVATE):
            raise self._refuse(at, f"undeclared reference to {text!r}")
        if text == "variables":
            return self._variable(at)
        if text == "params":
            return self._parameters(at)
        if text == "JSONPatch" and self._text(at + 1) == "{":
            self._open.append(set())
            return self._replace(at, "dyn({", count=2)
        if text == "lists" and self._text(at + 1) == "." and self._text(at + 2) == "range":
            self._calls.add("range")
            return self._replace(at, "lictor_range", count=3)
        if text == "has" and self._text(at + 2) == "variables" and self._text(at + 5) == ")":
            self._variable(at + 2, has=True)
            return self._replace(at, "true", count=6)
        if text in GLOBALS:
            self._names.add(text)
        return self._request(at) if text == "request" else self._keep(at)

    def _request(self, at: int) -> int:
        """Give `request.name` the static type that it has in Kubernetes."""
        fields: _Fields | str = _REQUEST
        end = at + 1
        while not isinstance(fields, str) and self._text(end) == "." and self._is_name(end + 1):
            name = self._text(end + 1)
            if name not in fields:
                known = ", ".join(sorted(fields))
                raise self._refuse(end + 1, f"no field {name!r} in request; there are: {known}")
            fields = fields[name]
            end += 2
        is_asked = self._text(at - 2) == "has" and self._text(end) == ")"
        path = "".join(map(self._text, range(at, end)))
        if isinstance(fields, str) and fields and not is_asked:
            path = f"{fields}({path})"
        return self._replace(at, path, count=end - at)

    def _parameters(self, at: int) -> int:
        if not self._scope.parameters:
            raise self._refuse(at, "undeclared reference to 'params': the policy has none")
        self._names.add(self._scope.parameters)
        return self._replace(at, self._scope.parameters)

    def _variable(self, at: int, *, has: bool = False) -> int:
        if self._text(at + 1) != "." or not self._is_name(at + 2):
            raise self._refuse(at, "expected variables.NAME")
        name = self._text(at + 2)
        found = self._scope.variables.get(name)
        if found is None:
            known = ", ".join(sorted(self._scope.variables)) or "none"
            raise self._refuse(at, f"no variable {name!r} before this; there are: {known}")
        if has:
            return at
        self._names |= found.names
        self._calls |= found.calls
        chain = _CHAIN.fullmatch(found.text)
        return self._replace(at, found.text if chain else f"({found.text})", count=3)

    def _patch_field(self, at: int) -> int:
        name = self._tokens[at].text
        seen = self._open[-1]
        if name not in _PATCH_FIELDS or self._text(at + 1) != ":":
            expected = ", ".join(_PATCH_FIELDS)
            raise self._refuse(at, f"JSONPatch has no field {name!r}; it has {expected}")
        if seen is not None and name in seen:
            raise self._refuse(at, f"JSONPatch has the field {name!r} twice")
        if seen is not None:
            seen.add(name)
        return self._replace(at, f'"{name}"')
