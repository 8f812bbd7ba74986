"""The keywords of JSON Schema: the library's, counted, and those that it does too slowly.

All that belongs to one run travels with the library's format checker, which it hands to every
keyword: so a compiled schema has no state, and may be run from any thread.
"""

import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from typing import Any, Final, Protocol, TypeAlias
from uuid import UUID

import msgspec
from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.exceptions import ValidationError
from jsonschema.validators import extend
from typing_extensions import override

from lictor.engines.cel_pattern import Pattern
from lictor.errors import BudgetExceededError
from lictor.jsontypes import Json, JsonObject

MAX_STEPS: Final = 200_000
"""Keywords applied in one run, about 1 s: a schema that refers to itself in two branches doubles
its work with each level of the document."""


class _Validator(Protocol):
    """What a keyword sees of the library's validator."""

    format_checker: "Run"

    def is_type(self, instance: Json, type: str) -> bool: ...  # noqa: A002 - the library's name

    def descend(
        self, instance: Json, schema: Json, path: str | None = None
    ) -> Iterator[ValidationError]: ...


_Keyword: TypeAlias = Callable[[_Validator, Any, Any, Any], Iterator[ValidationError] | None]


class Run(FormatChecker):
    """What belongs to one run: its budget and the schema's patterns."""

    def __init__(self, patterns: Mapping[str, Pattern]) -> None:
        """Begin a run with a whole budget."""
        super().__init__(formats=())
        self._left = MAX_STEPS
        self._patterns = patterns

    def spend(self, steps: int) -> None:
        """Count work.

        Raises:
            BudgetExceededError: the run took more than `MAX_STEPS`.
        """
        self._left -= steps
        if self._left < 0:
            raise BudgetExceededError(f"more than {MAX_STEPS} keywords were applied")

    def matches(self, pattern: str, text: str) -> bool:
        """Say whether one of the schema's patterns matches anywhere in `text`."""
        self.spend(10)
        return self._patterns[pattern].search(text)

    @override
    def check(self, instance: object, format: str) -> None:
        """Replaced by the keyword `format` below; formats of the library are not used."""


def _pattern(
    validator: _Validator, pattern: str, instance: Json, _: JsonObject
) -> Iterator[ValidationError]:
    if isinstance(instance, str) and not validator.format_checker.matches(pattern, instance):
        yield ValidationError("pattern")


def _pattern_properties(
    validator: _Validator, by_pattern: JsonObject, instance: Json, _: JsonObject
) -> Iterator[ValidationError]:
    if not isinstance(instance, dict):
        return
    for pattern, schema in by_pattern.items():
        for key, value in instance.items():
            if validator.format_checker.matches(pattern, key):
                yield from validator.descend(value, schema, path=key)


def _additional_properties(
    validator: _Validator, schema: Json, instance: Json, parent: JsonObject
) -> Iterator[ValidationError]:
    if not isinstance(instance, dict):
        return
    named, by_pattern = parent.get("properties", {}), parent.get("patternProperties", {})
    if not isinstance(named, dict) or not isinstance(by_pattern, dict):
        return
    matches = validator.format_checker.matches
    for key in sorted(instance.keys() - named.keys()):
        if any(matches(pattern, key) for pattern in by_pattern):
            continue
        if schema is False:
            yield ValidationError(f"the field {key!r} is not expected")
        else:
            yield from validator.descend(instance[key], schema, path=key)


def _required(
    _: _Validator, names: list[str], instance: Json, __: JsonObject
) -> Iterator[ValidationError]:
    if isinstance(instance, dict):
        for name in names:
            if name not in instance:
                yield ValidationError(f"the field {name!r} is missing")


def _unique_items(
    validator: _Validator,
    wanted: bool,  # noqa: FBT001 - the library's signature
    instance: Json,
    _: JsonObject,
) -> Iterator[ValidationError]:
    if not wanted or not isinstance(instance, list):
        return
    # The library compares all with all where the elements cannot be sorted.
    validator.format_checker.spend(len(instance))
    seen = {msgspec.json.encode(_canonical(item), order="deterministic") for item in instance}
    if len(seen) < len(instance):
        yield ValidationError("uniqueItems")


def _canonical(value: Json) -> Json:
    """Write equal numbers in one way: to JSON Schema, 1 and 1.0 are the same."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {key: _canonical(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_canonical(item) for item in value]
    return value


def _format(_: _Validator, name: str, instance: Json, __: JsonObject) -> Iterator[ValidationError]:
    if not _FORMATS[name](instance):
        yield ValidationError("format")


def _parses(parse: Callable[[str], object]) -> Callable[[Json], bool]:
    def check(instance: Json) -> bool:
        if not isinstance(instance, str):
            return True
        try:
            parse(instance)
        except ValueError:
            return False
        return True

    return check


def _fits(bits: int) -> Callable[[Json], bool]:
    limit: int = 2 ** (bits - 1)

    def check(instance: Json) -> bool:
        return not isinstance(instance, int) or -limit <= instance < limit

    return check


_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_EMAIL: Final = re.compile(r"[^@\s]+@[^@\s]+")


def _shaped(shape: re.Pattern[str], parse: Callable[[str], object]) -> Callable[[str], object]:
    def check(text: str) -> object:
        if not shape.fullmatch(text):
            raise ValueError
        return parse(text)

    return check


_FORMATS: Final[dict[str, Callable[[Json], bool]]] = {
    "ipv4": _parses(ipaddress.IPv4Address),
    "ipv6": _parses(ipaddress.IPv6Address),
    "date": _parses(_shaped(_DATE, date.fromisoformat)),
    "uuid": _parses(_shaped(_UUID, UUID)),
    "email": _parses(_shaped(_EMAIL, str)),
    "int32": _fits(32),
    "int64": _fits(64),
}


def _counted(keyword: _Keyword) -> _Keyword:
    def check(
        validator: _Validator, value: Json, instance: Json, schema: JsonObject
    ) -> Iterator[ValidationError]:
        validator.format_checker.spend(1)
        return iter(keyword(validator, value, instance, schema) or ())

    return check


_OWN: Final[dict[str, _Keyword]] = {
    "pattern": _pattern,
    "patternProperties": _pattern_properties,
    "additionalProperties": _additional_properties,
    "required": _required,
    "uniqueItems": _unique_items,
    "format": _format,
}
CHECKER: Final[Any] = extend(  # type: ignore[no-untyped-call]  # the stubs leave it untyped
    Draft202012Validator,
    {name: _counted(keyword) for name, keyword in (Draft202012Validator.VALIDATORS | _OWN).items()},
)
