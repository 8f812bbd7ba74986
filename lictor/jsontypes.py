"""JSON as a type, and readers of it that are bounded in size and depth."""

from typing import Final, TypeAlias

import msgspec

from lictor.errors import InputError, TooDeepError, TooLargeError

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"
JsonObject: TypeAlias = dict[str, Json]

MAX_DEPTH: Final = 200
"""Levels of nesting. No built-in kind passes 40; the API server itself refuses beyond 10,000."""


def read_json(data: bytes, *, max_bytes: int, max_depth: int = MAX_DEPTH) -> Json:
    """Decode one JSON text.

    Raises:
        TooLargeError: `data` has more than `max_bytes` bytes.
        TooDeepError: the value is nested deeper than `max_depth`.
        InputError: `data` is not one JSON text in UTF-8.
    """
    if len(data) > max_bytes:
        raise TooLargeError(f"{len(data)} bytes; at most {max_bytes} are read")
    try:
        value: Json = msgspec.json.decode(data)
    except msgspec.DecodeError as err:
        raise InputError(f"not JSON: {err}") from err
    except (UnicodeDecodeError, ValueError) as err:
        raise InputError("not JSON in UTF-8") from err
    except RecursionError as err:
        raise TooDeepError(f"nested deeper than {max_depth} levels") from err
    # Fewer openers than the limit cannot nest deeper than it: two C-speed counts spare the walk.
    if data.count(b"{") + data.count(b"[") > max_depth:
        check_depth(value, max_depth=max_depth)
    return value


def check_depth(value: Json, *, max_depth: int = MAX_DEPTH) -> None:
    """Walk `value` without recursion.

    Raises:
        TooDeepError: it is nested deeper than `max_depth`.
    """
    level = [value]
    depth = 0
    while level:
        nested: list[Json] = []
        for node in level:
            if isinstance(node, dict):
                nested.extend(node.values())
            elif isinstance(node, list):
                nested.extend(node)
        if nested:
            depth += 1
        if depth > max_depth:
            raise TooDeepError(f"nested deeper than {max_depth} levels")
        level = nested


def read_object(data: bytes, *, max_bytes: int, max_depth: int = MAX_DEPTH) -> JsonObject:
    """Decode one JSON object.

    Raises:
        TooLargeError: `data` has more than `max_bytes` bytes.
        TooDeepError: the value is nested deeper than `max_depth`.
        InputError: `data` is not one JSON object in UTF-8.
    """
    value = read_json(data, max_bytes=max_bytes, max_depth=max_depth)
    if not isinstance(value, dict):
        raise InputError(f"a JSON {type(value).__name__}; expected an object")
    return value
