import json
from typing import Any

import pytest

from admission.parse import HEAD_BYTES, Fault, MalformedReviewError, find_uid, parse
from lictor.model.names import Gvk, Gvr
from lictor.model.request import Operation, Phase, Request

DEPTH = 50


def review(**changes: object) -> dict[str, Any]:
    """A review as kube-apiserver writes it, with `changes` to its request."""
    request: dict[str, object] = {
        "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
        "kind": {"group": "apps", "version": "v1", "kind": "Deployment"},
        "resource": {"group": "apps", "version": "v1", "resource": "deployments"},
        "requestKind": {"group": "apps", "version": "v1", "kind": "Deployment"},
        "requestResource": {"group": "apps", "version": "v1", "resource": "deployments"},
        "name": "web",
        "namespace": "shop",
        "operation": "CREATE",
        "userInfo": {
            "username": "ann",
            "groups": ["system:authenticated"],
            "extra": {"scopes": ["a", "b"]},
        },
        "object": {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}},
        "oldObject": None,
        "dryRun": False,
        "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"},
    }
    request.update(changes)
    request = {key: value for key, value in request.items() if value is not ...}
    return {"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": request}


def read(body: bytes) -> Request:
    """Parse as the server does."""
    return parse(body, phase=Phase.VALIDATE, failure_class="open", max_depth=DEPTH)


def fault_of(body: bytes) -> MalformedReviewError:
    """Return the error that `body` gives."""
    with pytest.raises(MalformedReviewError, match="review") as caught:
        read(body)
    return caught.value


def dump(tree: object) -> bytes:
    """Write JSON as kube-apiserver does: without spaces."""
    return json.dumps(tree, separators=(",", ":")).encode()


def test_parse_reads_every_field_of_the_request() -> None:
    """What the API server sends arrives in the Request, typed."""
    body = dump(review())

    request = read(body)

    assert request.uid == "705ab4f5-6393-11e8-b7cc-42010a800002"
    assert (request.operation, request.phase) == (Operation.CREATE, Phase.VALIDATE)
    assert request.kind == request.request_kind == Gvk("apps", "v1", "Deployment")
    assert request.resource == request.request_resource == Gvr("apps", "v1", "deployments")
    assert (request.namespace, request.name, request.failure_class) == ("shop", "web", "open")
    assert request.user is not None
    assert (request.user.username, request.user.groups) == ("ann", ("system:authenticated",))
    assert request.user.extra == {"scopes": ("a", "b")}
    assert request.object is not None
    assert request.object.meta.name == "web"
    assert request.old_object is None
    assert request.options is not None
    assert request.bytes_read == len(body)


def test_parse_takes_the_matched_resource_where_the_requested_one_is_missing() -> None:
    """`requestKind` and `requestResource` are optional: equal to the matched ones then."""
    request = read(dump(review(requestKind=..., requestResource=...)))

    assert request.request_kind == request.kind
    assert request.request_resource == request.resource


def test_parse_admits_delete_without_old_object() -> None:
    """The first review of a deletecollection names no object."""
    request = read(dump(review(operation="DELETE", object=None, oldObject=None, name="")))

    assert request.object is None
    assert request.old_object is None


def test_parse_passes_over_unknown_keys() -> None:
    """A newer API server may add fields within v1."""
    tree = review(brandNew={"a": 1})
    tree["alsoNew"] = [1]

    assert read(dump(tree)).name == "web"


def test_parse_lets_the_last_duplicate_key_win() -> None:
    """Duplicate keys count as in Go's encoding/json."""
    body = dump(review()).replace(b'"name":"web"', b'"name":"one","name":"two"', 1)

    assert read(body).name == "two"


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        pytest.param(dump(review()) + b"x", Fault.NOT_JSON, id="trailing garbage"),
        pytest.param(dump(review())[:-2], Fault.NOT_JSON, id="cut short"),
        pytest.param(dump(review(name=7)), Fault.WRONG_SHAPE, id="a number for a name"),
        pytest.param(dump(review(operation="PATCH")), Fault.WRONG_SHAPE, id="unknown operation"),
        pytest.param(dump(review(userInfo=...)), Fault.WRONG_SHAPE, id="no user"),
        pytest.param(dump(review(object=None)), Fault.WRONG_SHAPE, id="create without object"),
        pytest.param(dump(review(operation="UPDATE")), Fault.WRONG_SHAPE, id="no old object"),
        pytest.param(
            dump(review(resource={"group": "apps", "version": "v1"})),
            Fault.WRONG_SHAPE,
            id="a resource that no policy could name",
        ),
        pytest.param(
            dump(review(kind={"group": "apps", "version": "v1", "kind": ""})),
            Fault.WRONG_SHAPE,
            id="a kind without a name",
        ),
        pytest.param(dump(review(object=[1])), Fault.BAD_OBJECT, id="a list for an object"),
        pytest.param(
            dump(review(object={"metadata": {"labels": {"a": 1}}})),
            Fault.BAD_OBJECT,
            id="a number for a label",
        ),
        pytest.param(
            dump(review(object={"metadata": "web"})), Fault.BAD_OBJECT, id="text for metadata"
        ),
        pytest.param(
            dump(review(object={"spec": "?"})).replace(b"?", b"\xff"),
            Fault.BAD_OBJECT,
            id="object not in UTF-8",
        ),
        pytest.param(
            dump(review(object={"spec": "?"})).replace(b'"?"', b'"\\ud800"'),
            Fault.NOT_JSON,
            id="lone surrogate",
        ),
        pytest.param(
            dump(review(object={"spec": "?"})).replace(b'"?"', b"[" * DEPTH + b"1" + b"]" * DEPTH),
            Fault.TOO_DEEP,
            id="one level too deep",
        ),
        pytest.param(
            dump(review(object={"spec": "?"})).replace(b'"?"', b"[" * 100_000 + b"]" * 100_000),
            Fault.TOO_DEEP,
            id="far too deep",
        ),
        pytest.param(
            dump({**review(), "apiVersion": "admission.k8s.io/v1beta1"}),
            Fault.WRONG_VERSION,
            id="another version",
        ),
        pytest.param(
            dump({**review(name=7), "apiVersion": "admission.k8s.io/v2"}),
            Fault.WRONG_VERSION,
            id="another version of another shape",
        ),
        pytest.param(
            dump({**review(), "kind": "ConversionReview"}), Fault.WRONG_VERSION, id="another kind"
        ),
    ],
)
def test_parse_refuses_with_the_uid(body: bytes, fault: Fault) -> None:
    """Whatever is wrong, the uid is carried, so that a denial can be answered."""
    error = fault_of(body)

    assert error.fault is fault
    assert error.uid == "705ab4f5-6393-11e8-b7cc-42010a800002"
    assert error.code == 400
    assert error.reason == "BadRequest"


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"null", id="null"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b"\xff\xfe", id="not UTF-8"),
        pytest.param(dump({**review(), "request": None}), id="null request"),
        pytest.param(dump(review(uid="")), id="empty uid"),
        pytest.param(dump(review(uid=7)), id="a number for a uid"),
        pytest.param(dump(review(uid=...)), id="no uid"),
        pytest.param(dump(review(uid="x" * 257)), id="endless uid"),
    ],
)
def test_parse_refuses_without_uid(body: bytes) -> None:
    """Without a uid that can be repeated there is nothing to answer with."""
    assert fault_of(body).uid is None


def test_parse_error_names_no_value_of_the_object() -> None:
    """An error may be logged, so it never quotes what it read."""
    error = fault_of(dump(review(object={"metadata": {"labels": {"hunter2": ["hunter3"]}}})))

    assert "hunter" not in str(error)


@pytest.mark.parametrize(
    ("code", "reason", "fault"),
    [
        (413, "RequestEntityTooLarge", Fault.TOO_LARGE),
        (429, "TooManyRequests", Fault.BUSY),
        (504, "Timeout", Fault.TOO_SLOW),
        (500, "InternalError", Fault.INTERNAL),
        (500, "InternalError", Fault.UNKNOWN_CLASS),
        (400, "BadRequest", Fault.CUT_SHORT),
    ],
)
def test_error_carries_the_status_of_its_fault(code: int, reason: str, fault: Fault) -> None:
    """Each fault has the HTTP status that a client can act upon."""
    error = MalformedReviewError("x", fault=fault, uid=None)

    assert (error.code, error.reason) == (code, reason)


@pytest.mark.parametrize(
    ("head", "uid"),
    [
        pytest.param(b'{"request":{"uid":"a","object":{"uid":"b"', "a", id="first"),
        pytest.param(b'{"request":{"object":{"uid":"b"},"uid":"a"', "a", id="after an object"),
        pytest.param(b'{"uid":"b","request":{"x":[{"uid":"c"}],"uid":"a"', "a", id="after a list"),
        pytest.param(b'{ "request" : { "x" : 1.5e3 , "uid" :\n"a" , ', "a", id="with spaces"),
        pytest.param(b'{"request":{"x":"\\"uid\\":\\"b\\"","uid":"a"}} junk', "a", id="in a text"),
        pytest.param(b'{"request":{"uid":"a\\u0062"', "ab", id="escaped"),
        pytest.param(b'{"request":{"uid":"a', None, id="cut within"),
        pytest.param(b'{"request":{"metadata":{"uid":"b"}}}', None, id="another uid"),
        pytest.param(b'{"x":{"uid":"b"},"request":{"uid":"a"', "a", id="of something else"),
        pytest.param(b'{"uid":"b"}', None, id="not of the request"),
        pytest.param(b'[{"request":{"uid":"b"}}]', None, id="within a list"),
        pytest.param(b'}{"request":{"uid":"a"', None, id="closed before opened"),
        pytest.param(b'{"request":{"uid":"\xff"', None, id="not UTF-8"),
        pytest.param(b'{"request":{"uid":null', None, id="null"),
        pytest.param(b"\x00\x01", None, id="binary"),
        pytest.param(b'{"x":"' + b"y" * HEAD_BYTES + b'","request":{"uid":"a"}}', None, id="late"),
    ],
)
def test_find_uid_believes_only_the_uid_of_the_request(head: bytes, uid: str | None) -> None:
    """The uid is found at `request.uid` alone, within the first 4 KiB, in what may be no JSON."""
    assert find_uid(head) == uid
