"""What errors quote of the API server's words."""

import json

import pytest

from lictor.kube.errors import status_error


def error(*causes: tuple[str, str], what: str = "PATCH /apis/apps/v1/deployments/web") -> str:
    """Return the message of a 422 with these causes."""
    body = {
        "message": "it is invalid: " + "; ".join(text for _, text in causes),
        "reason": "Invalid",
        "details": {"causes": [{"field": field, "message": text} for field, text in causes]},
    }
    return str(status_error(422, json.dumps(body).encode(), what=what))


@pytest.mark.parametrize(
    ("quoted", "told"),
    [
        pytest.param(
            r'Invalid value: "{\"a\": \"hunter2\"}": unknown field "spec.a"',
            'spec: Invalid value: unknown field "spec.a"',
            id="string",
        ),
        pytest.param(
            'Invalid value: {"a": ": hunter2"}: field is immutable',
            "spec: Invalid value: field is immutable",
            id="object",
        ),
        pytest.param("Invalid value: -1: too small", "spec: Invalid value: too small", id="number"),
        pytest.param("Required value: a name", "spec: Required value: a name", id="no-value"),
        pytest.param('Invalid value: "hunter2', "spec: Invalid value", id="no-end"),
        pytest.param('Invalid value: {"a": hunter2', "spec: Invalid value", id="no-json"),
        pytest.param("Duplicate value: hunter2", "spec: Duplicate value", id="no-detail"),
    ],
)
def test_status_error_tells_why_without_the_value(quoted: str, told: str) -> None:
    """The field and the reason are told; a value may be a password, or the whole object."""
    message = error(("spec", quoted))

    assert message.endswith(f"422 Invalid: {told}")
    assert "hunter2" not in message


def test_status_error_tells_few_causes() -> None:
    """A flood of causes makes no flood of a message."""
    message = error(*[(f"f{number}", "Required value") for number in range(100)])

    assert "f4" in message
    assert "f5" not in message
