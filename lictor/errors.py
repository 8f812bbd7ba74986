"""The error tree: what went wrong, and whether trying again can help.

The type carries the contract: a caller decides by it to retry, to hold or to give up. Messages
say what, which object, and what was expected; they never carry the value of a secret.
"""

from typing import ClassVar


class LictorError(Exception):
    """The base of every error that this project raises on purpose."""

    retriable: ClassVar[bool] = False


class InputError(LictorError):
    """Bytes or values from outside are not what was expected."""


class TooLargeError(InputError):
    """The input is larger than its limit."""


class TooDeepError(InputError):
    """The input is nested deeper than its limit."""


class SettingsError(LictorError):
    """The configuration is wrong: names the key, what it holds and what was expected."""


class EngineError(LictorError):
    """A rule could not be compiled or evaluated."""


class CompileError(EngineError):
    """The source of a rule is not valid for its engine."""


class EvaluationError(EngineError):
    """A compiled rule failed on this input."""


class BudgetExceededError(EvaluationError):
    """A rule needed more than its budget allows."""


class AuditUnavailableError(LictorError):
    """The record could not be made durable; the caller acts by its mode."""

    retriable = True


class StoreError(LictorError):
    """A baseline or state could not be read or kept."""

    retriable = True


class ApiError(LictorError):
    """The Kubernetes API refused or failed a call.

    Attributes:
        code: HTTP status; 0 where no answer came.
        reason: `Status.reason` of the answer, or a word of ours where there was none.
    """

    def __init__(self, message: str, *, code: int = 0, reason: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason


class ObjectNotFoundError(ApiError):
    """404: the object, or its kind, is not there."""


class AlreadyExistsError(ApiError):
    """409 with reason AlreadyExists."""


class ConflictError(ApiError):
    """409: the object is no longer at the resourceVersion that was read."""

    retriable = True


class InvalidError(ApiError):
    """422 or 400: the API server refuses the content; sending it again cannot help."""


class ForbiddenError(ApiError):
    """401 or 403: this identity may not do it, or an admission plugin refused it."""


class ExpiredError(ApiError):
    """410: the resourceVersion or continue token is too old; list again."""

    retriable = True


class ThrottledError(ApiError):
    """429: the server asks to wait.

    Attributes:
        retry_after_seconds: the `Retry-After` header, 1.0 where it was missing.
    """

    retriable = True

    def __init__(self, message: str, *, retry_after_seconds: float = 1.0) -> None:
        super().__init__(message, code=429, reason="TooManyRequests")
        self.retry_after_seconds = retry_after_seconds


class UnavailableError(ApiError):
    """5xx, a refused or cut connection, or no answer in time: whether it took effect is unknown."""

    retriable = True
