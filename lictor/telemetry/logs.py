"""Structured logs on standard error: an event with fixed keys, as JSON or as text.

A key that is not in `KEYS` is left out, and only its name is shown under `dropped`: a log line
never carries an object's body or a Secret's value because somebody bound one more field.
"""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any, Final, Protocol, TextIO

import structlog

KEYS: Final = frozenset(
    {
        # what every line has
        "event", "level", "logger", "ts", "exception", "dropped",
        # the object and the request
        "uid", "gvk", "resource", "namespace", "name", "op", "resource_version", "bytes",
        # the law
        "policy", "decision", "digest", "policies", "rule", "severity", "owner",
        # what was done
        "action", "attempt", "code", "count", "gate", "plan", "reason", "result", "seconds",
        "stage", "text",
        # the process
        "error", "host", "identity", "lease", "limit", "lost", "origin", "path", "port", "signal",
        "task", "url", "version", "waiting", "writer",
    }
)  # fmt: skip
"""Every key that a line may have."""

MAX_VALUE_CHARACTERS: Final = 2048
"""Of one value; a line stays readable, and a message from outside cannot flood the log."""

_FOREIGN_LEVEL: Final = logging.WARNING
"""Libraries speak when something is wrong; what they say otherwise is ours to say."""


class LogStyle(Protocol):
    """What `configure` needs to know (`lictor.config.settings.LogSettings` has it)."""

    @property
    def level(self) -> str:
        """`debug`, `info`, `warning` or `error`."""
        ...

    @property
    def format(self) -> str:
        """`json`, or `text` for a person."""
        ...


def logger(name: str) -> structlog.stdlib.BoundLogger:
    """Return the logger of a module: `logger(__name__)`."""
    bound: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return bound


def configure(style: LogStyle, *, stream: TextIO | None = None) -> None:
    """Send the logs of this process, and its libraries' warnings, to `stream` or standard error.

    A second call replaces the first. Levels and formats that are not known count as `info` and
    `json`: `lictor.config` has refused them before.
    """
    before: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *before,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=before,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            keep_known_keys,
            cut_long_values,
            _renderer(style.format),
        ],
    )
    _install(formatter, level=style.level, stream=stream or sys.stderr)


def keep_known_keys(
    _logger: object, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Leave out every key that is not in `KEYS`, and name it under `dropped`."""
    unknown = sorted(key for key in event if key not in KEYS)
    for key in unknown:
        del event[key]
    if unknown:
        event["dropped"] = unknown
    return event


def cut_long_values(
    _logger: object, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Cut texts, but not tracebacks, to `MAX_VALUE_CHARACTERS`."""
    for key, value in event.items():
        if isinstance(value, str) and len(value) > MAX_VALUE_CHARACTERS and key != "exception":
            event[key] = value[:MAX_VALUE_CHARACTERS] + "…"
    return event


def _renderer(style: str) -> structlog.typing.Processor:
    if style == "text":
        return structlog.dev.ConsoleRenderer(colors=False, timestamp_key="ts")
    return structlog.processors.JSONRenderer(default=str)


def _install(formatter: logging.Formatter, *, level: str, stream: TextIO) -> None:
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(_FOREIGN_LEVEL)
    ours = logging.getLevelNamesMapping().get(level.upper(), logging.INFO)
    for room in ("lictor", "admission", "enforcer"):
        logging.getLogger(room).setLevel(ours)
