"""One YAML file and flags to frozen settings: whole, or refused with every fault named."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path
from types import GenericAlias
from typing import Any, Final, get_args, get_origin, get_type_hints

from lictor.config.check import faults
from lictor.config.settings import Settings
from lictor.config.text import read_yaml
from lictor.errors import SettingsError
from lictor.policy.yamltree import MAX_FILE_BYTES

_SHOWN: Final = 60
"""Characters of a wrong value that an error shows."""


def camel(name: str) -> str:
    """Return the key in the file of the field `name`: `metrics_port` is `metricsPort`."""
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)


def load_settings(path: str | Path | None, flags: Mapping[str, str] | None = None) -> Settings:
    """Read the settings file at `path` (None: defaults only) and put `flags` over it.

    A flag is a dotted key (`gate.metricsPort`) with its value as text: YAML, or the text itself
    where the setting is one.

    Raises:
        SettingsError: the file cannot be read, or a key, type or value is wrong; one line a fault.
    """
    tree: object = {}
    name = str(path) if path is not None else "settings"
    if path is not None:
        tree = read_yaml(_read(Path(path)), name=name)
    return parse_settings(tree, flags, name=name)


def parse_settings(
    tree: object, flags: Mapping[str, str] | None = None, *, name: str = "settings"
) -> Settings:
    """Make settings of a tree as YAML gives it; an empty file (None) means the defaults.

    Raises:
        SettingsError: as `load_settings`.
    """
    reader = _Reader()
    tree = {} if tree is None else tree
    if isinstance(tree, dict):
        for key, text in (flags or {}).items():
            _put(tree, key, text=text)
    settings: Settings = reader.section(Settings, tree, key="")
    problems = [*reader.faults, *faults(settings)] if not reader.faults else reader.faults
    if problems:
        raise SettingsError("\n".join(f"{name}: {problem}" for problem in problems))
    return settings


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_FILE_BYTES + 1)
    except OSError as err:
        raise SettingsError(f"{path}: cannot be read: {err.strerror}; expected a file") from err


class _Text(str):
    """The value of a flag, whose type its setting decides."""

    __slots__ = ()


def _put(tree: dict[Any, Any], key: str, *, text: str) -> None:
    *parents, last = key.split(".")
    for parent in parents:
        below = tree.get(parent)
        if not isinstance(below, dict):
            # What is wrong there, if anything, is then said of the flag, which wins anyway.
            below = tree[parent] = {}
        tree = below
    tree[last] = _Text(text)


class _Reader:
    """Walks a tree along the types of the settings and collects what is wrong."""

    def __init__(self) -> None:
        self.faults: list[str] = []

    def section(self, kind: type[Any], tree: object, *, key: str) -> Any:  # noqa: ANN401 (a `kind`)
        """Read one dataclass; where something is wrong, its default stands in."""
        if isinstance(tree, _Text):
            tree = self._flag(tree, key=key)
        if not isinstance(tree, dict):
            self._wrong(key or "the file", tree, expected="a section with keys")
            return kind()
        hints = get_type_hints(kind)
        names = {camel(item.name): item.name for item in fields(kind)}
        values = {}
        for found, value in tree.items():
            below = f"{key}.{found}" if key else str(found)
            if found not in names:
                self._unknown(below, str(found), known=names)
                continue
            hint = hints[names[found]]
            read = self.value(hint, value, key=below)
            if read is not None:
                values[names[found]] = read
        return kind(**values)

    def value(self, hint: Any, value: object, *, key: str) -> Any:  # noqa: ANN401 (a `hint`)
        """Read one setting of the type `hint`; None where it is wrong."""
        if is_dataclass(hint) and isinstance(hint, type):
            return self.section(hint, value, key=key)
        if isinstance(value, _Text) and hint is not str and not _is_enum(hint):
            value = self._flag(value, key=key)
        if isinstance(hint, GenericAlias):
            return self._collection(hint, value, key=key)
        return self._scalar(hint, value, key=key)

    def _collection(self, hint: GenericAlias, value: object, *, key: str) -> Any:  # noqa: ANN401
        item = get_args(hint)[-1 if get_origin(hint) is dict else 0]
        if get_origin(hint) is dict:
            if not isinstance(value, dict):
                return self._wrong(key, value, expected=f"a map of names to {_named(item)}")
            read = {str(name): self.value(item, below, key=f"{key}.{name}")
                    for name, below in value.items()}  # fmt: skip
            return {name: below for name, below in read.items() if below is not None}
        if not isinstance(value, list):
            return self._wrong(key, value, expected=f"a list of {_named(item)}")
        found = [self.value(item, below, key=f"{key}[{i}]") for i, below in enumerate(value)]
        return tuple(below for below in found if below is not None)

    def _scalar(self, hint: Any, value: object, *, key: str) -> Any:  # noqa: ANN401
        if _is_enum(hint):
            if value in list(hint):
                return hint(value)
        elif hint is bool or isinstance(value, bool):
            if hint is bool and isinstance(value, bool):
                return value
        elif hint is float and isinstance(value, int | float):
            return float(value)
        elif isinstance(value, hint):
            return str(value) if hint is str else value
        return self._wrong(key, value, expected=_named(hint))

    def _flag(self, text: _Text, *, key: str) -> object:
        try:
            return read_yaml(text.encode(), name=key)
        except SettingsError as err:
            self.faults.append(str(err))
            return {}

    def _wrong(self, key: str, value: object, *, expected: str) -> None:
        self.faults.append(f"{key} is {_shown(value)}; expected {expected}")

    def _unknown(self, key: str, found: str, *, known: Mapping[str, str]) -> None:
        near = get_close_matches(found, known, n=1, cutoff=0.5)
        prefix = key.removesuffix(found)
        hint = f"did you mean {prefix}{near[0]}?" if near else "expected one of " + ", ".join(known)
        self.faults.append(f"unknown key {key}; {hint}")


def _is_enum(hint: object) -> bool:
    return isinstance(hint, type) and issubclass(hint, StrEnum)


def _named(hint: Any) -> str:  # noqa: ANN401 (any type of a setting)
    if _is_enum(hint):
        return "one of " + ", ".join(hint)
    names = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}
    return names.get(hint, "sections")


def _shown(value: object) -> str:
    match value:
        case None:
            return "empty"
        case dict():
            return "a map"
        case list():
            return "a list"
        case str():
            text = f'"{value}"'
        case _:
            text = str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
