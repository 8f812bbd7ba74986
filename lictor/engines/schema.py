"""JSON Schema (draft 2020-12) in process: compiled once a snapshot, errors with the path.

Nothing is fetched: references stay within the schema. Patterns are RE2, so they take linear time. A
fault names the place and what the schema expects there, never what stood there: it may be a Secret.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

import msgspec
from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.exceptions import SchemaError, ValidationError
from referencing import Registry
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012

from lictor.engines.cel_pattern import Pattern
from lictor.engines.schema_keywords import CHECKER, Run
from lictor.engines.schema_source import check_source, references
from lictor.errors import BudgetExceededError, CompileError, EvaluationError, TooDeepError
from lictor.jsontypes import Json, JsonObject, check_depth
from lictor.model.patch import pointer

MAX_FAULTS: Final = 50
"""Faults that one run returns: an author mends the first few, and a message holds no more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaFault:
    """One place that does not satisfy the schema.

    Attributes:
        path: JSON Pointer into the value.
        message: what the schema expects there.
    """

    path: str
    message: str


class SchemaProgram:
    """One compiled schema; has no state of its own, so it may be run from any thread."""

    __slots__ = ("_patterns", "_validator")

    def __init__(self, validator: Any, patterns: Mapping[str, Pattern]) -> None:  # noqa: ANN401
        self._validator = validator
        self._patterns = patterns

    def run(self, value: Json) -> tuple[SchemaFault, ...]:
        """Return what does not satisfy the schema, by path; nothing where all does.

        At most `MAX_FAULTS` are returned.

        Raises:
            BudgetExceededError: it took more than `MAX_STEPS`, or the schema refers to itself
                without end.
            EvaluationError: a text that a pattern is asked about holds a NUL character.
        """
        validator = self._validator.evolve(format_checker=Run(self._patterns))
        try:
            errors = list(islice(validator.iter_errors(value), MAX_FAULTS))
        except RecursionError as err:
            raise BudgetExceededError("the schema refers to itself without end") from err
        except Unresolvable as err:
            raise EvaluationError(f"a reference cannot be resolved: {err}") from err
        faults = {(pointer(map(str, err.absolute_path)), _message(err)) for err in errors}
        return tuple(SchemaFault(path=path, message=message) for path, message in sorted(faults))


def compile_schema(schema: JsonObject) -> SchemaProgram:
    """Compile one schema.

    Raises:
        CompileError: it is no schema of the dialect, or says something that would not be
            enforced: an unknown keyword or format, a reference to elsewhere, a pattern that is
            not RE2.
    """
    try:
        check_depth(schema)
        Draft202012Validator.check_schema(schema, format_checker=FormatChecker(formats=()))
    except TooDeepError as err:
        raise CompileError(str(err)) from err
    except SchemaError as err:
        place = pointer(map(str, err.absolute_path))
        raise CompileError(f"{place or '/'}: {err.message}"[:500]) from err
    patterns = check_source(schema)
    _check_references(schema)
    # An explicit registry: the default one would fetch what it does not know.
    return SchemaProgram(CHECKER(schema, registry=Registry()), patterns)


def _check_references(schema: JsonObject) -> None:
    resource = DRAFT202012.create_resource(schema)
    resolver = Registry().resolver_with_root(resource)
    for place, reference in references(schema):
        try:
            resolver.lookup(reference)
        except Unresolvable as err:
            raise CompileError(f"{place}/$ref: nothing stands at {reference!r}") from err


def _message(error: ValidationError) -> str:
    """Say what was expected; the library's own message quotes the value."""
    match error.validator:
        case "required" | "dependentRequired" | "additionalProperties":
            return error.message  # names fields, no values
        case "anyOf" | "oneOf" | "not" | "contains" | "if":
            return f"does not satisfy {error.validator}"
        case str():
            text = msgspec.json.encode(error.validator_value).decode()
            return f"expected {error.validator} {text[:200]}"
        case _:
            return "nothing is expected here"  # the schema `false`
