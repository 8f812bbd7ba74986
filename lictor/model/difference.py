"""What changed between two states of one object, in pieces that can be undone one by one.

A JSON patch names elements of a list by their place, so one inserted container moves all others.
Here the elements of a list of objects are aligned by the key that Kubernetes merges them by
(`x-kubernetes-list-map-keys`), so that each piece stands for itself: undoing one never moves
another.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, TypeAlias, assert_never

from lictor.errors import InputError
from lictor.jsontypes import Json, JsonObject
from lictor.model.patch import MISSING, Found, copy_json, escape_key, is_same

_KEYS: Final[dict[str, tuple[tuple[str, ...], ...]]] = {
    # Names of lists in built-in kinds that are not merged by the first general key that fits.
    "ports": (("containerPort", "protocol"), ("port", "protocol"), ("name",)),
    "volumeMounts": (("mountPath",),),
    "volumeDevices": (("devicePath",),),
    "topologySpreadConstraints": (("topologyKey", "whenUnsatisfiable"),),
    "ownerReferences": (("uid",),),
    "conditions": (("type",),),
    "subjects": (("kind", "namespace", "name"),),
}
_GENERAL: Final = tuple(
    (name,)
    for name in ("name", "key", "ip", "mountPath", "devicePath", "topologyKey", "uid", "type")
)
_DEFAULTS: Final[dict[str, str]] = {"protocol": "TCP", "namespace": ""}
"""What an absent part of a key means; every other part must be there."""

_INDEPENDENT: Final = frozenset(
    {"annotations", "data", "labels", "limits", "nodeSelector", "requests", "resources"}
    | {"securityContext"}
)
"""Maps whose members mean something each by itself: such a map, where it is new, is many pieces, so
that one bad label does not cost the good ones beside it. Any other new map is one piece: half of a
probe, or of a seccomp profile, is not valid."""


class DifferenceKind(StrEnum):
    """How a place differs."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"
    REORDERED = "reordered"
    """The elements of a keyed list stand in another order."""


@dataclass(frozen=True, slots=True, order=True)
class ElementKey:
    """What names one element of a keyed list: its key fields and their values."""

    fields: tuple[tuple[str, str | int], ...]


Step: TypeAlias = str | ElementKey
_Index: TypeAlias = dict[ElementKey, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One piece of what changed.

    Attributes:
        path: JSON Pointer into the later state; of something that was removed, where it would
            stand.
        steps: the same place, with elements of keyed lists named by their keys.
        before, after: the values there; MISSING where there was none. Of a REORDERED list both
            are MISSING.
        siblings: of an element of a keyed list, and of a REORDERED list, the keys of the list in
            the earlier state, in order.
        made: how many of the maps around it were made with it; those are undone with the last of
            their members.
        rank: the place of this piece among all that were found together.
    """

    kind: DifferenceKind
    path: str
    steps: tuple[Step, ...]
    before: Found = MISSING
    after: Found = MISSING
    siblings: tuple[ElementKey, ...] = ()
    made: int = 0
    rank: int = 0

    @property
    def label(self) -> str:
        """Write the place for a person: `spec.template.spec.containers[name=web].image`."""
        return "".join(map(_label, self.steps)).removeprefix(".")


def _label(step: Step) -> str:
    if isinstance(step, ElementKey):
        return f"[{','.join(f'{name}={value}' for name, value in step.fields)}]"
    return f".{step}" if step.replace("_", "a").isalnum() else f"[{step!r}]"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    path: str = ""
    steps: tuple[Step, ...] = ()

    def down(self, step: Step, *, index: int = 0) -> "_Place":
        token = escape_key(step) if isinstance(step, str) else str(index)
        return _Place(path=f"{self.path}/{token}", steps=(*self.steps, step))

    @property
    def name(self) -> str:
        last = self.steps[-1] if self.steps else ""
        return last if isinstance(last, str) else ""


def differences(
    before: JsonObject, after: JsonObject, *, ignored: Collection[str] = ()
) -> tuple[Difference, ...]:
    """Find what changed, each piece as small as it can be undone, in a fixed order.

    Args:
        before: the earlier state.
        after: the later state.
        ignored: pointers into `after`; nothing at or below them is compared.

    Returns:
        The pieces: objects are compared key by key, in sorted order; keyed lists element by
        element; all other lists, and values, as one.
    """
    found = _objects(before, after, place=_Place(), ignored=frozenset(ignored))
    return tuple(replace(piece, rank=rank) for rank, piece in enumerate(found))


def _values(
    before: Json, after: Json, *, place: _Place, ignored: frozenset[str]
) -> Iterator[Difference]:
    if isinstance(before, dict) and isinstance(after, dict):
        yield from _objects(before, after, place=place, ignored=ignored)
        return
    if isinstance(before, list) and isinstance(after, list):
        fields = _key_fields(place.name, before, after)
        if fields:
            yield from _elements(
                _Keyed(items=before, fields=fields),
                _Keyed(items=after, fields=fields),
                place=place,
                ignored=ignored,
            )
            return
    if not is_same(before, after):
        yield Difference(
            kind=DifferenceKind.CHANGED,
            path=place.path,
            steps=place.steps,
            before=before,
            after=after,
        )


def _objects(
    before: JsonObject, after: JsonObject, *, place: _Place, ignored: frozenset[str]
) -> Iterator[Difference]:
    for key in sorted(before.keys() | after.keys()):
        below = place.down(key)
        if below.path in ignored:
            continue
        if key not in after:
            yield _removed(below, before[key])
        elif key not in before:
            yield from _new(below, after[key], ignored=ignored)
        else:
            yield from _values(before[key], after[key], place=below, ignored=ignored)


def _new(
    place: _Place, after: Json, *, ignored: frozenset[str], made: int = 0
) -> Iterator[Difference]:
    if not (isinstance(after, dict) and after and place.name in _INDEPENDENT):
        yield replace(_added(place, after), made=made)
        return
    for key in sorted(after):
        below = place.down(key)
        if below.path not in ignored:
            yield from _new(below, after[key], ignored=ignored, made=made + 1)


class _Keyed:
    """A list whose elements are named by their key fields."""

    def __init__(self, *, items: list[Json], fields: tuple[str, ...]) -> None:
        self.items = items
        self.keys = tuple(filter(None, (element_key(item, fields) for item in items)))
        self.index: _Index = {key: n for n, key in enumerate(self.keys)}


def _elements(
    before: _Keyed, after: _Keyed, *, place: _Place, ignored: frozenset[str]
) -> Iterator[Difference]:
    for key in before.keys:
        earlier = before.items[before.index[key]]
        if key not in after.index:
            below = place.down(key, index=_slot(key, before.keys, after.index))
            yield _removed(below, earlier, siblings=before.keys)
            continue
        below = place.down(key, index=after.index[key])
        later = after.items[after.index[key]]
        yield from _values(earlier, later, place=below, ignored=ignored)
    for key in after.keys:
        if key not in before.index:
            below = place.down(key, index=after.index[key])
            yield _added(below, after.items[after.index[key]], siblings=before.keys)
    common = [key for key in before.keys if key in after.index]
    if common != [key for key in after.keys if key in before.index]:
        yield Difference(
            kind=DifferenceKind.REORDERED,
            path=place.path,
            steps=place.steps,
            siblings=before.keys,
        )


def _removed(place: _Place, before: Json, *, siblings: tuple[ElementKey, ...] = ()) -> Difference:
    return Difference(
        kind=DifferenceKind.REMOVED,
        path=place.path,
        steps=place.steps,
        before=before,
        siblings=siblings,
    )


def _added(place: _Place, after: Json, *, siblings: tuple[ElementKey, ...] = ()) -> Difference:
    return Difference(
        kind=DifferenceKind.ADDED,
        path=place.path,
        steps=place.steps,
        after=after,
        siblings=siblings,
    )


def _slot(key: ElementKey, order: Sequence[ElementKey], present: _Index) -> int:
    """Return the index behind the nearest element that stood before `key` and is still there."""
    for sibling in reversed(order[: order.index(key)]):
        if sibling in present:
            return present[sibling] + 1
    return 0


def _key_fields(name: str, *lists: list[Json]) -> tuple[str, ...]:
    """Choose the fields that name every element of each list once; none make it atomic."""
    if not any(lists):
        return ()
    for fields in (*_KEYS.get(name, ()), *_GENERAL):
        if all(_names_each(items, fields) for items in lists):
            return fields
    return ()


def _names_each(items: list[Json], fields: tuple[str, ...]) -> bool:
    keys = [element_key(item, fields) for item in items]
    return None not in keys and len(set(keys)) == len(keys)


def element_key(item: Json, fields: Iterable[str]) -> ElementKey | None:
    """Return the key of one element; None where it lacks a field or is no object."""
    if not isinstance(item, dict):
        return None
    parts: list[tuple[str, str | int]] = []
    for field in fields:
        value = item.get(field, _DEFAULTS.get(field))
        # A bool is an int to Python, and true would be the same key as 1.
        if not isinstance(value, str | int) or isinstance(value, bool):
            return None
        parts.append((field, value))
    return ElementKey(tuple(parts))


def revert(after: JsonObject, selected: Sequence[Difference]) -> JsonObject:
    """Undo just the selected pieces in a copy of `after`.

    Undoing all that `differences(before, after)` found gives `before`, undoing none gives `after`;
    undoing some and then others gives what undoing both at once does, but for the order of a keyed
    list that was also reordered.

    Raises:
        InputError: a place is not there: the pieces are not of this state.
    """
    result = copy_json(after)
    if not isinstance(result, dict):
        raise InputError("the state is not an object")
    # The order of a list is restored last, when all elements that belong to it are back.
    for piece in sorted(selected, key=lambda d: (d.kind is DifferenceKind.REORDERED, d.rank)):
        _undo(result, piece)
    return result


def _undo(tree: JsonObject, piece: Difference) -> None:
    match piece.kind:
        case DifferenceKind.REORDERED:
            items = _walk(tree, piece.steps, piece=piece)
            if not isinstance(items, list):
                raise _not_there(piece)
            _reorder(items, piece.siblings)
        case DifferenceKind.ADDED | DifferenceKind.REMOVED | DifferenceKind.CHANGED:
            parent = _walk(tree, piece.steps[:-1], piece=piece)
            step = piece.steps[-1]
            if isinstance(parent, dict) and isinstance(step, str):
                _undo_member(parent, step, piece=piece)
                _unmake(tree, piece)
            elif isinstance(parent, list) and isinstance(step, ElementKey):
                _undo_element(parent, step, piece=piece)
            else:
                raise _not_there(piece)
        case _:
            assert_never(piece.kind)


def _not_there(piece: Difference) -> InputError:
    return InputError(f"{piece.label} is not where it was: the state is another one")


def _walk(tree: Json, steps: Sequence[Step], *, piece: Difference) -> Json:
    node = tree
    for step in steps:
        if isinstance(step, str) and isinstance(node, dict) and step in node:
            node = node[step]
        elif isinstance(step, ElementKey) and isinstance(node, list):
            node = node[_find(node, step, piece=piece)]
        else:
            raise _not_there(piece)
    return node


def _index(items: list[Json], key: ElementKey) -> _Index:
    fields = [name for name, _ in key.fields]
    keys = (element_key(item, fields) for item in items)
    return {found: n for n, found in enumerate(keys) if found is not None}


def _find(items: list[Json], key: ElementKey, *, piece: Difference) -> int:
    position = _index(items, key).get(key)
    if position is None:
        raise _not_there(piece)
    return position


def _undo_member(parent: JsonObject, key: str, *, piece: Difference) -> None:
    if piece.before is not MISSING:
        parent[key] = copy_json(piece.before)
    elif key in parent:
        del parent[key]
    else:
        raise _not_there(piece)


def _unmake(tree: JsonObject, piece: Difference) -> None:
    """Drop the maps that were made with the piece, where it was the last that they held."""
    for depth in range(1, piece.made + 1):
        above = _walk(tree, piece.steps[: -depth - 1], piece=piece)
        name = piece.steps[-depth - 1]
        if not (isinstance(above, dict) and isinstance(name, str)) or above.get(name):
            return
        del above[name]


def _undo_element(items: list[Json], key: ElementKey, *, piece: Difference) -> None:
    if piece.before is MISSING:
        del items[_find(items, key, piece=piece)]
    elif key in (present := _index(items, key)):
        items[present[key]] = copy_json(piece.before)
    else:
        items.insert(_slot(key, piece.siblings, present), copy_json(piece.before))


def _reorder(items: list[Json], order: Sequence[ElementKey]) -> None:
    """Bring the elements of `order` into it; all others keep their places."""
    if not order:
        return
    present = _index(items, order[0])
    slots = sorted(present[key] for key in order if key in present)
    sources = [items[present[key]] for key in order if key in present]
    for slot, item in zip(slots, sources, strict=True):
        items[slot] = item
