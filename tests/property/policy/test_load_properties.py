"""Whatever the bytes, loading gives a snapshot or the one error that says what is wrong."""

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from lictor.jsontypes import Json
from lictor.policy import PolicyLoadError, Snapshot, load
from lictor.policy.yamltree import YamlError, read_documents
from lictor.ports.policy_source import PolicyFile

VALUES: st.SearchStrategy[Json] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(min_value=-(2**63), max_value=2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda children: (
        st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=8), children, max_size=4)
    ),
    max_leaves=12,
)
GOOD: dict[str, Json] = {
    "apiVersion": "lictor.dev/v1alpha1",
    "kind": "Policy",
    "metadata": {"name": "p"},
    "spec": {
        "title": "T",
        "severity": "high",
        "match": {
            "resourceRules": [
                {
                    "apiGroups": [""],
                    "apiVersions": ["v1"],
                    "operations": ["CREATE"],
                    "resources": ["pods"],
                    "scope": "*",
                }
            ],
            "objectSelector": {
                "matchLabels": {"a": "b"},
                "matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}],
            },
        },
        "matchConditions": [{"name": "c", "expression": "true"}],
        "variables": [{"name": "v", "expression": "1"}],
        "validations": [
            {"cel": {"expression": "variables.v == 1", "message": "m", "reason": "Invalid"}},
            {"jsonSchema": {"schema": {"type": "object"}, "path": "/spec"}},
        ],
        "mutations": [{"jsonPatch": [{"op": "add", "path": "/a", "value": 1}]}],
        "enforcement": {"settle": "5s", "action": "scale", "scale": {"minimum": 1, "maximum": 2}},
    },
}


def _paths(value: Json, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    found = [path]
    if isinstance(value, dict):
        for key, item in value.items():
            found += _paths(item, (*path, key))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            found += _paths(item, (*path, number))
    return found


def _replaced(value: Json, path: tuple[str | int, ...], new: Json) -> Json:
    if not path:
        return new
    head, *rest = path
    if isinstance(value, dict):
        return {
            key: _replaced(item, tuple(rest), new) if key == head else item
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [
            _replaced(item, tuple(rest), new) if number == head else item
            for number, item in enumerate(value)
        ]
    return value


def _load(data: bytes) -> Snapshot | None:
    try:
        return load([PolicyFile("p.yaml", data)])
    except PolicyLoadError as err:
        faults = err.faults
    assert faults
    assert all(fault.file == "p.yaml" and fault.what for fault in faults)
    return None


def test_load_takes_the_policy_that_the_others_are_made_of() -> None:
    """The unchanged policy is good, so what follows tests more than refusals."""
    assert _load(msgspec.json.encode(GOOD)) is not None


@given(data=st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
@settings(max_examples=300, deadline=None)
def test_load_never_raises_anything_else_for_bytes(data: bytes) -> None:
    """Any bytes are refused with a fault, or are policies."""
    _load(data)


@given(path=st.sampled_from(_paths(GOOD)), value=VALUES)
@settings(max_examples=300, deadline=None)
def test_load_never_raises_anything_else_for_values(
    path: tuple[str | int, ...], value: Json
) -> None:
    """Any value in any place is refused with a fault, or is a policy."""
    _load(msgspec.json.encode(_replaced(GOOD, path, value)))


@given(expression=st.text(alphabet="abc.()[]{}'\"\\+-?:&|!=<>01 \n", max_size=40))
@settings(max_examples=300, deadline=None)
def test_load_never_raises_anything_else_for_expressions(expression: str) -> None:
    """Any text as an expression is refused with a fault, or compiles."""
    path = ("spec", "validations", 0, "cel", "expression")

    _load(msgspec.json.encode(_replaced(GOOD, path, expression)))


@given(value=VALUES)
@settings(max_examples=300, deadline=None)
def test_read_documents_reads_json_as_json(value: Json) -> None:
    """JSON is YAML: what it reads is what was written."""
    data = msgspec.json.encode(value)
    try:
        documents = read_documents(data)
    except YamlError:
        return

    assert [document.value for document in documents] == ([] if value is None else [value])
