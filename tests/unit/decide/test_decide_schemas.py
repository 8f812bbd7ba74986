"""JSON Schema rules, at a path or on the whole object."""

import pytest

from lictor.jsontypes import Json
from lictor.model.document import Document
from lictor.model.request import Operation
from lictor.model.verdict import Outcome
from testkit.law import decided, law, pod, policy, review

PORTS: Json = {"type": "array", "items": {"type": "integer", "maximum": 1023}}


def rule(schema: Json, **fields: Json) -> list[Json]:
    """Return `validations` with one JSON Schema."""
    return [{"jsonSchema": {"schema": schema, **fields}}]


def test_decide_names_the_places_that_a_schema_finds() -> None:
    """Without a message of its own, a rule says what the schema expects and where."""
    snapshot = law(policy("p", validations=rule(PORTS, path="/spec/ports")))

    verdict = decided(review(pod(spec={"ports": [80, 8080, "x"]})), snapshot).verdicts[0]

    assert verdict.outcome is Outcome.VIOLATED
    assert verdict.violations[0].field_path == "/spec/ports"
    assert verdict.violations[0].message == (
        '/spec/ports/1: expected maximum 1023; /spec/ports/2: expected type "integer"'
    )


def test_decide_prefers_the_message_and_path_of_the_rule() -> None:
    """An author's message says how to mend it, and fieldPath where."""
    validations = rule(PORTS, path="/spec/ports", message="use ports to 1023", fieldPath="/spec")
    snapshot = law(policy("p", validations=validations))

    violation = decided(review(pod(spec={"ports": [8080]})), snapshot).verdicts[0].violations[0]

    assert (violation.message, violation.field_path) == ("use ports to 1023", "/spec")


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param({}, id="nothing-at-the-path"),
        pytest.param({"ports": None}, id="null"),
        pytest.param({"ports": [80]}, id="compliant"),
    ],
)
def test_decide_lets_nothing_at_the_path_comply(spec: dict[str, Json]) -> None:
    """A schema judges what is there; null is not."""
    snapshot = law(policy("p", validations=rule({**PORTS, "minItems": 1}, path="/spec/ports")))  # type: ignore[dict-item]  # a mapping

    assert decided(review(pod(spec=spec)), snapshot).verdicts[0].outcome is Outcome.PASSED


def test_decide_shows_schemas_no_nulls() -> None:
    """`creationTimestamp: null` of a new object is no text that is missing its type."""
    schema: Json = {
        "properties": {"metadata": {"properties": {"creationTimestamp": {"type": "string"}}}}
    }
    tree = pod()
    tree["metadata"] = {"name": "web", "creationTimestamp": None}
    snapshot = law(policy("p", validations=rule(schema)))

    assert decided(review(tree), snapshot).allowed


def test_decide_lets_what_is_deleted_comply_with_schemas() -> None:
    """DELETE has no object that a schema could judge."""
    snapshot = law(policy("p", validations=rule({"type": "string"})))
    gone = review(None, operation=Operation.DELETE, old_object=Document.of(pod()))

    assert decided(gone, snapshot).verdicts[0].outcome is Outcome.PASSED
