"""What etcd and the API server's log say is read whole, or not at all."""

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import override

from testkit.history import Revision, audit_events, etcd_history

PREFIX = "/registry/deployments/shop/"


def encoded(text: str) -> str:
    """Return base64, as etcd's JSON API writes bytes."""
    return base64.b64encode(text.encode()).decode()


def change(revision: int, value: dict[str, Any] | None, name: str = "web") -> dict[str, Any]:
    """Return an event of a watch: a put, or a deletion where there is no value."""
    item = {"key": encoded(PREFIX + name), "mod_revision": str(revision)}
    if value is None:
        return {"type": "DELETE", "kv": item}
    return {"kv": item | {"value": encoded(json.dumps(value))}}  # PUT is 0, which JSON leaves out


@contextmanager
def etcd(newest: int, *messages: dict[str, Any]) -> Iterator[tuple[str, list[Any]]]:
    """Serve as an etcd whose watch sends these messages; gives its URL and what it was asked."""
    asked: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            """Answer a range with the newest key, a watch with its messages and the end."""
            body = self.rfile.read(int(self.headers["Content-Length"]))
            asked.append(json.loads(body))
            ranges = {"kvs": [{"mod_revision": str(newest)}]} if newest else {}
            lines = [ranges] if self.path.endswith("range") else [{"result": m} for m in messages]
            answer = "".join(json.dumps(line) + "\n" for line in lines).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        @override
        def log_message(self, *_arguments: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()
            thread.join()


def test_etcd_history_reads_every_revision_in_order() -> None:
    """Puts, changes and deletions come as they were, up to the newest."""
    good, bad = {"replicas": 1}, {"replicas": 9}
    batches = (
        {"created": True},
        {"events": [change(2, good), change(3, bad)]},
        {"events": [change(4, None), change(5, good), change(9, bad)]},
    )

    with etcd(5, *batches) as (url, asked):
        found = etcd_history(url, PREFIX)

    states = [(2, good), (3, bad), (4, None), (5, good)]
    assert found == [Revision(PREFIX + "web", number, value) for number, value in states]
    assert asked[1]["create_request"]["start_revision"] == "1"
    assert asked[1]["create_request"]["range_end"] == encoded(PREFIX[:-1] + "0")


def test_etcd_history_of_nothing_is_empty() -> None:
    """Where there is no key no watch is begun: it would never end."""
    with etcd(0) as (url, asked):
        assert etcd_history(url, PREFIX) == []

    assert len(asked) == 1


def test_etcd_history_refuses_a_compacted_store() -> None:
    """A history with its beginning cut off would acquit: the judge has none then."""
    cancelled = {"canceled": True, "compact_revision": "3"}

    with etcd(5, cancelled) as (url, _), pytest.raises(OSError, match="cancelled the watch"):
        etcd_history(url, PREFIX)


def test_etcd_history_refuses_an_end_that_comes_early() -> None:
    """A history without its newest revisions is none."""
    with (
        etcd(5, {"events": [change(4, {})]}) as (url, _),
        pytest.raises(OSError, match="ended the watch before revision 5"),
    ):
        etcd_history(url, PREFIX)


def test_audit_events_leaves_out_lines_that_were_cut(tmp_path: Path) -> None:
    """A killed API server leaves half a line, and its successor writes on behind it."""
    log = tmp_path / "audit.log"
    log.write_bytes(b'{"auditID":"1"}\n{"auditID":"2","ver{"auditID":"3"}\n{"auditID":"4"}\n{"au')

    assert [event["auditID"] for event in audit_events(log)] == ["1", "4"]
