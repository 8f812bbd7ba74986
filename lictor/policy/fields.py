"""Reads the fields of a mapping and says exactly what is wrong with each."""

import re
from collections.abc import Collection, Mapping
from datetime import timedelta
from enum import StrEnum
from typing import Final, TypeVar

from lictor.jsontypes import Json
from lictor.policy.faults import Faults, nearest
from lictor.policy.yamltree import Node

_Choice = TypeVar("_Choice", bound=StrEnum)

MAX_TEXT_BYTES: Final = 16 * 1024
"""Of one text field; expressions of public policies have up to 3 KB."""

_UNITS: Final[Mapping[str, float]] = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}
_DURATION: Final = re.compile(r"([0-9]{1,9})(ms|s|m|h)")


def kind_of(value: Json) -> str:
    """Name the kind of a value for a person."""
    match value:
        case dict():
            return "a mapping"
        case list():
            return "a list"
        case str():
            return "a text"
        case bool():
            return "true or false"
        case None:
            return "nothing"
        case _:
            return "a number"


def shown(value: Json) -> str:
    """Write a scalar for a message, cut; of anything else, only the kind."""
    if isinstance(value, str):
        return f'"{value[:60]}"'
    return kind_of(value) if isinstance(value, dict | list) else str(value)


class Fields:
    """One mapping. Each field is asked for once; `close` refuses what nobody asked for.

    A fault never stops the reading: it is added to the faults, and the default is returned.
    """

    def __init__(self, node: Node, *, path: str, faults: Faults) -> None:
        """Take the mapping at `path`."""
        self.path = path
        self.faults = faults
        self._nodes = dict(node.fields)
        self._asked: set[str] = set()
        faults.lines.setdefault(path, node.line)
        for name, child in node.fields.items():
            faults.lines[self.at(name)] = child.line
        if not isinstance(node.value, dict):
            faults.add(path, f"it is {kind_of(node.value)}", expected="a mapping")

    def at(self, name: str) -> str:
        """Return the path of a field."""
        return f"{self.path}.{name}" if self.path else name

    def node(self, name: str, *, required: bool = False) -> Node | None:
        """Return the node of a field; None where it is absent or null."""
        self._asked.add(name)
        found = self._nodes.get(name)
        if found is not None and found.value is not None:
            return found
        if required:
            self.faults.add(self.at(name), "it is missing", expected="a value")
        return None

    def text(
        self,
        name: str,
        *,
        default: str = "",
        required: bool = False,
        one_line: bool = False,
        max_bytes: int = MAX_TEXT_BYTES,
    ) -> str:
        """Return a text; the default where it is absent or wrong."""
        node = self.node(name, required=required)
        if node is None:
            return default
        value = node.value
        if not isinstance(value, str):
            self._wrong(name, value, "a text in quotes")
        elif len(value.encode()) > max_bytes:
            self.faults.add(self.at(name), "it is too long", expected=f"at most {max_bytes} bytes")
        elif required and not value.strip():
            self.faults.add(self.at(name), "it is empty", expected="a text")
        elif one_line and len(value.strip().splitlines()) > 1:
            self.faults.add(self.at(name), "it has several lines", expected="one line")
        else:
            return value.strip() if one_line else value
        return default

    def integer(self, name: str, *, default: int, required: bool = False) -> int:
        """Return an integer of at least 0; the default where it is absent or wrong."""
        node = self.node(name, required=required)
        if node is None:
            return default
        if isinstance(node.value, int) and not isinstance(node.value, bool) and node.value >= 0:
            return node.value
        self._wrong(name, node.value, "an integer from 0")
        return default

    def flag(self, name: str, *, default: bool) -> bool:
        """Return true or false; the default where it is absent or wrong."""
        node = self.node(name)
        if node is None or isinstance(node.value, bool):
            return default if node is None else bool(node.value)
        self._wrong(name, node.value, "true or false")
        return default

    def choice(self, name: str, default: _Choice, *, required: bool = False) -> _Choice:
        """Return a member of the default's enumeration; the default where it is absent or wrong."""
        node = self.node(name, required=required)
        if node is None:
            return default
        options = [member.value for member in type(default)]
        if node.value in options:
            return type(default)(node.value)
        self._not_among(name, node.value, options)
        return default

    def among(self, name: str, options: Collection[str], *, default: str) -> str:
        """Return one of `options`; the default where it is absent or wrong."""
        node = self.node(name)
        if node is None:
            return default
        if isinstance(node.value, str) and node.value in options:
            return node.value
        self._not_among(name, node.value, options)
        return default

    def texts(self, name: str, *, required: bool = False, max_items: int = 100) -> tuple[str, ...]:
        """Return a list of texts; those that are none are left out, with a fault."""
        found = []
        for number, node in enumerate(self._items(name, required=required, max_items=max_items)):
            if isinstance(node.value, str):
                found.append(node.value)
            else:
                self._wrong(f"{name}[{number}]", node.value, "a text in quotes")
        return tuple(found)

    def duration(self, name: str, *, default: timedelta, longest: timedelta) -> timedelta:
        """Return a duration such as `500ms`, `5s`, `1m` or `2h`."""
        node = self.node(name)
        if node is None:
            return default
        parts = _DURATION.fullmatch(node.value) if isinstance(node.value, str) else None
        if parts is None:
            self._wrong(name, node.value, "a duration: a number with ms, s, m or h, as 5s")
            return default
        seconds = int(parts[1]) * _UNITS[parts[2]]
        if seconds > longest.total_seconds():
            self._wrong(name, node.value, f"at most {longest.total_seconds():.0f}s")
            return default
        return timedelta(seconds=seconds)

    def value(self, name: str, *, required: bool = False) -> Json:
        """Return any value, null too; a fault only where a required one is absent."""
        self._asked.add(name)
        found = self._nodes.get(name)
        if found is None and required:
            self.faults.add(self.at(name), "it is missing", expected="a value")
        return None if found is None else found.value

    def child(self, name: str, *, required: bool = False) -> "Fields | None":
        """Return the mapping in a field; None where it is absent."""
        node = self.node(name, required=required)
        return None if node is None else Fields(node, path=self.at(name), faults=self.faults)

    def children(
        self, name: str, *, required: bool = False, max_items: int = 100
    ) -> tuple["Fields", ...]:
        """Return the mappings in a list."""
        nodes = self._items(name, required=required, max_items=max_items)
        return tuple(
            Fields(node, path=f"{self.at(name)}[{number}]", faults=self.faults)
            for number, node in enumerate(nodes)
        )

    def pairs(self, name: str) -> tuple[tuple[str, str], ...]:
        """Return a mapping from text to text as sorted pairs."""
        node = self.node(name)
        if node is None:
            return ()
        if not isinstance(node.value, dict):
            self._wrong(name, node.value, "a mapping from text to text")
            return ()
        found = []
        for key, item in sorted(node.fields.items()):
            self.faults.lines[f"{self.at(name)}.{key}"] = item.line
            if isinstance(item.value, str):
                found.append((key, item.value))
            else:
                self._wrong(f"{name}.{key}", item.value, "a text in quotes")
        return tuple(found)

    def close(self, *, later: Collection[str] = ()) -> None:
        """Refuse every field that was not asked for; those in `later` as not supported yet."""
        for name in self._nodes:
            if name in self._asked:
                continue
            if name in later:
                self.faults.add(
                    self.at(name), "nothing enforces this field yet", expected="it left out"
                )
                continue
            self.faults.add(
                self.at(name),
                "there is no such field",
                expected="one of " + ", ".join(sorted(self._asked)),
                nearest=nearest(name, self._asked),
            )

    def _items(self, name: str, *, required: bool, max_items: int) -> tuple[Node, ...]:
        node = self.node(name, required=required)
        if node is None:
            return ()
        if not isinstance(node.value, list):
            self._wrong(name, node.value, "a list")
            return ()
        if len(node.items) > max_items:
            self.faults.add(
                self.at(name), f"{len(node.items)} items", expected=f"at most {max_items}"
            )
            return ()
        if required and not node.items:
            self.faults.add(self.at(name), "it is empty", expected="at least one item")
        for number, item in enumerate(node.items):
            self.faults.lines[f"{self.at(name)}[{number}]"] = item.line
        return node.items

    def _wrong(self, name: str, value: Json, expected: str) -> None:
        self.faults.add(self.at(name), f"it is {shown(value)}", expected=expected)

    def _not_among(self, name: str, value: Json, options: Collection[str]) -> None:
        self.faults.add(
            self.at(name),
            f"it is {shown(value)}",
            expected="one of " + ", ".join(options),
            nearest=nearest(value, options) if isinstance(value, str) else "",
        )
