"""Writes Events (events.k8s.io/v1)."""

import re
from typing import Final

import msgspec
from typing_extensions import override

from lictor.kube.client import KubeClient
from lictor.kube.paths import collection_path
from lictor.model.names import Gvr
from lictor.ports.clock import Clock
from lictor.ports.event_writer import EventWriter, Notice

EVENTS: Final = Gvr("events.k8s.io", "v1", "events")
FIELD_MANAGER: Final = "lictor-enforcer"
CONTROLLER: Final = "lictor.dev/enforcer"
NOTE_BYTES: Final = 1024
"""`note` of an Event (events.k8s.io/v1)."""

_STEM_CHARACTERS: Final = 200
_OUTSIDE: Final = re.compile(r"[^a-z0-9.-]")
_EDGES: Final = re.compile(r"-*\.[.-]*")


class ApiEventWriter(EventWriter):
    """Creates one Event a notice; who calls it decides how often."""

    def __init__(self, client: KubeClient, *, instance: str, clock: Clock) -> None:
        """Take a client; `instance` is this process in `reportingInstance`."""
        self._client = client
        self._instance = instance
        self._clock = clock

    @override
    async def emit(self, notice: Notice) -> None:
        key = notice.about.key
        namespace = key.namespace or "default"
        body = {
            "apiVersion": EVENTS.api_version,
            "kind": "Event",
            "metadata": {"generateName": f"{_stem(key.name)}-", "namespace": namespace},
            "eventTime": self._clock.now()
            .isoformat(timespec="microseconds")
            .replace("+00:00", "Z"),
            "reportingController": CONTROLLER,
            "reportingInstance": self._instance[:128],
            "type": "Warning" if notice.warning else "Normal",
            "reason": notice.reason[:128],
            "action": notice.action[:128],
            "note": cut(notice.note),
            "regarding": {
                "apiVersion": notice.about.kind.api_version,
                "kind": notice.about.kind.kind,
                "namespace": key.namespace,
                "name": key.name,
                "uid": notice.about.uid,
            },
        }
        await self._client.request(
            "POST",
            collection_path(EVENTS, namespace),
            query={"fieldManager": FIELD_MANAGER},
            body=msgspec.json.encode(body),
        )


def _stem(name: str) -> str:
    """Return a name that an Event may begin with; names in RBAC have colons and capitals."""
    stem = _OUTSIDE.sub("-", name[:_STEM_CHARACTERS].lower()).strip("-.")
    # A label of a DNS subdomain ends and begins with a letter or a digit.
    return _EDGES.sub(".", stem) or "object"


def cut(note: str) -> str:
    """Return a note that fits, with an ellipsis where something was cut."""
    data = note.encode()
    if len(data) <= NOTE_BYTES:
        return note
    ellipsis = "…"
    return data[: NOTE_BYTES - len(ellipsis.encode())].decode(errors="ignore") + ellipsis
