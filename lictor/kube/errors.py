"""Answers of the API server as errors that say whether trying again can help."""

import json
import re
from collections.abc import Mapping
from typing import Final

import msgspec

from lictor.errors import (
    AlreadyExistsError,
    ApiError,
    ConflictError,
    ExpiredError,
    ForbiddenError,
    InputError,
    InvalidError,
    ObjectNotFoundError,
    ThrottledError,
    UnavailableError,
)
from lictor.model.document import Document

SILENT: Final = "Silent"
"""`ApiError.reason` where an open connection has brought nothing for too long."""

_MESSAGE_CHARACTERS: Final = 1_000
_CAUSES: Final = 5
_QUOTING: Final = frozenset(
    {"Invalid value", "Duplicate value", "Unsupported value", "Not found", "Too many"}
)
_QUOTED: Final = re.compile(r'"(?:[^"\\]|\\.)*"')
_MAX_RETRY_SECONDS: Final = 60.0
_BY_CODE: Final[Mapping[int, type[ApiError]]] = {
    400: InvalidError,
    401: ForbiddenError,
    403: ForbiddenError,
    404: ObjectNotFoundError,
    409: ConflictError,
    410: ExpiredError,
    413: InvalidError,
    415: InvalidError,
    422: InvalidError,
}
_SERVER_ERRORS: Final = 500


class AnswerTooLargeError(ApiError):
    """The answer exceeds our limit; a list can be asked for in smaller pages."""


class Cause(msgspec.Struct, frozen=True):
    """`metav1.StatusCause`."""

    field: str = ""
    message: str = ""


class Details(msgspec.Struct, frozen=True):
    """`metav1.StatusDetails`, as far as it explains."""

    causes: tuple[Cause, ...] | None = None


class Status(msgspec.Struct, frozen=True):
    """`metav1.Status`, as far as it decides what we do."""

    message: str = ""
    reason: str = ""
    code: int = 0
    details: Details | None = None


def read_status(body: bytes) -> Status:
    """Return the Status that an answer is; an empty one where it is something else."""
    try:
        return msgspec.json.decode(body, type=Status)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Status()


def status_error(code: int, body: bytes, *, what: str, retry_after: str = "") -> ApiError:
    """Return the error that an answer stands for.

    Args:
        code: HTTP status, or `code` of a Status that came in a watch.
        body: the Status; anything else is not quoted.
        what: the request, for the message.
        retry_after: the header of that name.
    """
    status = read_status(body)
    message = f"{what}: {code} {status.reason}"
    # What a Secret may not hold could be quoted: its errors are told without the server's words.
    if status.message and "/secrets" not in what:
        message += f": {_explanation(status)[:_MESSAGE_CHARACTERS]}"
    if code == 429:  # noqa: PLR2004 - Too Many Requests
        return ThrottledError(message, retry_after_seconds=_seconds(retry_after))
    if code == 409 and status.reason == "AlreadyExists":  # noqa: PLR2004 - Conflict
        return AlreadyExistsError(message, code=code, reason=status.reason)
    if code >= _SERVER_ERRORS:
        return UnavailableError(message, code=code, reason=status.reason)
    return _BY_CODE.get(code, ApiError)(message, code=code, reason=status.reason)


def document_of(body: bytes, *, what: str) -> Document:
    """Read an answer that should be an object.

    Raises:
        UnavailableError: it is something else, as a proxy's page would be; nobody knows then
            whether the request took effect.
    """
    try:
        return Document(body)
    except InputError as err:
        raise UnavailableError(f"{what}: the answer is no object: {err}") from err


def _explanation(status: Status) -> str:
    """Return the server's words without the values that it quotes: one may be a whole object."""
    causes = (status.details.causes if status.details else None) or ()
    if not causes:
        return status.message
    return "; ".join(
        ": ".join(filter(None, (cause.field, _without_value(cause.message))))
        for cause in causes[:_CAUSES]
    )


def _without_value(message: str) -> str:
    """Cut the value from a `field.Error`: `Invalid value: <value>: <detail>`."""
    kind, colon, rest = message.partition(": ")
    if not colon or kind not in _QUOTING:
        return message
    if rest.startswith('"'):
        quoted = _QUOTED.match(rest)
        end = quoted.end() if quoted else len(rest)
    elif rest.startswith(("{", "[")):
        end = _json_end(rest)
    else:
        end = rest.find(": ") if ": " in rest else len(rest)
    return kind + rest[end:]


def _json_end(text: str) -> int:
    try:
        return json.JSONDecoder().raw_decode(text)[1]
    except (ValueError, RecursionError):
        return len(text)


def _seconds(retry_after: str) -> float:
    # RFC 9110 10.2.3 also allows a date; the API server sends seconds.
    return min(float(retry_after), _MAX_RETRY_SECONDS) if retry_after.isdecimal() else 1.0
