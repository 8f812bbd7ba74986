"""JSON Schema behind the engine interface."""

import pytest

from lictor.engines.schema import MAX_FAULTS, SchemaFault, compile_schema
from lictor.errors import BudgetExceededError, CompileError, EvaluationError
from lictor.jsontypes import Json, JsonObject


def _faults(schema: JsonObject, value: Json) -> list[tuple[str, str]]:
    return [(fault.path, fault.message) for fault in compile_schema(schema).run(value)]


def test_run_names_each_place_and_what_is_expected() -> None:
    """Faults come by path; nothing of the value stands in them."""
    schema: JsonObject = {
        "type": "object",
        "required": ["spec"],
        "properties": {
            "spec": {
                "type": "object",
                "additionalProperties": False,
                "properties": {
                    "replicas": {"type": "integer", "maximum": 5},
                    "a/b": {"enum": ["x", "y"]},
                    "list": {"items": {"pattern": "^[a-z]+$"}},
                },
            }
        },
    }
    value: Json = {"spec": {"replicas": 9, "a/b": "secret", "list": ["ok", "SECRET"], "more": 1}}

    assert _faults(schema, value) == [
        ("/spec", "the field 'more' is not expected"),
        ("/spec/a~1b", 'expected enum ["x","y"]'),
        ("/spec/list/1", 'expected pattern "^[a-z]+$"'),
        ("/spec/replicas", "expected maximum 5"),
    ]
    assert _faults(schema, {}) == [("", "the field 'spec' is missing")]
    assert _faults(schema, {"spec": {"replicas": 5}}) == []


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        pytest.param({"type": "integer"}, [1, 1.0], [True, "1", 1.5], id="type"),
        pytest.param({"const": 1}, [1, 1.0], [True, 2], id="const"),
        pytest.param({"format": "ipv4"}, ["10.0.0.1", 5], ["10.0.0.256", ""], id="ipv4"),
        pytest.param({"format": "ipv6"}, ["::1"], ["10.0.0.1"], id="ipv6"),
        pytest.param({"format": "date"}, ["2026-01-31"], ["2026-02-31", "20260131"], id="date"),
        pytest.param({"format": "email"}, ["a@b"], ["a", "a@b c"], id="email"),
        pytest.param(
            {"format": "uuid"},
            ["8c5a7b5e-3f0f-4a52-a3c9-0d5e9d0f8f11"],
            ["8c5a7b5e3f0f4a52a3c90d5e9d0f8f11"],
            id="uuid",
        ),
        pytest.param({"format": "int32"}, [2**31 - 1, "x"], [2**31, -(2**31) - 1], id="int32"),
        pytest.param({"uniqueItems": True}, [[1, 2], [1, True]], [[1, 1.0]], id="unique"),
        pytest.param({"uniqueItems": False}, [[1, 1]], [], id="not-unique"),
        pytest.param(
            {"patternProperties": {"^a": {"type": "string"}}, "additionalProperties": {"const": 1}},
            [{"ab": "x", "b": 1}],
            [{"ab": 1}, {"b": 2}],
            id="pattern-properties",
        ),
        pytest.param({"not": {"required": ["a"]}}, [{}], [{"a": 1}], id="not"),
        pytest.param({"properties": {"a": False}}, [{}], [{"a": 1}], id="false"),
        pytest.param({"anyOf": [{"const": 1}, {"const": 2}]}, [1, 2], [3], id="anyOf"),
        pytest.param({"if": {"const": 1}, "then": False}, [2], [1], id="if"),
        pytest.param(
            {"$ref": "#/$defs/a", "$defs": {"a": {"minLength": 2}}}, ["ab"], ["a"], id="ref"
        ),
        pytest.param({"$ref": "#x", "$defs": {"a": {"$anchor": "x"}}}, [1], [], id="anchor"),
        pytest.param({"const": {"$ref": "http://x"}}, [{"$ref": "http://x"}], [1], id="data"),
    ],
)
def test_run_enforces_the_dialect(schema: JsonObject, good: list[Json], bad: list[Json]) -> None:
    """Each keyword accepts what it should and refuses what it should."""
    program = compile_schema(schema)

    assert [value for value in good if program.run(value)] == []
    assert [value for value in bad if not program.run(value)] == []


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        pytest.param({"type": "strnig"}, "/type: ", id="type"),
        pytest.param({"requierd": ["a"]}, "/requierd: not an .* 'required'", id="typo"),
        pytest.param(
            {"properties": {"a": {"x-kubernetes-validations": []}}},
            "/properties/a/x-kubernetes-validations: not an enforced keyword",
            id="rules",
        ),
        pytest.param({"format": "hostname"}, "'hostname' is not enforced", id="format"),
        pytest.param({"$ref": "http://example.com/a"}, "not within this schema", id="remote"),
        pytest.param({"$ref": "#/$defs/a"}, "nothing stands at '#/", id="dangling"),
        pytest.param({"$ref": "#a"}, "nothing stands at '#a'", id="dangling-anchor"),
        pytest.param({"$schema": "http://json-schema.org/draft-07/schema#"}, "2020-12", id="draft"),
        pytest.param({"$id": "http://example.com"}, "/\\$id: not an enforced", id="id"),
        pytest.param({"items": {"pattern": "(?=a)"}}, "/items: RE2 does not accept", id="pattern"),
        pytest.param({"pattern": "a\0"}, "cannot hold NUL", id="nul"),
        pytest.param(
            {"patternProperties": {"a": {}}, "unevaluatedProperties": False},
            "cannot stand with",
            id="unevaluated",
        ),
    ],
)
def test_compile_refuses_what_would_not_be_enforced(schema: JsonObject, message: str) -> None:
    """Nothing that an author writes is silently without effect."""
    with pytest.raises(CompileError, match=message):
        compile_schema(schema)


def test_compile_refuses_a_schema_that_is_too_deep() -> None:
    """Nesting is bounded before anything walks it."""
    schema: JsonObject = {}
    for _ in range(300):
        schema = {"not": schema}

    with pytest.raises(CompileError, match="200 levels"):
        compile_schema(schema)


def test_run_stops_a_schema_that_doubles_its_work() -> None:
    """Two references to the whole schema in each level do not take 2^40 steps."""
    schema: JsonObject = {"properties": {"a": {"anyOf": [{"$ref": "#"}, {"$ref": "#"}]}}}
    schema["required"] = ["b"]
    value: JsonObject = {}
    for _ in range(40):
        value = {"a": value, "b": 1}

    with pytest.raises(BudgetExceededError, match="keywords were applied"):
        compile_schema(schema).run(value)


def test_run_stops_a_schema_that_refers_to_itself() -> None:
    """A reference that goes nowhere is an error, not a crash."""
    with pytest.raises(BudgetExceededError, match="refers to itself"):
        compile_schema({"$ref": "#"}).run({})


def test_run_takes_linear_time_for_a_hostile_text() -> None:
    """A pattern that backtracks in Python does not here."""
    assert _faults({"pattern": "^(a+)+$"}, "a" * 10_000 + "b") == [
        ("", 'expected pattern "^(a+)+$"')
    ]


def test_run_refuses_a_text_that_the_engine_would_cut() -> None:
    """A text with NUL is an error where a pattern is asked about it."""
    with pytest.raises(EvaluationError, match="holds a NUL character"):
        compile_schema({"pattern": "^a$"}).run("a\0b")


def test_run_bounds_its_faults() -> None:
    """A list of a thousand faults gives the first few."""
    faults = compile_schema({"items": {"type": "string"}}).run(list(range(1000)))

    assert len(faults) == MAX_FAULTS
    assert faults[0] == SchemaFault(path="/0", message='expected type "string"')


def test_run_does_not_quote_the_value() -> None:
    """No keyword puts what stood there into its message."""
    schema: JsonObject = {
        "allOf": [
            {"type": "integer"},
            {"enum": [1]},
            {"const": 1},
            {"maxLength": 1},
            {"not": {"type": "string"}},
            {"pattern": "^x"},
            {"anyOf": [False]},
            {"oneOf": [{"const": 2}]},
            False,
        ]
    }

    assert len(_faults(schema, "hunter2")) == 9
    assert "hunter2" not in str(_faults(schema, "hunter2"))
