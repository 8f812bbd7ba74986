"""Logs: fixed keys, bounded values, JSON that a machine reads."""

import ast
import io
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import structlog

import lictor
from lictor.config.settings import LogSettings
from lictor.telemetry.logs import KEYS, MAX_VALUE_CHARACTERS, configure, logger

_ROOT = Path(lictor.__file__).parents[1]
_METHODS = {"debug", "info", "warning", "error", "exception", "critical", "bind", "new"}


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    before = (root.handlers, root.level)
    yield
    root.handlers, root.level = before
    structlog.reset_defaults()


@dataclass(frozen=True)
class Written:
    """A log that is written to memory."""

    stream: io.StringIO

    def lines(self) -> list[dict[str, object]]:
        """Decode what was written."""
        return [json.loads(line) for line in self.stream.getvalue().splitlines()]


def _configured(**settings: str) -> Written:
    stream = io.StringIO()
    configure(LogSettings(**settings), stream=stream)
    return Written(stream)


def test_logs_write_one_json_line_an_event() -> None:
    """A line has its event, level, logger and time, and the keys that were given."""
    log = _configured()

    logger("lictor.test").info("decided", namespace="shop", decision="deny")

    (line,) = log.lines()
    assert line.pop("ts")
    assert line == {
        "event": "decided",
        "level": "info",
        "logger": "lictor.test",
        "namespace": "shop",
        "decision": "deny",
    }


def test_logs_leave_unknown_keys_out() -> None:
    """A key that is not fixed is named, and its value is not written."""
    log = _configured()

    logger("lictor.test").info("read", object_body="s3cret", name="web")

    (line,) = log.lines()
    assert line["dropped"] == ["object_body"]
    assert line["name"] == "web"
    assert "s3cret" not in log.stream.getvalue()


def test_logs_cut_long_values() -> None:
    """A long value is cut, so that what comes from outside cannot flood the log."""
    log = _configured()

    logger("lictor.test").info("read", error="x" * 100_000)

    assert len(str(log.lines()[0]["error"])) == MAX_VALUE_CHARACTERS + 1


def test_logs_obey_the_level() -> None:
    """What is below the level is not written."""
    log = _configured(level="warning")

    logger("lictor.test").info("quiet")
    logger("lictor.test").warning("loud")

    assert [line["event"] for line in log.lines()] == ["loud"]


def test_logs_of_libraries_have_the_same_form() -> None:
    """A warning of a library is one JSON line; its chatter is left out."""
    log = _configured(level="debug")

    logging.getLogger("aiohttp").info("quiet")
    logging.getLogger("aiohttp").warning("loud %s", "noise")

    (line,) = log.lines()
    assert (line["event"], line["logger"], line["level"]) == ("loud noise", "aiohttp", "warning")


def test_logs_have_the_traceback_of_an_exception() -> None:
    """`exception` adds the traceback under one key."""
    log = _configured()

    try:
        raise ValueError("odd")  # noqa: TRY301 (the traceback is the point)
    except ValueError:
        logger("lictor.test").exception("failed")

    assert "ValueError: odd" in str(log.lines()[0]["exception"])


def test_logs_as_text_are_for_a_person() -> None:
    """The format `text` writes no JSON."""
    log = _configured(format="text")

    logger("lictor.test").info("decided", name="web")

    text = log.stream.getvalue()
    assert "decided" in text
    assert "name=web" in text
    assert not text.startswith("{")


def _calls(path: Path) -> Iterator[tuple[str, str]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        target = node.func.value
        name = getattr(target, "id", getattr(target, "attr", ""))
        if node.func.attr in _METHODS and "log" in name.lower():
            for keyword in node.keywords:
                yield f"{path}:{node.lineno}", keyword.arg or "**"


def test_logs_every_call_uses_known_keys() -> None:
    """No call anywhere in the shipped code passes a key that would be left out."""
    known = KEYS | {"exc_info", "stack_info"}
    paths = [
        p for room in ("lictor", "admission", "enforcer") for p in (_ROOT / room).rglob("*.py")
    ]

    wrong = [(at, key) for path in paths for at, key in _calls(path) if key not in known]

    assert wrong == []
