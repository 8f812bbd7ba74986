"""Properties of patches and of differences."""

from typing import TypeVar

from hypothesis import given
from hypothesis import strategies as st

from lictor.jsontypes import Json, JsonObject
from lictor.model.difference import DifferenceKind, differences, revert
from lictor.model.patch import (
    apply_patch,
    copy_json,
    is_same,
    make_patch,
    operations_from_json,
    operations_to_json,
    pointer,
    resolve,
    tokens,
)

_T = TypeVar("_T")
_KEYS = st.sampled_from(["a", "b/c", "~", "", "name", "0", "l", "labels", "resources"])
_SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 2), st.just(1.0), st.sampled_from(["", "x", "y"])
)
_VALUES: st.SearchStrategy[Json] = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_KEYS, inner, max_size=4),
    max_leaves=12,
)
_OBJECTS: st.SearchStrategy[JsonObject] = st.dictionaries(_KEYS, _VALUES, max_size=5)
_NAMED: st.SearchStrategy[Json] = st.lists(
    st.fixed_dictionaries({"name": st.sampled_from("abcd")}, optional={"v": _VALUES}),
    max_size=4,
    unique_by=lambda item: str(item["name"]),
).map(list)
_PODS: st.SearchStrategy[JsonObject] = st.fixed_dictionaries(
    {},
    optional={
        "containers": _NAMED,
        "env": _NAMED,
        "args": st.lists(st.sampled_from("xyz"), max_size=3),
        "spec": _OBJECTS,
    },
)


def _subset(data: st.DataObject, items: tuple[_T, ...]) -> list[_T]:
    return [item for item in items if data.draw(st.booleans())]


def _unordered(value: Json) -> Json:
    """Bring lists of named elements into one order."""
    if isinstance(value, dict):
        return {key: _unordered(item) for key, item in value.items()}
    if isinstance(value, list):
        items = [_unordered(item) for item in value]
        return sorted(items, key=lambda item: str(isinstance(item, dict) and item.get("name")))
    return value


@given(before=_OBJECTS, after=_OBJECTS)
def test_make_patch_and_apply_patch_round_trip(before: JsonObject, after: JsonObject) -> None:
    """Applying the patch gives the later state, exactly, and changes no input."""
    kept = copy_json(before)

    patch = make_patch(before, after)

    assert is_same(apply_patch(before, patch), after)
    assert is_same(before, kept)
    assert bool(patch) is not is_same(before, after)
    assert operations_from_json(operations_to_json(patch)) == patch


@given(parts=st.lists(st.text(max_size=4), max_size=5))
def test_pointer_and_tokens_round_trip(parts: list[str]) -> None:
    """Any keys survive being written as a pointer."""
    assert list(tokens(pointer(parts))) == parts


@given(before=_PODS, after=_PODS)
def test_revert_of_all_gives_before_and_of_none_after(
    before: JsonObject, after: JsonObject
) -> None:
    """All pieces together are the whole difference."""
    pieces = differences(before, after)

    assert is_same(revert(after, pieces), before)
    assert is_same(revert(after, []), after)
    assert bool(pieces) is not is_same(before, after)


@given(before=_PODS, after=_PODS, data=st.data())
def test_revert_of_disjoint_sets_composes(
    before: JsonObject, after: JsonObject, data: st.DataObject
) -> None:
    """Undoing some and then the others is undoing all, in any order of the pieces."""
    pieces = differences(before, after)
    first = _subset(data, pieces)
    second = [piece for piece in pieces if piece not in first and data.draw(st.booleans())]

    one_by_one = revert(revert(after, first), second)
    together = revert(after, data.draw(st.permutations([*first, *second])))

    assert is_same(_unordered(one_by_one), _unordered(together))


@given(before=_PODS, after=_PODS, data=st.data())
def test_revert_leaves_what_is_not_selected_different(
    before: JsonObject, after: JsonObject, data: st.DataObject
) -> None:
    """What is left to undo is exactly what was not undone."""
    pieces = differences(before, after)
    selected = _subset(data, pieces)

    left = differences(before, revert(after, selected))

    expected = {(piece.kind, piece.steps) for piece in pieces if piece not in selected}
    kinds = {(piece.kind, piece.steps) for piece in left}
    reordered = {item for item in expected | kinds if item[0] is DifferenceKind.REORDERED}
    assert kinds - reordered == expected - reordered


@given(before=_PODS, after=_PODS)
def test_differences_paths_lead_to_the_later_value(before: JsonObject, after: JsonObject) -> None:
    """`path` names in the later state what `after` holds."""
    for piece in differences(before, after):
        if piece.kind in {DifferenceKind.ADDED, DifferenceKind.CHANGED}:
            assert resolve(after, piece.path) is piece.after
