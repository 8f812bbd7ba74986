"""JSON Patch (RFC 6902) and JSON Pointer (RFC 6901) as values, applied and made without I/O."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Final, TypeAlias, assert_never

from lictor.errors import InputError, TooDeepError, TooLargeError
from lictor.jsontypes import MAX_DEPTH, Json, JsonObject, check_depth

MAX_OPERATIONS: Final = 10_000
"""Operations in one patch; a patch of a built-in kind that sets every field has a few hundred."""

MAX_NODES: Final = 1_000_000
"""Values copied while one patch is applied: `copy` operations can double a document each."""

_INDEX: Final = re.compile(r"0|[1-9][0-9]{0,9}")
_END: Final = "-"  # the place after the last element (RFC 6901 section 4)
_BAD_ESCAPE: Final = re.compile(r"~(?![01])")


class PatchOp(StrEnum):
    """`op` of an operation (RFC 6902 section 4)."""

    ADD = "add"
    REMOVE = "remove"
    REPLACE = "replace"
    MOVE = "move"
    COPY = "copy"
    TEST = "test"


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchOperation:
    """One operation; `value` counts for add, replace and test, `source` (`from`) for move, copy."""

    op: PatchOp
    path: str
    value: Json = None
    source: str = ""


class PatchTestFailedError(InputError):
    """A `test` operation found another value: the patch does not apply, and nothing is wrong."""


class Missing(Enum):
    """The type of `MISSING`."""

    MISSING = "missing"


MISSING: Final = Missing.MISSING
"""Nothing is there; `null` is something."""

Found: TypeAlias = "Json | Missing"

_WITH_VALUE: Final = frozenset({PatchOp.ADD, PatchOp.REPLACE, PatchOp.TEST})
_WITH_SOURCE: Final = frozenset({PatchOp.MOVE, PatchOp.COPY})
_Container: TypeAlias = "dict[str, Json] | list[Json]"


def escape_key(key: str) -> str:
    """Write `key` as one reference token of a pointer (RFC 6901 section 3)."""
    return key.replace("~", "~0").replace("/", "~1")


def pointer(tokens: Iterable[str]) -> str:
    """Join unescaped reference tokens to a pointer; none give "", the whole document."""
    return "".join(f"/{escape_key(token)}" for token in tokens)


def tokens(pointer: str) -> tuple[str, ...]:
    """Split a pointer into unescaped reference tokens.

    Raises:
        InputError: it does not begin with "/", or a "~" is not followed by 0 or 1.
        TooDeepError: it has more tokens than a document has levels.
    """
    if not pointer:
        return ()
    if not pointer.startswith("/"):
        raise InputError(f"the pointer {pointer!r} does not begin with '/'")
    if "~" not in pointer:
        parts = pointer.split("/")[1:]
    elif _BAD_ESCAPE.search(pointer):
        raise InputError(f"the pointer {pointer!r} has a '~' that is not '~0' or '~1'")
    else:
        parts = [p.replace("~1", "/").replace("~0", "~") for p in pointer.split("/")[1:]]
    if len(parts) > MAX_DEPTH:
        raise TooDeepError(f"a pointer of {len(parts)} tokens; at most {MAX_DEPTH} are followed")
    return tuple(parts)


def resolve(tree: Json, pointer: str) -> Found:
    """Return what `pointer` names in `tree`, or MISSING.

    Raises:
        InputError: `pointer` is not a pointer.
    """
    node = tree
    for token in tokens(pointer):
        if isinstance(node, dict) and token in node:
            node = node[token]
        elif isinstance(node, list) and _INDEX.fullmatch(token) and int(token) < len(node):
            node = node[int(token)]
        else:
            return MISSING
    return node


def is_same(left: Json, right: Json) -> bool:
    """Say whether two values are the same JSON: unlike `==`, 1, 1.0 and true are three values."""
    if type(left) is not type(right):
        return False
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(is_same(left[k], right[k]) for k in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(is_same, left, right))
    return left == right


def copy_json(value: Json) -> Json:
    """Copy a value so that nothing that can change is shared.

    Raises:
        TooDeepError: it is nested deeper than `MAX_DEPTH`.
        TooLargeError: it has more than `MAX_NODES` values.
    """
    return _Copier().copy(value)


class _Copier:
    """Copies values within one budget of depth and of nodes."""

    def __init__(self) -> None:
        self._left = MAX_NODES

    def copy(self, value: Json, depth: int = 0) -> Json:
        if not isinstance(value, dict | list):
            return value
        if depth > MAX_DEPTH:
            raise TooDeepError(f"nested deeper than {MAX_DEPTH} levels")
        self._left -= 1 + len(value)
        if self._left < 0:
            raise TooLargeError(f"the patch copies more than {MAX_NODES} values")
        if isinstance(value, dict):
            return {key: self.copy(item, depth + 1) for key, item in value.items()}
        return [self.copy(item, depth + 1) for item in value]


def apply_patch(tree: JsonObject, operations: Sequence[PatchOperation]) -> JsonObject:
    """Apply the operations in order to a copy of `tree`.

    Raises:
        PatchTestFailedError: a `test` operation found another value.
        TooDeepError: the result, or a pointer, is deeper than `MAX_DEPTH`.
        TooLargeError: there are too many operations, or they copy too much.
        InputError: an operation does not apply, or leaves something else than an object.
    """
    if len(operations) > MAX_OPERATIONS:
        raise TooLargeError(f"{len(operations)} operations; at most {MAX_OPERATIONS} are applied")
    copier = _Copier()
    result = copier.copy(tree)
    for number, operation in enumerate(operations):
        try:
            result = _apply(result, operation, copier)
        except InputError as err:
            raise type(err)(f"operation {number} ({operation.op}): {err}") from err
    if not isinstance(result, dict):
        raise InputError("the patch leaves something else than an object")
    check_depth(result)
    return result


def _apply(tree: Json, operation: PatchOperation, copier: _Copier) -> Json:
    match operation.op:
        case PatchOp.ADD:
            return _add(tree, operation.path, copier.copy(operation.value))
        case PatchOp.REMOVE:
            return _remove(tree, operation.path)
        case PatchOp.REPLACE:
            return _replace(tree, operation.path, copier.copy(operation.value))
        case PatchOp.MOVE:
            if operation.path.startswith(f"{operation.source}/"):
                raise InputError(f"{operation.source!r} cannot move into itself")
            value = _get(tree, operation.source)
            return _add(_remove(tree, operation.source), operation.path, value)
        case PatchOp.COPY:
            return _add(tree, operation.path, copier.copy(_get(tree, operation.source)))
        case PatchOp.TEST:
            # The values stay out of the message: they may be a Secret's.
            if not _is_equal(_get(tree, operation.path), operation.value):
                raise PatchTestFailedError(f"another value stands at {operation.path!r}")
            return tree
        case _:
            assert_never(operation.op)


def _is_equal(left: Json, right: Json) -> bool:
    """Compare as RFC 6902 section 4.6 does: numbers by their value, so 1 equals 1.0."""
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(_is_equal(left[k], right[k]) for k in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(_is_equal, left, right))
    return left == right and isinstance(left, bool) is isinstance(right, bool)


def _get(tree: Json, path: str) -> Json:
    value = resolve(tree, path)
    if value is MISSING:
        raise InputError(f"nothing stands at {path!r}")
    return value


def _parent(tree: Json, path: str) -> tuple[_Container, str]:
    head, _, _ = path.rpartition("/")
    node = resolve(tree, head)
    if not isinstance(node, dict | list):
        raise InputError(f"no object or list stands at {head!r}")
    return node, tokens(path)[-1]


def _position(items: list[Json], token: str, *, last: int) -> int:
    if not _INDEX.fullmatch(token) or int(token) > last:
        raise InputError(f"{token!r} is no index of a list of {len(items)}")
    return int(token)


def _add(tree: Json, path: str, value: Json) -> Json:
    if not path:
        return value
    node, token = _parent(tree, path)
    if isinstance(node, dict):
        node[token] = value
    elif token == _END:
        node.append(value)
    else:
        node.insert(_position(node, token, last=len(node)), value)
    return tree


def _replace(tree: Json, path: str, value: Json) -> Json:
    if not path:
        return value
    node, token = _parent(tree, path)
    if isinstance(node, list):
        node[_position(node, token, last=len(node) - 1)] = value
    elif token in node:
        node[token] = value
    else:
        raise InputError(f"nothing stands at {path!r}")
    return tree


def _remove(tree: Json, path: str) -> Json:
    if not path:
        raise InputError("the whole document cannot be removed")
    node, token = _parent(tree, path)
    if isinstance(node, list):
        del node[_position(node, token, last=len(node) - 1)]
    elif token in node:
        del node[token]
    else:
        raise InputError(f"nothing stands at {path!r}")
    return tree


def make_patch(before: JsonObject, after: JsonObject) -> tuple[PatchOperation, ...]:
    """Make the patch that turns `before` into `after`: equal inputs give equal patches.

    Keys go in sorted order. Of a list, what both ends share is left alone and the rest is changed
    place by place, so an element that was put in or taken out costs one operation.
    """
    operations: list[PatchOperation] = []
    _diff_object(before, after, path="", out=operations)
    return tuple(operations)


def _diff(before: Json, after: Json, *, path: str, out: list[PatchOperation]) -> None:
    if isinstance(before, dict) and isinstance(after, dict):
        _diff_object(before, after, path=path, out=out)
    elif isinstance(before, list) and isinstance(after, list):
        _diff_list(before, after, path=path, out=out)
    elif not is_same(before, after):
        out.append(PatchOperation(op=PatchOp.REPLACE, path=path, value=after))


def _diff_object(
    before: JsonObject, after: JsonObject, *, path: str, out: list[PatchOperation]
) -> None:
    for key in sorted(before.keys() | after.keys()):
        place = f"{path}/{escape_key(key)}"
        if key not in after:
            out.append(PatchOperation(op=PatchOp.REMOVE, path=place))
        elif key not in before:
            out.append(PatchOperation(op=PatchOp.ADD, path=place, value=after[key]))
        else:
            _diff(before[key], after[key], path=place, out=out)


def _diff_list(
    before: list[Json], after: list[Json], *, path: str, out: list[PatchOperation]
) -> None:
    shorter = min(len(before), len(after))
    start = 0
    while start < shorter and is_same(before[start], after[start]):
        start += 1
    tail = 0
    while tail < shorter - start and is_same(before[-1 - tail], after[-1 - tail]):
        tail += 1
    for index in range(start, shorter - tail):
        _diff(before[index], after[index], path=f"{path}/{index}", out=out)
    first = shorter - tail
    out.extend(
        PatchOperation(op=PatchOp.REMOVE, path=f"{path}/{index}")
        for index in reversed(range(first, len(before) - tail))
    )
    out.extend(
        PatchOperation(op=PatchOp.ADD, path=f"{path}/{index}", value=after[index])
        for index in range(first, len(after) - tail)
    )


def operations_from_json(value: Json) -> tuple[PatchOperation, ...]:
    """Read a JSON Patch document.

    Unlike RFC 6902 section 4, a member that no operation has is refused: it is a typing mistake.

    Raises:
        InputError: it is not a list of operations.
        TooLargeError: it has more than `MAX_OPERATIONS` of them.
    """
    if not isinstance(value, list):
        raise InputError(f"a JSON patch is a list; this is a {type(value).__name__}")
    if len(value) > MAX_OPERATIONS:
        raise TooLargeError(f"{len(value)} operations; at most {MAX_OPERATIONS} are read")
    return tuple(_operation(item, place=f"[{n}]") for n, item in enumerate(value))


def _operation(item: Json, *, place: str) -> PatchOperation:
    if not isinstance(item, dict):
        raise InputError(f"{place}: an operation is an object; this is a {type(item).__name__}")
    unknown = sorted(item.keys() - {"op", "path", "value", "from"})
    if unknown:
        raise InputError(f"{place}.{unknown[0]}: expected op, path, value or from")
    try:
        op = PatchOp(_text(item, "op", place=place))
    except ValueError as err:
        raise InputError(f"{place}.op: expected one of {', '.join(PatchOp)}") from err
    path = _text(item, "path", place=place)
    if op in _WITH_VALUE:
        if "value" not in item:
            raise InputError(f"{place}: {op} needs a value")
        return PatchOperation(op=op, path=path, value=item["value"])
    if op in _WITH_SOURCE:
        return PatchOperation(op=op, path=path, source=_text(item, "from", place=place))
    return PatchOperation(op=op, path=path)


def _text(item: JsonObject, key: str, *, place: str) -> str:
    value = item.get(key)
    if not isinstance(value, str):
        raise InputError(f"{place}.{key}: expected a string")
    if key != "op":
        try:
            tokens(value)
        except InputError as err:
            raise type(err)(f"{place}.{key}: {err}") from err
    return value


def operations_to_json(operations: Iterable[PatchOperation]) -> list[Json]:
    """Write operations as a JSON Patch document."""
    document: list[Json] = []
    for operation in operations:
        item: JsonObject = {"op": str(operation.op), "path": operation.path}
        if operation.op in _WITH_VALUE:
            item["value"] = operation.value
        if operation.op in _WITH_SOURCE:
            item["from"] = operation.source
        document.append(item)
    return document
