"""What really happened: every revision that etcd holds, and the API server's own audit log.

Both are written by others than the programs under test, so they can judge them.
"""

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

_TIMEOUT_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Revision:
    """One change of one key; `value` is None where the key was deleted."""

    key: str
    revision: int
    value: dict[str, Any] | None


def etcd_history(etcd_url: str, prefix: str) -> list[Revision]:
    """Read every revision of every key below `prefix`, oldest first.

    The API server must store JSON (`--storage-media-type=application/json`) and nothing may have
    compacted the store.

    Raises:
        OSError: etcd cannot be reached, or ends the stream early.
    """
    connection = HTTPConnection(urlsplit(etcd_url).netloc, timeout=_TIMEOUT_SECONDS)
    try:
        newest = _current_revision(connection, prefix)
        if newest == 0:
            return []
        return list(_watch(connection, prefix, newest=newest))
    finally:
        connection.close()


def _current_revision(connection: HTTPConnection, prefix: str) -> int:
    """Return the newest revision of any key below `prefix`, deletions not counted."""
    body = _range(prefix) | {
        "sort_target": "MOD",
        "sort_order": "DESCEND",
        "limit": "1",
        "keys_only": True,
    }
    connection.request("POST", "/v3/kv/range", json.dumps(body))
    found = json.loads(connection.getresponse().read()).get("kvs", [])
    return int(found[0]["mod_revision"]) if found else 0


def _watch(connection: HTTPConnection, prefix: str, *, newest: int) -> Iterator[Revision]:
    create = _range(prefix) | {"start_revision": "1"}
    connection.request("POST", "/v3/watch", json.dumps({"create_request": create}))
    response = connection.getresponse()
    while line := response.readline():
        message = json.loads(line)["result"]
        if message.get("canceled"):
            raise OSError(f"etcd cancelled the watch: {message}")
        for event in message.get("events", []):
            yield _revision(event)
            if int(event["kv"]["mod_revision"]) >= newest:
                return
    raise OSError(f"etcd ended the watch before revision {newest}")


def _revision(event: dict[str, Any]) -> Revision:
    item = event["kv"]
    key = base64.b64decode(item["key"]).decode()
    gone = event.get("type") == "DELETE"
    value = None if gone else json.loads(base64.b64decode(item["value"]))
    return Revision(key, int(item["mod_revision"]), value)


def _range(prefix: str) -> dict[str, Any]:
    """Return the range of all keys that begin with `prefix`, as etcd's API spells it."""
    end = prefix[:-1] + chr(ord(prefix[-1]) + 1)
    return {
        "key": base64.b64encode(prefix.encode()).decode(),
        "range_end": base64.b64encode(end.encode()).decode(),
    }


def audit_events(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the `audit.k8s.io/v1` events of a log.

    A line that a killed API server left cut short, also where its successor went on writing
    behind it, is no event.
    """
    with path.open("rb") as lines:
        for line in lines:
            try:
                yield json.loads(line)
            except ValueError:
                continue
