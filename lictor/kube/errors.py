"""Answers of the API server as errors that say whether trying again can help."""

from collections.abc import Mapping
from typing import Final

import msgspec

from lictor.errors import (
    AlreadyExistsError,
    ApiError,
    ConflictError,
    ExpiredError,
    ForbiddenError,
    InvalidError,
    ObjectNotFoundError,
    ThrottledError,
    UnavailableError,
)

_MESSAGE_CHARACTERS: Final = 1_000
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


class Status(msgspec.Struct, frozen=True):
    """`metav1.Status`, as far as it decides what we do."""

    message: str = ""
    reason: str = ""
    code: int = 0


def status_error(code: int, body: bytes, *, what: str, retry_after: str = "") -> ApiError:
    """Return the error that an answer stands for.

    Args:
        code: HTTP status, or `code` of a Status that came in a watch.
        body: the Status; anything else is not quoted.
        what: the request, for the message.
        retry_after: the header of that name.
    """
    try:
        status = msgspec.json.decode(body, type=Status)
    except (msgspec.DecodeError, UnicodeDecodeError):
        status = Status()
    message = f"{what}: {code} {status.reason}: {status.message[:_MESSAGE_CHARACTERS]}"
    if code == 429:  # noqa: PLR2004 - Too Many Requests
        return ThrottledError(message, retry_after_seconds=_seconds(retry_after))
    if code == 409 and status.reason == "AlreadyExists":  # noqa: PLR2004 - Conflict
        return AlreadyExistsError(message, code=code, reason=status.reason)
    if code >= _SERVER_ERRORS:
        return UnavailableError(message, code=code, reason=status.reason)
    return _BY_CODE.get(code, ApiError)(message, code=code, reason=status.reason)


def _seconds(retry_after: str) -> float:
    # RFC 9110 10.2.3 also allows a date; the API server sends seconds.
    return min(float(retry_after), 60.0) if retry_after.isdecimal() else 1.0
