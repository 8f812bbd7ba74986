"""YAML to plain values that know their lines, bounded in size, depth and number.

Read from the parser's events, without recursion and without constructors. Aliases are refused,
since they can explode; so are tags, doubled keys, and numbers that readers disagree about. Plain
`yes`, `no`, `on` and `off` are words, as in YAML 1.2.
"""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

from lictor.errors import InputError
from lictor.jsontypes import MAX_DEPTH, Json

MAX_FILE_BYTES: Final = 1024 * 1024
"""Of one file: the largest policies of public libraries have 40 KB."""

MAX_NODES: Final = 100_000
"""Values in one file."""

_LOADER: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_INTEGER: Final = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_DISPUTED: Final = re.compile(r"[-+]?0[0-9_]+|0[xob][0-9a-fA-F_]+|[-+]?\.(inf|nan)", re.IGNORECASE)
_WORDS: Final[Mapping[str, bool | None]] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INT64: Final = 2**63
# Line breaks in YAML 1.1, which folds them, and characters like others in YAML 1.2 and JSON.
_ODD_BREAK: Final = re.compile("[\x85\u2028\u2029]")
_STRING_TAG: Final = "tag:yaml.org,2002:str"


class YamlError(InputError):
    """A file is not the YAML that is read here.

    Attributes:
        line: from 1; 0 where the fault has no line.
    """

    def __init__(self, message: str, *, line: int = 0) -> None:
        super().__init__(message)
        self.line = line


@dataclass(frozen=True, slots=True)
class Node:
    """One value and the line that it begins at, from 1.

    Attributes:
        value: the plain value, with everything below it.
        fields: the nodes of a mapping; empty for anything else.
        items: the nodes of a sequence; empty for anything else.
    """

    value: Json
    line: int
    fields: Mapping[str, "Node"] = field(default_factory=dict)
    items: tuple["Node", ...] = ()


def read_documents(data: bytes) -> tuple[Node, ...]:
    """Read every document of a file; empty ones are left out.

    Raises:
        YamlError: it is too large, not UTF-8, not YAML, or uses what is refused here.
    """
    if len(data) > MAX_FILE_BYTES:
        raise YamlError(f"{len(data)} bytes; expected at most {MAX_FILE_BYTES}")
    try:
        text = data.decode()
    except UnicodeDecodeError as err:
        raise YamlError("not UTF-8", line=data.count(b"\n", 0, err.start) + 1) from err
    odd = _ODD_BREAK.search(text)
    if odd:
        line = text.count("\n", 0, odd.start()) + 1
        raise YamlError(f"the character U+{ord(odd[0]):04X}: write it as an escape", line=line)
    try:
        return tuple(_documents(text))
    except yaml.MarkedYAMLError as err:
        mark = err.problem_mark or err.context_mark
        raise YamlError(f"not YAML: {err.problem}", line=mark.line + 1 if mark else 0) from err
    except (yaml.YAMLError, RecursionError) as err:
        raise YamlError("not YAML: it holds a character or a structure that is not read") from err


def _documents(text: str) -> Iterator[Node]:
    builder = _Builder()
    for event in yaml.parse(text, Loader=_LOADER):
        builder.take(event)
        if isinstance(event, yaml.DocumentEndEvent):
            root = builder.finish()
            if root.value is not None:
                yield root


class _Frame:
    """A mapping or sequence that is still open."""

    __slots__ = ("fields", "is_mapping", "items", "key", "line")

    def __init__(self, line: int, *, is_mapping: bool) -> None:
        self.line = line
        self.is_mapping = is_mapping
        self.key: str | None = None
        self.fields: dict[str, Node] = {}
        self.items: list[Node] = []

    def close(self) -> Node:
        if self.is_mapping:
            value: Json = {key: node.value for key, node in self.fields.items()}
            return Node(value, self.line, fields=self.fields)
        return Node([node.value for node in self.items], self.line, items=tuple(self.items))


class _Builder:
    """Makes one tree a document from the events of the parser."""

    def __init__(self) -> None:
        self._open: list[_Frame] = []
        self._root: Node | None = None
        self._count = 0

    def take(self, event: yaml.Event) -> None:
        mark = event.start_mark
        line = mark.line + 1 if mark else 0
        match event:
            case yaml.AliasEvent():
                raise YamlError(f"the alias *{event.anchor}; expected it written out", line=line)
            case yaml.MappingStartEvent() | yaml.SequenceStartEvent():
                self._begin(event, line)
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                self._add(self._open.pop().close())
            case yaml.ScalarEvent():
                self._scalar(event, line)
            case _:
                pass

    def finish(self) -> Node:
        root, self._root = self._root, None
        return root or Node(None, 1)

    def _begin(self, event: yaml.CollectionStartEvent, line: int) -> None:
        if event.tag is not None:
            raise YamlError(f"the tag {event.tag}; expected a plain value", line=line)
        if self._waits_for_key():
            raise YamlError("a key that is no string", line=line)
        if len(self._open) >= MAX_DEPTH:
            raise YamlError(f"nested deeper than {MAX_DEPTH} levels", line=line)
        self._open.append(_Frame(line, is_mapping=isinstance(event, yaml.MappingStartEvent)))

    def _waits_for_key(self) -> bool:
        return bool(self._open) and self._open[-1].is_mapping and self._open[-1].key is None

    def _scalar(self, event: yaml.ScalarEvent, line: int) -> None:
        value = _resolve(event, line)
        if not self._waits_for_key():
            self._add(Node(value, line))
            return
        if not isinstance(value, str):
            raise YamlError(f"the key {event.value} is no string: quote it", line=line)
        if value == "<<" and event.implicit[0]:
            raise YamlError("the merge key <<; expected the fields written out", line=line)
        frame = self._open[-1]
        if value in frame.fields:
            first = frame.fields[value].line
            raise YamlError(f'the key "{value}" is there twice, first on line {first}', line=line)
        frame.key = value

    def _add(self, node: Node) -> None:
        self._count += 1
        if self._count > MAX_NODES:
            raise YamlError(f"more than {MAX_NODES} values", line=node.line)
        if not self._open:
            self._root = node
            return
        frame = self._open[-1]
        if frame.key is None:
            frame.items.append(node)
        else:
            frame.fields[frame.key] = node
            frame.key = None


def _resolve(event: yaml.ScalarEvent, line: int) -> Json:
    text: str = event.value
    if event.tag not in (None, _STRING_TAG):
        raise YamlError(f"the tag {event.tag}; expected a plain value", line=line)
    is_plain = event.implicit[0] and event.tag is None
    if not is_plain:
        return text
    if text in _WORDS:
        return _WORDS[text]
    if _DISPUTED.fullmatch(text):
        raise YamlError(f"{text} is read differently by different readers: quote it", line=line)
    if _INTEGER.fullmatch(text):
        return _integer(text, line)
    if _FLOAT.fullmatch(text):
        number = float(text)
        if not math.isfinite(number):
            raise YamlError(f"the number {text[:40]} is too large", line=line)
        return number
    return text


def _integer(text: str, line: int) -> int:
    # 19 digits and a sign; longer ones would cost quadratic time to read.
    number = int(text) if len(text) <= len("-9223372036854775808") else _INT64
    if not -_INT64 <= number < _INT64:
        raise YamlError(f"the number {text[:40]} needs more than 64 bits", line=line)
    return number
