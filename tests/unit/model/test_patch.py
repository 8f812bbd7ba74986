"""JSON Patch and JSON Pointer: the cases of RFC 6902 and RFC 6901 that a policy meets."""

import pytest

from lictor.errors import InputError, TooDeepError, TooLargeError
from lictor.jsontypes import Json, JsonObject
from lictor.model.patch import (
    MAX_OPERATIONS,
    MISSING,
    PatchOp,
    PatchOperation,
    PatchTestFailedError,
    apply_patch,
    escape_key,
    is_same,
    make_patch,
    operations_from_json,
    operations_to_json,
    pointer,
    resolve,
    tokens,
)


def _patched(tree: JsonObject, *items: JsonObject) -> JsonObject:
    return apply_patch(tree, operations_from_json(list(items)))


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        pytest.param({"op": "add", "path": "/n", "value": 1}, {"n": 1}, id="add"),
        pytest.param({"op": "add", "path": "/l", "value": 1}, {"l": 1}, id="add-replaces"),
        pytest.param({"op": "add", "path": "/l/1", "value": 9}, {"l": [1, 9, 2]}, id="insert"),
        pytest.param({"op": "add", "path": "/l/2", "value": 9}, {"l": [1, 2, 9]}, id="append"),
        pytest.param({"op": "add", "path": "/l/-", "value": 9}, {"l": [1, 2, 9]}, id="end"),
        pytest.param({"op": "remove", "path": "/l/0"}, {"l": [2]}, id="remove-element"),
        pytest.param({"op": "replace", "path": "/o/a", "value": 2}, {"o": {"a": 2}}, id="replace"),
        pytest.param({"op": "move", "from": "/o/a", "path": "/m"}, {"o": {}, "m": 1}, id="move"),
        pytest.param({"op": "copy", "from": "/o", "path": "/c"}, {"c": {"a": 1}}, id="copy"),
        pytest.param({"op": "test", "path": "/o/a", "value": 1.0}, {}, id="test-is-numeric"),
        pytest.param({"op": "add", "path": "/a~1b~0c", "value": 1}, {"a/b~c": 1}, id="escaped"),
        pytest.param({"op": "add", "path": "/", "value": 1}, {"": 1}, id="empty-key"),
    ],
)
def test_apply_patch_does_what_rfc_6902_says(operation: JsonObject, expected: JsonObject) -> None:
    """Each operation changes what its section names and nothing else."""
    tree: JsonObject = {"l": [1, 2], "o": {"a": 1}}

    assert _patched(tree, operation) == {**tree, **expected}


@pytest.mark.parametrize(
    ("operation", "message"),
    [
        pytest.param({"op": "add", "path": "/x/y", "value": 1}, "no object or list", id="parent"),
        pytest.param({"op": "remove", "path": "/x"}, "nothing stands at '/x'", id="remove"),
        pytest.param({"op": "replace", "path": "/x", "value": 1}, "nothing stands", id="replace"),
        pytest.param({"op": "replace", "path": "/l/2", "value": 1}, "no index", id="past-the-end"),
        pytest.param({"op": "add", "path": "/l/01", "value": 1}, "no index", id="leading-zero"),
        pytest.param({"op": "add", "path": "/l/٣", "value": 1}, "no index", id="other-digits"),
        pytest.param({"op": "remove", "path": "/l/-"}, "no index", id="remove-end"),
        pytest.param({"op": "remove", "path": ""}, "whole document", id="remove-all"),
        pytest.param({"op": "replace", "path": "", "value": []}, "than an object", id="no-object"),
        pytest.param({"op": "move", "from": "/o", "path": "/o/x"}, "into itself", id="into-itself"),
        pytest.param({"op": "copy", "from": "/x", "path": "/y"}, "nothing stands", id="copy"),
    ],
)
def test_apply_patch_refuses_what_does_not_apply(operation: JsonObject, message: str) -> None:
    """A patch that does not fit the document is an error that names the operation."""
    with pytest.raises(InputError, match=rf"operation 0|{message}") as caught:
        _patched({"l": [1, 2], "o": {"a": 1}}, operation)

    assert message in str(caught.value)


def test_apply_patch_leaves_its_inputs_alone() -> None:
    """Neither the document nor a value of the patch is shared with the result."""
    tree: JsonObject = {"o": {"a": 1}}
    value: Json = {"deep": [1]}
    operations = (
        PatchOperation(op=PatchOp.ADD, path="/n", value=value),
        PatchOperation(op=PatchOp.COPY, path="/c", source="/n"),
        PatchOperation(op=PatchOp.ADD, path="/n/deep/-", value=2),
        PatchOperation(op=PatchOp.REMOVE, path="/o/a"),
    )

    result = apply_patch(tree, operations)

    assert result == {"o": {}, "n": {"deep": [1, 2]}, "c": {"deep": [1]}}
    assert (tree, value) == ({"o": {"a": 1}}, {"deep": [1]})


def test_apply_patch_failed_test_has_its_own_error_without_the_value() -> None:
    """A failed `test` can be told from a broken patch, and its message holds no value."""
    with pytest.raises(PatchTestFailedError, match="another value stands at '/s'") as caught:
        _patched({"s": "secret"}, {"op": "test", "path": "/s", "value": "guess"})

    assert "secret" not in str(caught.value)


def test_apply_patch_test_tells_true_from_one() -> None:
    """Numbers are equal by value, but a boolean is no number."""
    with pytest.raises(PatchTestFailedError, match="another value"):
        _patched({"n": 1}, {"op": "test", "path": "/n", "value": True})


def test_apply_patch_stops_copies_that_double() -> None:
    """Forty copies of the document into itself do not take 2^40 values."""
    double: JsonObject = {"op": "copy", "from": "/a", "path": "/a/-"}

    with pytest.raises(TooLargeError, match="copies more than"):
        _patched({"a": [0]}, *[double] * 40)


def test_apply_patch_refuses_a_result_that_is_too_deep() -> None:
    """A patch cannot nest deeper than a document that is read may be."""
    nested: Json = 1
    for _ in range(150):
        nested = {"a": nested}
    path = "/a" * 100

    with pytest.raises(TooDeepError, match="200 levels"):
        _patched(
            {"a": nested},
            {"op": "copy", "from": "/a", "path": path},
            {"op": "copy", "from": "/a", "path": path},
        )


def test_apply_patch_refuses_more_operations_than_its_limit() -> None:
    """The number of operations is bounded."""
    operation = PatchOperation(op=PatchOp.ADD, path="/a", value=1)

    with pytest.raises(TooLargeError, match="at most"):
        apply_patch({}, [operation] * (MAX_OPERATIONS + 1))


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        pytest.param([1, 2, 3], [1, 9, 2, 3], [("add", "/l/1")], id="inserted"),
        pytest.param([1, 2, 3], [1, 3], [("remove", "/l/1")], id="removed"),
        pytest.param([1, 2, 3], [1, 9, 3], [("replace", "/l/1")], id="changed"),
        pytest.param([1], [True], [("replace", "/l/0")], id="one-is-not-true"),
        pytest.param([1], [1.0], [("replace", "/l/0")], id="one-is-not-1.0"),
        pytest.param([], [1, 2], [("add", "/l/0"), ("add", "/l/1")], id="from-empty"),
        pytest.param([1, 2], [], [("remove", "/l/1"), ("remove", "/l/0")], id="to-empty"),
    ],
)
def test_make_patch_changes_lists_with_few_operations(
    before: list[Json], after: list[Json], expected: list[tuple[str, str]]
) -> None:
    """What both ends of a list share costs nothing."""
    patch = make_patch({"l": before}, {"l": after})

    assert [(item.op, item.path) for item in patch] == expected


def test_make_patch_goes_in_sorted_order() -> None:
    """The order of keys in a document does not show in the patch."""
    one = make_patch({"b": 1, "a": 1}, {"c": 1, "a": 2})
    other = make_patch({"a": 1, "b": 1}, {"a": 2, "c": 1})

    assert one == other
    assert [item.path for item in one] == ["/a", "/b", "/c"]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        pytest.param({}, "a JSON patch is a list", id="no-list"),
        pytest.param([1], r"\[0\]: an operation is an object", id="no-object"),
        pytest.param([{"op": "set", "path": "/a"}], r"\[0\].op: expected one of add", id="op"),
        pytest.param([{"path": "/a"}], r"\[0\].op: expected a string", id="no-op"),
        pytest.param([{"op": "add", "path": "/a"}], "add needs a value", id="no-value"),
        pytest.param([{"op": "move", "path": "/a"}], r"\[0\].from: expected a", id="no-from"),
        pytest.param([{"op": "remove", "path": "a"}], "does not begin with '/'", id="no-slash"),
        pytest.param([{"op": "remove", "path": "/~2"}], "has a '~'", id="bad-escape"),
        pytest.param([{"op": "remove", "path": "/a", "vlaue": 1}], "vlaue: expected", id="unknown"),
    ],
)
def test_operations_from_json_names_the_fault(value: Json, message: str) -> None:
    """A malformed patch is refused with the place."""
    with pytest.raises(InputError, match=message):
        operations_from_json(value)


def test_operations_to_json_writes_the_members_of_each_operation() -> None:
    """A null value is written, `from` stands only where it counts."""
    document: list[Json] = [
        {"op": "add", "path": "/a", "value": None},
        {"op": "move", "path": "/b", "from": "/a"},
        {"op": "remove", "path": "/b"},
    ]

    assert operations_to_json(operations_from_json(document)) == document


def test_resolve_tells_null_from_nothing() -> None:
    """A null is a value; what is not there is MISSING, whatever stands above it."""
    tree: JsonObject = {"a": None, "l": [1]}

    assert resolve(tree, "/a") is None
    assert resolve(tree, "/l/0") == 1
    assert resolve(tree, "") == tree
    assert {resolve(tree, path) for path in ("/b", "/a/b", "/l/1", "/l/-", "/l/x")} == {MISSING}


def test_tokens_are_bounded() -> None:
    """A pointer deeper than any document is refused."""
    with pytest.raises(TooDeepError, match="201 tokens"):
        tokens("/a" * 201)


def test_pointer_escapes_in_the_order_of_rfc_6901() -> None:
    """`~1` in a key does not become a slash."""
    assert escape_key("~1/") == "~01~1"
    assert tokens(pointer(["~1/", ""])) == ("~1/", "")


def test_is_same_keeps_types_apart() -> None:
    """What Python calls equal is not the same JSON."""
    assert is_same({"a": [1, None]}, {"a": [1, None]})
    assert not is_same([1], [True])
    assert not is_same({"a": 1}, {"a": 1.0})
    assert not is_same({"a": 1}, {"a": 1, "b": 1})
