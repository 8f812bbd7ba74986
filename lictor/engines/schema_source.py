"""What a JSON Schema may say: every keyword is one that is enforced, every reference is its own."""

import difflib
from collections.abc import Iterator
from typing import Final

from lictor.engines.cel_pattern import Pattern
from lictor.errors import CompileError
from lictor.jsontypes import Json, JsonObject
from lictor.model.patch import escape_key

MAX_SCHEMAS: Final = 20_000
"""Subschemas of one schema; the largest CRD in use has about 5,000."""

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

FORMATS: Final = frozenset({"ipv4", "ipv6", "date", "uuid", "email", "int32", "int64"})
"""Formats that are enforced. Others are refused: a format that is only noted enforces nothing."""

_MAPS: Final = frozenset({"properties", "patternProperties", "$defs", "dependentSchemas"})
_LISTS: Final = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
_SINGLE: Final = frozenset(
    {"items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames"}
    | {"unevaluatedItems", "unevaluatedProperties"}
)
_ASSERTIONS: Final = frozenset(
    {"type", "enum", "const", "multipleOf", "maximum", "exclusiveMaximum", "minimum"}
    | {"exclusiveMinimum", "maxLength", "minLength", "pattern", "maxItems", "minItems"}
    | {"uniqueItems", "maxContains", "minContains", "maxProperties", "minProperties", "required"}
    | {"dependentRequired", "format", "$ref", "$anchor"}
)
_NOTES: Final = frozenset(
    {"title", "description", "default", "deprecated", "readOnly", "writeOnly", "examples"}
    | {"$comment", "$schema"}
)
_KEYWORDS: Final = _MAPS | _LISTS | _SINGLE | _ASSERTIONS | _NOTES
# Notes for the API server's storage, which judge nothing.
_KUBERNETES_NOTES: Final = frozenset(
    {"x-kubernetes-list-type", "x-kubernetes-list-map-keys", "x-kubernetes-map-type"}
)


def check_source(schema: JsonObject) -> dict[str, Pattern]:
    """Check a schema that the dialect's own metaschema accepts, and compile its patterns.

    Returns:
        Every pattern of the schema, by its source.

    Raises:
        CompileError: a keyword, format or reference would not be enforced, or RE2 does not take a
            pattern; says where.
    """
    patterns: dict[str, Pattern] = {}
    used: set[str] = set()
    for number, (place, node) in enumerate(_schemas(schema, "")):
        if number >= MAX_SCHEMAS:
            raise CompileError(f"more than {MAX_SCHEMAS} subschemas")
        _check_keywords(node, place)
        used |= node.keys()
        for source in _patterns(node):
            if source not in patterns:
                patterns[source] = _compiled(source, place)
    if {"patternProperties", "unevaluatedProperties"} <= used:
        # The library follows patternProperties with `re` there, which backtracks.
        raise CompileError("patternProperties cannot stand with unevaluatedProperties")
    return patterns


def _schemas(schema: Json, place: str) -> Iterator[tuple[str, JsonObject]]:
    """Walk over the subschemas, not over what a `const` or an `enum` holds."""
    if not isinstance(schema, dict):
        return
    yield place, schema
    for keyword, value in schema.items():
        below = f"{place}/{escape_key(keyword)}"
        if keyword in _SINGLE:
            yield from _schemas(value, below)
        elif keyword in _LISTS and isinstance(value, list):
            for number, item in enumerate(value):
                yield from _schemas(item, f"{below}/{number}")
        elif keyword in _MAPS and isinstance(value, dict):
            for name, item in value.items():
                yield from _schemas(item, f"{below}/{escape_key(name)}")


def _check_keywords(node: JsonObject, place: str) -> None:
    for keyword, value in node.items():
        if keyword not in _KEYWORDS and keyword not in _KUBERNETES_NOTES:
            near = difflib.get_close_matches(keyword, sorted(_KEYWORDS), n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise CompileError(f"{place}/{escape_key(keyword)}: not an enforced keyword{hint}")
        match keyword:
            case "format" if value not in FORMATS:
                known = ", ".join(sorted(FORMATS))
                raise CompileError(f"{place}/format: {value!r} is not enforced; these are: {known}")
            case "$ref" if not str(value).startswith("#"):
                raise CompileError(f"{place}/$ref: {value!r} is not within this schema")
            case "$schema" if str(value).rstrip("#") != DIALECT:
                raise CompileError(f"{place}/$schema: expected {DIALECT}")
            case _:
                pass


def _patterns(node: JsonObject) -> Iterator[str]:
    pattern = node.get("pattern")
    if isinstance(pattern, str):
        yield pattern
    by_pattern = node.get("patternProperties")
    if isinstance(by_pattern, dict):
        yield from by_pattern


def _compiled(source: str, place: str) -> Pattern:
    try:
        return Pattern(source)
    except CompileError as err:
        raise CompileError(f"{place}: {err}") from err


def references(schema: JsonObject) -> Iterator[tuple[str, str]]:
    """Return each reference of a checked schema with the place where it stands."""
    for place, node in _schemas(schema, ""):
        if "$ref" in node:
            yield place, str(node["$ref"])
