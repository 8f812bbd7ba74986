"""Follows one resource of the API server: list, watch, resume, and list again where it must.

Modelled on client-go's reflector (KEP-956 bookmarks, KEP-3157 WatchList).
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from enum import Enum, StrEnum, auto
from random import Random, SystemRandom
from typing import Final, Protocol, assert_never

import msgspec

from lictor.errors import (
    ApiError,
    ExpiredError,
    ForbiddenError,
    InputError,
    InvalidError,
    LictorError,
    ObjectNotFoundError,
    ThrottledError,
    UnavailableError,
)
from lictor.kube.client import KubeClient
from lictor.kube.errors import SILENT, read_status, status_error
from lictor.kube.framing import ByteStream, lines
from lictor.kube.listing import CONSISTENT, FROM_CACHE, Listing, list_all
from lictor.kube.paths import collection_path
from lictor.kube.store import Entry, Place
from lictor.model.document import Document
from lictor.model.names import Gvk, Gvr
from lictor.telemetry import metrics
from lictor.telemetry.logs import logger

_INITIAL_END: Final = "k8s.io/initial-events-end"
_BREATH: Final = 100
"""Events between two turns of the event loop: a burst must not hold up everything else."""

_FAILURES: Final = 8
"""Answers of 5xx in a row before everything is listed anew: 2 to 4 minutes of backoff."""

_LOG = logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How patient a reflector is.

    Attributes:
        silence_seconds: a connection that brings nothing for so long is dead; the API server sends
            a bookmark about every minute.
        watch_seconds: client-go spreads the ends of its watches over this range.
        backoff_seconds: first and longest wait after a failure, doubled in between (client-go).
        healthy_seconds: what lasted longer resets the wait (client-go).
        short_seconds: a watch that ends sooner, without an event, is a failure (client-go).
        relist_seconds: everything is listed anew after this, give or take a tenth, since a resumed
            watch does not repair what was missed.
        refused_seconds: so long the API server may refuse us before the first list counts as
            failed; right after its own start it refuses everybody.
    """

    silence_seconds: float = 70.0
    watch_seconds: tuple[int, int] = (300, 600)
    backoff_seconds: tuple[float, float] = (0.8, 30.0)
    healthy_seconds: float = 120.0
    short_seconds: float = 1.0
    relist_seconds: float = 3600.0
    refused_seconds: float = 30.0


class Sink(Protocol):
    """What a reflector keeps in step."""

    def replace(self, listing: Listing) -> None:
        """Take everything that there is."""
        ...

    def put(self, document: Document) -> None:
        """Take one object that came or changed."""
        ...

    def remove(self, document: Document) -> None:
        """Forget one object; `document` is its last state."""
        ...

    def refuse(self, error: LictorError) -> None:
        """Learn that the API server has refused us for too long."""
        ...


class _Next(Enum):
    """How to go on."""

    WATCH = auto()
    """From the last resourceVersion."""
    WATCH_LIST = auto()
    """List within the watch."""
    LIST = auto()
    """List page by page, then watch."""


class _Reason(StrEnum):
    """Why a watch ended: a label of a metric."""

    ENDED = "ended"
    EXPIRED = "expired"
    THROTTLED = "throttled"
    REFUSED = "refused"
    INVALID = "invalid"
    SILENT = "silent"
    UNAVAILABLE = "unavailable"


class _Event(msgspec.Struct, frozen=True):
    type: str
    object: msgspec.Raw


_EVENTS: Final = msgspec.json.Decoder(_Event)


class _Backoff:
    def __init__(self, pace: Pace, random: Random) -> None:
        self._pace = pace
        self._random = random
        self._wait = 0.0

    def after(self, *, lasted: float) -> float:
        """Return how long to wait after a failure, with client-go's jitter of 1.0."""
        first, longest = self._pace.backoff_seconds
        if lasted > self._pace.healthy_seconds:
            self._wait = 0.0
        self._wait = min(longest, 2 * self._wait) if self._wait else first
        return self._wait * (1 + self._random.random())


class Reflector:
    """Feeds a sink for as long as `run` runs."""

    def __init__(
        self,
        client: KubeClient,
        resource: Gvr,
        *,
        kind: Gvk,
        sink: Sink,
        pace: Pace,
        random: Random | None = None,
    ) -> None:
        """Follow nothing yet.

        Args:
            client: whose identity may list and watch the resource.
            resource: in all namespaces.
            kind: list items do not say their kind themselves.
            sink: what is fed; its methods must neither block nor raise.
            pace: how patient to be.
            random: spreads the ends of watches and the waits.
        """
        self._client = client
        self._resource = resource
        self._kind = kind
        self._sink = sink
        self._pace = pace
        self._random = random or SystemRandom()
        self._next = _Next.WATCH_LIST
        self._knows_watch_list = True
        self._version = ""
        self._list_version = FROM_CACHE
        self._listed_at = 0.0
        self._relist_at = 0.0
        self._refused_since: float | None = None
        self._failures = 0

    @property
    def current(self) -> bool:
        """Whether everything was listed, and no list is due that a failure has made necessary."""
        return bool(self._version)

    async def run(self) -> None:
        """Follow until cancelled; every failure is counted and waited out."""
        backoff = _Backoff(self._pace, self._random)
        while True:
            began = _now()
            try:
                await self._pass()
            except (ApiError, InputError) as err:
                wait = backoff.after(lasted=_now() - began)
                await asyncio.sleep(self._after(err, wait))

    async def _pass(self) -> None:
        """List where that is due, and follow one watch to its end.

        Raises:
            ApiError: the list or the watch failed.
            InputError: an event cannot be read.
        """
        if self._next is _Next.WATCH and _now() >= self._relist_at:
            self._next = self._first_choice()
        if self._next is _Next.LIST:
            listing = await list_all(
                self._client, self._resource, self._kind, version=self._list_version
            )
            self._replace(listing)
        began, seen = _now(), 0
        async with (
            self._client.stream(
                collection_path(self._resource),
                query=self._query(),
                silence_seconds=self._pace.silence_seconds,
            ) as stream,
            aclosing(self._events(stream)) as events,
        ):
            if self._next is _Next.WATCH_LIST:
                await self._initial(events)
            seen = await self._follow(events)
        self._count(_Reason.ENDED)
        self._failures = 0
        if not seen and _now() - began < self._pace.short_seconds:
            raise UnavailableError(f"the watch of {self._resource.resource} was very short")

    def _query(self) -> dict[str, str]:
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(self._random.randint(*self._pace.watch_seconds)),
        }
        if self._next is _Next.WATCH_LIST:
            return query | {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}
        return query | {"resourceVersion": self._version}

    async def _events(self, stream: ByteStream) -> AsyncGenerator[_Event, None]:
        async with aclosing(lines(stream)) as incoming:
            async for line in incoming:
                try:
                    event = _EVENTS.decode(line)
                except (msgspec.DecodeError, UnicodeDecodeError) as err:
                    raise InputError(f"an event of {self._resource.resource}: {err}") from err
                if event.type == "ERROR":
                    raise self._error(bytes(event.object))
                yield event

    def _error(self, body: bytes) -> ApiError:
        """Return what a Status within the watch stands for; it is not an object."""
        status, what = read_status(body), f"watch of {self._resource.resource}"
        gone = status.reason in {"Expired", "Gone"}
        return status_error(410 if gone else status.code or 500, body, what=what)

    async def _initial(self, events: AsyncGenerator[_Event, None]) -> None:
        """Collect until the server says that all was sent, then take everything at once.

        Until then no resourceVersion is kept: these events are not in the order of versions.
        """
        fresh: dict[Place, Entry] = {}
        async for event in events:
            document = Document(bytes(event.object))
            if event.type == "BOOKMARK":
                notes = document.meta.annotations or {}
                if notes.get(_INITIAL_END) == "true":
                    self._replace(Listing(entries=fresh, version=document.resource_version))
                    return
            elif event.type == "DELETED":
                fresh.pop((document.meta.namespace, document.meta.name), None)
            else:
                fresh[document.meta.namespace, document.meta.name] = Entry.of(document)
            if len(fresh) % _BREATH == 0:
                await asyncio.sleep(0)
        raise UnavailableError(f"the watch of {self._resource.resource} ended before its list")

    async def _follow(self, events: AsyncGenerator[_Event, None]) -> int:
        """Apply what comes; return how many events came, bookmarks included."""
        seen = 0
        async for event in events:
            document = Document(bytes(event.object))
            match event.type:
                case "ADDED" | "MODIFIED":
                    self._sink.put(document)
                case "DELETED":
                    self._sink.remove(document)
                case _:
                    pass  # a bookmark, or a type to come, which changes nothing that we know
            self._version = document.resource_version or self._version
            seen += 1
            if seen % _BREATH == 0:
                await asyncio.sleep(0)
        return seen

    def _replace(self, listing: Listing) -> None:
        self._sink.replace(listing)
        self._version = listing.version
        self._list_version = listing.version
        self._next = _Next.WATCH
        self._refused_since = None
        self._failures = 0
        spread = 0.9 + 0.2 * self._random.random()
        self._listed_at = _now()
        self._relist_at = self._listed_at + spread * self._pace.relist_seconds

    def _after(self, error: ApiError | InputError, wait: float) -> float:
        """Choose how to go on after a failure, and return how long to wait first."""
        reason = _reason(error)
        self._count(reason, error)
        match reason:
            case _Reason.EXPIRED:
                # At once, as after each restart of an API server; but not round and round.
                long_ago = _now() - self._listed_at > self._pace.backoff_seconds[1]
                wait = 0.0 if self._version and long_ago else wait
                self._list_anew(version=CONSISTENT)
            case _Reason.SILENT:
                return self._after_silence(wait)
            case _Reason.REFUSED:
                self._list_anew(version=FROM_CACHE)
                self._refused(error)
            case _Reason.INVALID:
                # A server without WatchList refuses its parameters. An event that cannot be read
                # is listed over: the list leaves out what cannot be read, and says so.
                initial = self._next is _Next.WATCH_LIST
                self._knows_watch_list &= not (initial and isinstance(error, InvalidError))
                self._list_anew(version=CONSISTENT, classic=True)
            case _Reason.UNAVAILABLE:
                self._after_answer(error)
            case _Reason.THROTTLED:
                # The watch goes on from where it was: to list would only add to the load.
                return max(wait, getattr(error, "retry_after_seconds", 0.0))
            case _Reason.ENDED:
                pass
            case _:
                assert_never(reason)
        return wait

    def _after_silence(self, wait: float) -> float:
        if self._next is not _Next.WATCH_LIST:
            return 0.0  # the silence was wait enough
        # It ignores the parameters of WatchList, and will never say that its list is complete.
        self._next = _Next.LIST
        return wait

    def _after_answer(self, error: ApiError | InputError) -> None:
        """Go on from where it was, where nothing but the server's own trouble stood in the way."""
        if not getattr(error, "code", 0):
            return  # there was no answer: nothing was wrong with the question
        self._failures += 1
        if self._next is _Next.LIST:
            self._list_version = CONSISTENT  # the version may be one that the server never had
        elif self._next is _Next.WATCH_LIST:
            self._next = _Next.LIST
        elif self._failures >= _FAILURES:
            self._list_anew(version=CONSISTENT)

    def _list_anew(self, *, version: str, classic: bool = False) -> None:
        self._version = ""
        self._list_version = version
        self._next = _Next.LIST if classic else self._first_choice()

    def _first_choice(self) -> _Next:
        return _Next.WATCH_LIST if self._knows_watch_list else _Next.LIST

    def _refused(self, error: ApiError | InputError) -> None:
        now = _now()
        self._refused_since = now if self._refused_since is None else self._refused_since
        if now - self._refused_since >= self._pace.refused_seconds:
            self._sink.refuse(error)

    def _count(self, reason: _Reason, error: ApiError | InputError | None = None) -> None:
        name = self._resource.resource
        metrics.WATCH_RESTARTS.labels(kind=name, reason=reason.value).inc()
        if error is not None:
            _LOG.warning("watch.failed", resource=name, reason=reason.value, error=str(error))


def _now() -> float:
    # The loop's own clock: what waits on it and what measures it then agree, in tests too.
    return asyncio.get_running_loop().time()


def _reason(error: ApiError | InputError) -> _Reason:
    match error:
        case ExpiredError():
            return _Reason.EXPIRED
        case ThrottledError():
            return _Reason.THROTTLED
        case ForbiddenError() | ObjectNotFoundError():
            return _Reason.REFUSED
        case InvalidError() | InputError():
            return _Reason.INVALID
        case _:
            return _Reason.SILENT if error.reason == SILENT else _Reason.UNAVAILABLE
