"""Whatever arrives, parsing gives a request or the one error."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from admission.parse import Fault, MalformedReviewError, find_uid, parse
from lictor.model.request import Phase, Request

UID = "705ab4f5-6393-11e8-b7cc-42010a800002"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda children: (
        st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=8), children, max_size=4)
    ),
    max_leaves=20,
)


def kind(name: str) -> dict[str, Any]:
    """A group, version and kind or resource."""
    return {"group": "apps", "version": "v1", name: "Deployment"}


REVIEW: dict[str, Any] = {
    "kind": "AdmissionReview",
    "apiVersion": "admission.k8s.io/v1",
    "request": {
        "uid": UID,
        "kind": kind("kind"),
        "resource": kind("resource"),
        "name": "web",
        "namespace": "shop",
        "operation": "UPDATE",
        "userInfo": {"username": "ann", "groups": ["a"], "extra": {"k": ["v"]}},
        "object": {"metadata": {"name": "web", "labels": {"a": "b"}}, "spec": {"replicas": 1}},
        "oldObject": {"metadata": {"name": "web"}, "spec": {"replicas": 1}},
        "options": {"kind": "UpdateOptions"},
    },
}
PATHS = [
    ("kind",),
    ("apiVersion",),
    ("request",),
    *(("request", key) for key in REVIEW["request"]),
    ("request", "userInfo", "groups"),
    ("request", "userInfo", "extra"),
    ("request", "object", "metadata"),
    ("request", "object", "metadata", "labels"),
    ("request", "object", "spec"),
]


def outcome(body: bytes) -> Request | MalformedReviewError:
    """Parse; any other error is the test's failure."""
    try:
        return parse(body, phase=Phase.VALIDATE, failure_class="open", max_depth=60)
    except MalformedReviewError as error:
        return error


@given(st.binary(max_size=300))
def test_parse_raises_one_error_for_arbitrary_bytes(body: bytes) -> None:
    """No bytes raise anything but MalformedReviewError, and none of these are a review."""
    assert isinstance(outcome(body), MalformedReviewError)


@given(st.sampled_from(PATHS), JSON)
def test_parse_survives_any_value_anywhere(path: tuple[str, ...], value: object) -> None:
    """Any JSON in the place of any part gives a request or the error, which keeps the uid."""
    tree = json.loads(json.dumps(REVIEW))
    place = tree
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value

    found = outcome(json.dumps(tree).encode())

    if path[:2] not in {("request",), ("request", "uid")}:
        assert found.uid == UID


@given(st.integers(min_value=0), st.binary(min_size=1, max_size=6), st.booleans())
def test_parse_survives_any_damage(place: int, damage: bytes, insert: bool) -> None:  # noqa: FBT001 (drawn)
    """Bytes written anywhere into a review give a request or the error."""
    body = json.dumps(REVIEW).encode()
    place %= len(body)

    found = outcome(body[:place] + damage + body[place + (0 if insert else len(damage)) :])

    if isinstance(found, Request):
        assert found.object is not None
        assert isinstance(found.object.tree, dict)


@given(st.integers(min_value=0))
def test_parse_refuses_every_prefix(length: int) -> None:
    """A review that was cut short is refused, with its uid as soon as that had arrived."""
    body = json.dumps(REVIEW).encode()
    cut = body[: length % len(body)]

    found = outcome(cut)

    assert isinstance(found, MalformedReviewError)
    assert found.fault is Fault.NOT_JSON
    assert found.uid == (UID if UID.encode() + b'"' in cut else None)


@given(st.binary(max_size=200))
def test_find_uid_gives_a_short_text_or_nothing(head: bytes) -> None:
    """The search for a uid raises nothing, whatever it searches."""
    found = find_uid(b'{"request":{"uid":' + head)

    assert found is None or 0 < len(found) <= 256


@pytest.mark.parametrize("order", [("uid", "object"), ("object", "uid")])
def test_find_uid_does_not_need_the_uid_first(order: tuple[str, str]) -> None:
    """Within the first 4 KiB the uid may stand behind the object."""
    request = {key: REVIEW["request"][key] for key in order}

    assert find_uid(json.dumps({"request": request}).encode()[:-1]) == UID
