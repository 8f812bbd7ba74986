"""Turns the bytes of an AdmissionReview into a `Request`, or says what is wrong with them.

Under `failurePolicy: Ignore` the API server admits whatever is not a well-formed answer. So an
unreadable review is worth an answer too, and the uid that it needs is looked for even where the
rest cannot be read.

Duplicate keys count as in Go's encoding/json: the last one wins, in the envelope and in the object
alike, so that what is judged and what is recorded is the same. Unknown keys are passed over: the
API server may add fields within `admission.k8s.io/v1`.
"""

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Final

import msgspec

from lictor.errors import InputError, TooDeepError, TooLargeError
from lictor.jsontypes import MAX_DEPTH, check_depth
from lictor.model.document import Document
from lictor.model.names import Gvk, Gvr, RequestUid
from lictor.model.request import Operation, Origin, Phase, Request, UserInfo

API_VERSION: Final = "admission.k8s.io/v1"
KIND: Final = "AdmissionReview"

HEAD_BYTES: Final = 4096
"""Where the uid is looked for. kube-apiserver writes kind, apiVersion and request.uid first."""

_UID_LENGTH: Final = 256
"""The API server sends 36 characters; the uid is repeated in the answer and in the record."""


class Fault(StrEnum):
    """What is wrong with a review."""

    NOT_JSON = "not-json"
    WRONG_SHAPE = "wrong-shape"
    WRONG_VERSION = "wrong-version"
    BAD_OBJECT = "bad-object"
    TOO_DEEP = "too-deep"
    TOO_LARGE = "too-large"
    TOO_SLOW = "too-slow"
    CUT_SHORT = "cut-short"
    BUSY = "busy"
    UNKNOWN_CLASS = "unknown-class"
    INTERNAL = "internal"


_STATUS: Final[Mapping[Fault, tuple[int, str]]] = {
    Fault.TOO_LARGE: (413, "RequestEntityTooLarge"),
    Fault.TOO_SLOW: (504, "Timeout"),
    Fault.BUSY: (429, "TooManyRequests"),
    Fault.UNKNOWN_CLASS: (500, "InternalError"),
    Fault.INTERNAL: (500, "InternalError"),
}


class MalformedReviewError(InputError):
    """A review that cannot be judged, which therefore is denied.

    Attributes:
        fault: what is wrong, as a word for metrics.
        uid: of the request; None where it could not be read, so that no answer is possible.
    """

    def __init__(self, message: str, *, fault: Fault, uid: RequestUid | None) -> None:
        super().__init__(message)
        self.fault = fault
        self.uid = uid

    @property
    def code(self) -> int:
        """HTTP status for the status of the denial."""
        return _STATUS.get(self.fault, (400, ""))[0]

    @property
    def reason(self) -> str:
        """`metav1.StatusReason` that goes with the code."""
        return _STATUS.get(self.fault, (0, "BadRequest"))[1]


# What no policy could be about would be admitted: only the core group is empty.
_Named = Annotated[str, msgspec.Meta(min_length=1)]


class _Kind(msgspec.Struct, frozen=True, kw_only=True):
    group: str = ""
    version: _Named
    kind: _Named

    def value(self) -> Gvk:
        return Gvk(self.group, self.version, self.kind)


class _Resource(msgspec.Struct, frozen=True, kw_only=True):
    group: str = ""
    version: _Named
    resource: _Named

    def value(self) -> Gvr:
        return Gvr(self.group, self.version, self.resource)


class _User(msgspec.Struct, frozen=True):
    username: str = ""
    uid: str = ""
    groups: tuple[str, ...] | None = None
    extra: dict[str, tuple[str, ...] | None] | None = None

    def value(self) -> UserInfo:
        extra = {key: values or () for key, values in (self.extra or {}).items()}
        return UserInfo(username=self.username, uid=self.uid, groups=self.groups or (), extra=extra)


class _Request(msgspec.Struct, frozen=True, rename="camel"):
    """`AdmissionRequest`; the objects stay bytes here."""

    uid: Annotated[str, msgspec.Meta(min_length=1, max_length=_UID_LENGTH)]
    kind: _Kind
    resource: _Resource
    operation: Operation
    user_info: _User
    sub_resource: str = ""
    request_kind: _Kind | None = None
    request_resource: _Resource | None = None
    request_sub_resource: str = ""
    name: str = ""
    namespace: str = ""
    object: msgspec.Raw = msgspec.Raw()
    old_object: msgspec.Raw = msgspec.Raw()
    options: msgspec.Raw = msgspec.Raw()
    dry_run: bool | None = None


class _Review(msgspec.Struct, frozen=True, rename="camel"):
    api_version: str
    kind: str
    request: _Request


class _Version(msgspec.Struct, frozen=True, rename="camel"):
    api_version: str = ""
    kind: str = ""


_REVIEWS: Final = msgspec.json.Decoder(_Review)
_VERSIONS: Final = msgspec.json.Decoder(_Version)


def parse(body: bytes, *, phase: Phase, failure_class: str, max_depth: int) -> Request:
    """Read one review, whole: nothing of it can turn out unreadable later.

    Raises:
        MalformedReviewError: and no other error, whatever the bytes are.
    """
    review = _read_envelope(body)
    request = review.request
    uid = RequestUid(request.uid)
    if (review.api_version, review.kind) != (API_VERSION, KIND):
        raise _wrong_version(review.api_version, review.kind, uid=uid)
    documents = {
        name: _document(name, raw, uid=uid, max_depth=max_depth)
        for name, raw in (
            ("object", request.object),
            ("oldObject", request.old_object),
            ("options", request.options),
        )
    }
    _check_presence(request.operation, documents, uid=uid)
    kind, resource = request.kind.value(), request.resource.value()
    return Request(
        uid=uid,
        origin=Origin.ADMISSION,
        phase=phase,
        failure_class=failure_class,
        operation=request.operation,
        kind=kind,
        resource=resource,
        sub_resource=request.sub_resource,
        request_kind=request.request_kind.value() if request.request_kind else kind,
        request_resource=(
            request.request_resource.value() if request.request_resource else resource
        ),
        request_sub_resource=request.request_sub_resource or request.sub_resource,
        namespace=request.namespace,
        name=request.name,
        user=request.user_info.value(),
        object=documents["object"],
        old_object=documents["oldObject"],
        options=documents["options"],
        dry_run=bool(request.dry_run),
        bytes_read=len(body),
    )


def _read_envelope(body: bytes) -> _Review:
    try:
        return _REVIEWS.decode(body)
    except msgspec.ValidationError as err:
        raise _wrong_shape(body, err) from err
    except RecursionError as err:
        raise MalformedReviewError(
            "the review is nested too deep to be read", fault=Fault.TOO_DEEP, uid=find_uid(body)
        ) from err
    except (msgspec.DecodeError, UnicodeDecodeError) as err:
        raise MalformedReviewError(
            f"the review is not one JSON text in UTF-8: {err}",
            fault=Fault.NOT_JSON,
            uid=find_uid(body),
        ) from err


def _wrong_shape(body: bytes, err: msgspec.ValidationError) -> MalformedReviewError:
    """Tell another version, whose shape is its own, from a broken review of ours."""
    uid = find_uid(body)
    try:
        head = _VERSIONS.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        head = _Version(API_VERSION, KIND)
    if (head.api_version, head.kind) != (API_VERSION, KIND):
        return _wrong_version(head.api_version, head.kind, uid=uid)
    return MalformedReviewError(
        f"the review is not an {KIND} of {API_VERSION}: {err}", fault=Fault.WRONG_SHAPE, uid=uid
    )


def _wrong_version(api_version: str, kind: str, *, uid: RequestUid | None) -> MalformedReviewError:
    return MalformedReviewError(
        f"the review is a {kind[:64]!r} of {api_version[:64]!r}; expected {KIND} of {API_VERSION}",
        fault=Fault.WRONG_VERSION,
        uid=uid,
    )


def _document(name: str, raw: msgspec.Raw, *, uid: RequestUid, max_depth: int) -> Document | None:
    """Decode the object now: a record needs its digest anyway, and later nobody could deny."""
    data = bytes(raw)
    if data in (b"", b"null"):
        return None
    try:
        document = Document(data)
        tree = document.tree  # holds the limit of `lictor.jsontypes`
        # Fewer openers than the limit cannot nest deeper than it.
        if max_depth < MAX_DEPTH and data.count(b"{") + data.count(b"[") > max_depth:
            check_depth(tree, max_depth=max_depth)
    except TooDeepError as err:
        raise MalformedReviewError(
            f"{name} of the review is {err}", fault=Fault.TOO_DEEP, uid=uid
        ) from err
    except TooLargeError as err:
        raise MalformedReviewError(
            f"{name} of the review has {err}", fault=Fault.TOO_LARGE, uid=uid
        ) from err
    except InputError as err:
        raise MalformedReviewError(
            f"{name} of the review is {err}", fault=Fault.BAD_OBJECT, uid=uid
        ) from err
    return document


def _check_presence(
    operation: Operation, documents: Mapping[str, Document | None], *, uid: RequestUid
) -> None:
    """Refuse a review without the states that its operation is about.

    DELETE may come without oldObject: so does the first review of a deletecollection.
    """
    needed = {
        Operation.CREATE: ("object",),
        Operation.UPDATE: ("object", "oldObject"),
    }.get(operation, ())
    for name in needed:
        if documents[name] is None:
            raise MalformedReviewError(
                f"the review of a {operation} has no {name}", fault=Fault.WRONG_SHAPE, uid=uid
            )


# One token of JSON. The alternatives begin differently, so that matching takes linear time.
_TOKEN: Final = re.compile(rb'\s*("(?:[^"\\]|\\.)*"|[{}\[\]:,]|[^\s{}\[\]:,"]+)', re.DOTALL)
_REQUEST_PATH: Final = [b"", b'"request"']


def find_uid(body: bytes) -> RequestUid | None:
    """Look for `request.uid` in the first 4 KiB of what may be no JSON at all.

    Only a string at exactly that path counts, so that no uid within an object passes for it.
    """
    head = body[:HEAD_BYTES]
    path: list[bytes] = []
    key = last = b""
    position = 0
    while match := _TOKEN.match(head, position):
        token, position = match[1], match.end()
        if token in (b"{", b"["):
            path.append(key)
            key = b""
        elif token in (b"}", b"]"):
            if not path:
                return None
            path.pop()
            key = b""
        elif token == b":":
            key = last
        elif token == b",":
            key = b""
        elif key == b'"uid"' and path == _REQUEST_PATH:
            return _uid(token)
        last = token
    return None


def _uid(token: bytes) -> RequestUid | None:
    try:
        value = msgspec.json.decode(token, type=str)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return RequestUid(value) if 0 < len(value) <= _UID_LENGTH else None
