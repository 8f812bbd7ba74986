"""What goes into CEL and what comes out: bounded, exact, and with a place in each error."""

import math
from collections.abc import Callable
from typing import Final, TypeVar

import msgspec
from cel_expr_python import cel

from lictor.errors import BudgetExceededError, EvaluationError
from lictor.jsontypes import Json
from lictor.model.patch import escape_key

MAX_BYTES: Final = 8 * 1024 * 1024
"""Size of one variable as JSON. The API server takes 3 MiB a request; an object that stands in etcd
with its defaults is larger than what was sent, but not twice."""

# The longest number of 64 bits has 19 digits; shorter ones are in range whatever they are. With
# all digits made equal, a plain search finds a long one five times faster than an expression does.
_DIGITS: Final = bytes.maketrans(b"123456789", b"0" * 9)
_LONG_NUMBER: Final = b"0" * 19
_CONVERTIBLE: Final = frozenset(
    {"BOOL", "INT", "UINT", "DOUBLE", "STRING", "LIST<DYN>", "MAP<DYN, DYN>"}
)
# Levels on which what holds no null is left alone: it stands in metadata, or in a pod template's.
# Each screening reads all that is below, so they are few.
_SCREENS: Final = 4
_NESTED: Final = frozenset({dict, list})
_T = TypeVar("_T")
_MIN_INT: Final = -(2**63)
_MAX_INT: Final = 2**63 - 1


class _Fault(Exception):  # noqa: N818 - never leaves this module
    """Something that cannot be converted; the way to it is put together on the way up."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message
        self.path = ""

    def at(self, step: str | int) -> "_Fault":
        self.path = f"/{escape_key(str(step))}{self.path}"
        return self


def from_json(name: str, value: Json, *, keep_nulls: bool) -> Json:
    """Return the variable `name` as the engine can read it; shares what needs no change.

    A member that is null is left out unless nulls are kept: a typed object of Kubernetes has none,
    and `has(x.y)` with a null `x` is an error in the engine. An integer beyond 64 bits becomes a
    double, as it does when the API server reads it.

    Raises:
        BudgetExceededError: it takes more than `MAX_BYTES`.
        EvaluationError: it holds what CEL has no value for, or a NUL character, where the engine
            would silently cut the string and judge another one.
    """
    # Encoding costs a tenth of a walk in Python, and shows whether anything needs one.
    try:
        encoded = msgspec.json.encode(value)
    except (TypeError, ValueError, RecursionError) as err:
        raise EvaluationError(f"{name}: not a JSON value in UTF-8") from err
    if len(encoded) > MAX_BYTES:
        raise BudgetExceededError(f"{name}: {len(encoded)} bytes; at most {MAX_BYTES} are judged")
    result = value
    if b"\\u0000" in encoded or _LONG_NUMBER in encoded.translate(_DIGITS):
        try:
            result = _exact(value)
        except _Fault as fault:
            raise EvaluationError(f"{name}{fault.path}: {fault.message}") from None
    return result if keep_nulls or b"null" not in encoded else _without_nulls(result)


def _without_nulls(value: Json, screens: int = _SCREENS) -> Json:
    # Two thirds of all values are scalars: a call for each would take half of the time.
    if isinstance(value, dict):
        return {
            key: _screened(item, screens) if type(item) in _NESTED else item
            for key, item in value.items()
            if item is not None
        }
    if isinstance(value, list):
        return [_screened(item, screens) if type(item) in _NESTED else item for item in value]
    return value


def _screened(value: Json, screens: int) -> Json:
    if screens and b"null" not in msgspec.json.encode(value):
        return value
    return _without_nulls(value, max(screens - 1, 0))


def _exact(value: Json) -> Json:
    """Copy `value` with each number in range; a text that the engine would cut is a fault."""
    if isinstance(value, dict):
        return {_text(key): _below(key, item, convert=_exact) for key, item in value.items()}
    if isinstance(value, list):
        return [_below(number, item, convert=_exact) for number, item in enumerate(value)]
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, int) and not _MIN_INT <= value <= _MAX_INT:
        try:
            return float(value)
        except OverflowError:
            raise _Fault("the number is larger than a double") from None
    return value


def _text(value: str) -> str:
    if "\0" in value:
        raise _Fault("the text holds a NUL character")
    return value


def longest_list(value: Json) -> int:
    """Return the number of elements of the longest list in `value`."""
    if isinstance(value, dict):
        return max(map(longest_list, value.values()), default=0)
    if isinstance(value, list):
        return max(len(value), max(map(longest_list, value), default=0))
    return 0


def to_json(value: cel.Value) -> Json:
    """Take a result of the engine as JSON.

    `Value.plain_value()` would be shorter, but ends the process with a segmentation fault where a
    map holds an optional; so each value's type is looked at before it is converted. A null is
    never converted at all: each time, the binding gives away a reference to None that it does not
    own, and before Python 3.12 the process aborts when the last one of some 3,000 is gone.

    Raises:
        EvaluationError: there is something in it that JSON has no form for; says where.
    """
    try:
        return _plain(value)
    except _Fault as fault:
        raise EvaluationError(f"the result{fault.path}: {fault.message}") from None


def _plain(value: cel.Value) -> Json:
    kind: str = value.type().name()
    content: object = value.value() if kind in _CONVERTIBLE else None
    if isinstance(content, float) and not math.isfinite(content):
        raise _Fault("JSON has no infinite number")
    if kind == "NULL":
        return None
    if isinstance(content, bool | int | float | str):
        return content
    if isinstance(content, list):
        return [_below(number, item, convert=_plain) for number, item in enumerate(content)]
    if isinstance(content, dict):
        for key in content:
            if not isinstance(key, str):
                raise _Fault(f"a key is a {type(key).__name__}; expected a string")
        return {key: _below(key, item, convert=_plain) for key, item in content.items()}
    if kind == "ERROR":
        raise _Fault("an optional has no form in JSON; end it with orValue()")
    raise _Fault(f"a {kind.lower()} has no form in JSON; use string()")


def _below(step: str | int, value: _T, *, convert: Callable[[_T], Json]) -> Json:
    try:
        return convert(value)
    except _Fault as fault:
        raise fault.at(step) from None
