"""Keeps the objects of one resource in step with the API server.

Modelled on client-go's reflector: list or WatchList, then watch with bookmarks, resume from the
last resourceVersion, and list again when that has expired (KEP-3157, KEP-956).
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from random import Random, SystemRandom
from typing import Final

import msgspec
from typing_extensions import override

from lictor.errors import (
    ApiError,
    ExpiredError,
    ForbiddenError,
    InputError,
    InvalidError,
    ObjectNotFoundError,
    ThrottledError,
    UnavailableError,
)
from lictor.kube.client import KubeClient
from lictor.kube.errors import Status, status_error
from lictor.kube.framing import ByteStream, lines
from lictor.kube.listing import list_all
from lictor.kube.paths import collection_path
from lictor.kube.store import Entry, Store
from lictor.model.document import Document
from lictor.model.names import Gvk, Gvr, ObjectKey, Uid
from lictor.ports.object_cache import ObjectCache, UnjudgedStates
from lictor.telemetry import metrics
from lictor.telemetry.logs import logger

SILENCE_SECONDS: Final = 70.0
"""The API server sends a bookmark about every minute: longer silence is a dead connection."""

WATCH_SECONDS: Final = (300, 600)
"""client-go spreads the end of its watches over this range."""

BACKOFF_SECONDS: Final = (0.8, 30.0)
"""client-go's reflector: doubled from the first to the second."""

HEALTHY_SECONDS: Final = 120.0
"""A watch that lasted longer resets the backoff."""

SHORT_WATCH_SECONDS: Final = 1.0
"""A watch that ends earlier, without an event, counts as an error."""

_LOG = logger(__name__)


class _Event(msgspec.Struct, frozen=True):
    type: str
    object: msgspec.Raw


_EVENTS: Final = msgspec.json.Decoder(_Event)
_INITIAL_END: Final = "k8s.io/initial-events-end"


class Informer(ObjectCache, UnjudgedStates):
    """A cache that `run` keeps in step; everything else may be called at any time."""

    def __init__(
        self,
        client: KubeClient,
        resource: Gvr,
        kind: Gvk,
        *,
        keep_overtaken: bool = False,
        random: Random | None = None,
    ) -> None:
        """Watch nothing yet.

        Args:
            client: whose identity may list and watch the resource.
            resource: in all namespaces.
            kind: list items do not say their kind themselves.
            keep_overtaken: keep states for `take`, for resources whose objects are judged.
            random: spreads the ends of watches and the waits.
        """
        self._client = client
        self._resource = resource
        self._kind = kind
        self._store = Store(resource, keep_overtaken=keep_overtaken)
        self._random = random or SystemRandom()
        self._subscribers: list[Callable[[ObjectKey], None]] = []
        self._version = ""
        self._synced = asyncio.Event()
        self._watch_list = True

    @property
    @override
    def resource(self) -> Gvr:
        return self._resource

    @property
    def kind(self) -> Gvk:
        """The kind of the objects."""
        return self._kind

    @override
    def synced(self) -> bool:
        return self._synced.is_set() and bool(self._version)

    async def wait_synced(self) -> None:
        """Wait until the first list is complete."""
        await self._synced.wait()

    @override
    def subscribe(self, notify: Callable[[ObjectKey], None]) -> None:
        self._subscribers.append(notify)

    @override
    def latest(self, key: ObjectKey) -> Document | None:
        entry = self._store.get(key)
        return entry.document() if entry else None

    @override
    def keys(self) -> Sequence[ObjectKey]:
        return self._store.keys()

    @override
    def take(self, key: ObjectKey, uid: Uid) -> Sequence[Document]:
        return self._store.take(key, uid)

    async def run(self) -> None:
        """Keep in step until cancelled; every error is waited out."""
        wait = BACKOFF_SECONDS[0]
        while True:
            began = time.monotonic()
            try:
                await self._pass()
                continue
            except ExpiredError:
                self._version = ""
                self._note("expired")
                continue
            except ThrottledError as err:
                self._note("throttled")
                await asyncio.sleep(err.retry_after_seconds)
                continue
            except (ApiError, InputError) as err:
                self._note(type(err).__name__)
                _LOG.warning("watch failed", gvk=self._resource.resource, error=str(err))
                self._after(err)
            if time.monotonic() - began > HEALTHY_SECONDS:
                wait = BACKOFF_SECONDS[0]
            await asyncio.sleep(wait * (1 + self._random.random()))
            wait = min(2 * wait, BACKOFF_SECONDS[1])

    def _after(self, err: Exception) -> None:
        """Choose how to go on: an event that cannot be read can't be skipped, only listed over."""
        if isinstance(err, InputError):
            self._version = ""
            self._watch_list = False
        elif isinstance(err, (ForbiddenError, ObjectNotFoundError)):
            self._version = ""

    async def _pass(self) -> None:
        """List where nothing is known, and follow one watch to its end.

        Raises:
            ApiError: the list or the watch failed.
            InputError: an event cannot be read.
        """
        if not self._version and not self._watch_list:
            fresh, version = await list_all(self._client, self._resource, self._kind)
            self._replace(fresh, version)
        initial = not self._version
        began, before = time.monotonic(), self._version
        path = collection_path(self._resource)
        try:
            async with self._client.stream(path, query=self._query(initial=initial)) as stream:
                events = self._events(stream)
                if initial:
                    await self._initial(events)
                async for event in events:
                    self._apply(event)
        except InvalidError:
            if not initial:
                raise
            self._watch_list = False  # a server without WatchList refuses `sendInitialEvents`
            return
        self._note("ended")
        if self._version == before and time.monotonic() - began < SHORT_WATCH_SECONDS:
            raise UnavailableError(f"a very short watch of {self._resource.resource}")

    def _query(self, *, initial: bool) -> dict[str, str]:
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(self._random.randint(*WATCH_SECONDS)),
        }
        if initial:
            return query | {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}
        return query | {"resourceVersion": self._version}

    async def _events(self, stream: ByteStream) -> AsyncIterator[_Event]:
        """Yield the events of a watch.

        Raises:
            ApiError: the server ended the watch with a Status.
            TimeoutError: nothing came for too long.
            InputError: a line is not an event, or too long.
        """
        incoming = lines(stream)
        while True:
            async with asyncio.timeout(SILENCE_SECONDS):
                line = await anext(incoming, None)
            if line is None:
                return
            try:
                event = _EVENTS.decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError) as err:
                raise InputError(f"an event of {self._resource.resource}: {err}") from err
            if event.type == "ERROR":
                raise self._error(bytes(event.object))
            yield event

    def _error(self, body: bytes) -> ApiError:
        """Return what an in-stream Status stands for; it is not an object."""
        status = msgspec.json.decode(body, type=Status)
        what = f"watch of {self._resource.resource}"
        if status.reason in {"Expired", "Gone"}:
            return ExpiredError(f"{what}: {status.message}", code=410, reason=status.reason)
        return status_error(status.code or 500, body, what=what)

    async def _initial(self, events: AsyncIterator[_Event]) -> None:
        """Collect until the server says that all was sent, then take everything at once."""
        fresh: dict[tuple[str, str], Entry] = {}
        async for event in events:
            document = Document(bytes(event.object))
            if event.type == "BOOKMARK":
                notes = document.meta.annotations or {}
                if notes.get(_INITIAL_END) == "true":
                    self._replace(fresh, document.resource_version)
                    return
            elif event.type == "DELETED":
                fresh.pop(_place(document), None)
            else:
                fresh[_place(document)] = Entry.of(document)
        raise UnavailableError(f"the watch of {self._resource.resource} ended before its list")

    def _apply(self, event: _Event) -> None:
        document = Document(bytes(event.object))
        match event.type:
            case "ADDED" | "MODIFIED":
                self._tell(self._store.put(_place(document), Entry.of(document)))
            case "DELETED":
                self._tell(self._store.remove(_place(document), document.uid))
            case _:
                pass  # a bookmark; types to come change nothing that is known here
        self._version = document.resource_version or self._version

    def _replace(self, fresh: Mapping[tuple[str, str], Entry], version: str) -> None:
        changed = self._store.replace(fresh)
        self._version = version
        self._synced.set()
        for key in changed:
            self._tell(key)

    def _tell(self, key: ObjectKey) -> None:
        for notify in self._subscribers:
            notify(key)

    def _note(self, reason: str) -> None:
        metrics.WATCH_RESTARTS.labels(kind=self._resource.resource, reason=reason).inc()


def _place(document: Document) -> tuple[str, str]:
    return document.meta.namespace, document.meta.name
