"""The client of an API server that answers lists and watches as a script says."""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, TypeAlias

from typing_extensions import override

from lictor.errors import ApiError, UnavailableError
from lictor.kube.client import JSON, KubeClient, WatchStream
from lictor.kube.errors import SILENT

Step: TypeAlias = bytes | float | ApiError
"""Of a watch: bytes that come, seconds that pass, or how the connection breaks."""

HANG: Final = float("inf")


class ScriptedApi(KubeClient):
    """Gives the answers of `lists` and `watches` in order; when a script ends, it hangs.

    Attributes:
        queries: of all requests and watches, in order, each with `at`, the time of the loop.
    """

    def __init__(
        self,
        *,
        lists: Sequence[bytes | ApiError] = (),
        watches: Sequence[Sequence[Step] | ApiError] = (),
    ) -> None:
        """Take the script. A watch whose steps end is closed in order by the server."""
        self.queries: list[dict[str, Any]] = []
        self._lists = deque(lists)
        self._plays = deque(watches)

    @property
    def watches(self) -> list[dict[str, Any]]:
        """The queries of all watches so far."""
        return [query for query in self.queries if "watch" in query]

    @property
    def lists(self) -> list[dict[str, Any]]:
        """The queries of all lists so far."""
        return [query for query in self.queries if "watch" not in query]

    @override
    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
        content_type: str = JSON,
        timeout_seconds: float | None = None,
    ) -> bytes:
        """Answer with the next of `lists`."""
        self._note(query or {})
        if not self._lists:
            await asyncio.Event().wait()
        answer = self._lists.popleft()
        if isinstance(answer, ApiError):
            raise answer
        return answer

    @override
    @asynccontextmanager
    async def stream(
        self, path: str, *, query: Mapping[str, str], silence_seconds: float
    ) -> AsyncIterator[WatchStream]:
        """Play the next of `watches`."""
        self._note(query)
        steps = self._plays.popleft() if self._plays else (HANG,)
        if isinstance(steps, ApiError):
            raise steps
        yield _Played(steps, silence_seconds=silence_seconds)

    def _note(self, query: Mapping[str, str]) -> None:
        self.queries.append({**query, "at": asyncio.get_running_loop().time()})


class _Played(WatchStream):
    def __init__(self, steps: Sequence[Step], *, silence_seconds: float) -> None:
        self._steps = deque(steps)
        self._silence = silence_seconds

    @override
    async def readany(self) -> bytes:
        while self._steps:
            step = self._steps.popleft()
            if isinstance(step, ApiError):
                raise step
            if isinstance(step, bytes):
                return step
            await asyncio.sleep(min(step, self._silence))
            if step > self._silence:
                raise UnavailableError("silent", reason=SILENT)
        return b""


def event(kind: str, item: Mapping[str, Any]) -> bytes:
    """Return one line of a watch."""
    return json.dumps({"type": kind, "object": item}).encode() + b"\n"


def bookmark(version: str, *, initial_end: bool = False) -> bytes:
    """Return a bookmark; the one that ends the initial events says so."""
    metadata: dict[str, Any] = {"resourceVersion": version}
    if initial_end:
        metadata["annotations"] = {"k8s.io/initial-events-end": "true"}
    return event("BOOKMARK", {"kind": "ConfigMap", "apiVersion": "v1", "metadata": metadata})


def failure(code: int, reason: str) -> bytes:
    """Return the in-stream ERROR with this Status."""
    return event(
        "ERROR", {"kind": "Status", "code": code, "reason": reason, "message": "simulated"}
    )


def listing(*items: Mapping[str, Any], version: str, token: str = "") -> bytes:
    """Return the answer to a list; items lack their kind, as they do on an API server."""
    bare = [{k: v for k, v in one.items() if k not in ("apiVersion", "kind")} for one in items]
    metadata = {"resourceVersion": version} | ({"continue": token} if token else {})
    return json.dumps({"kind": "ConfigMapList", "metadata": metadata, "items": bare}).encode()
