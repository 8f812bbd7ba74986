"""The webhook server: HTTP over TLS, bounded in everything that a client can make it hold.

Under `failurePolicy: Ignore` a connection that is cut admits. So the limits stand here on purpose:
aiohttp would refuse bodies beyond 1 MiB with a bare 413, and close idle connections after a time
that Go's client (90 s) outlasts.
"""

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from aiohttp import web
from typing_extensions import override

from admission.body import BodyReader, Budget
from admission.connections import Connections
from admission.parse import Fault, MalformedReviewError
from admission.review import Call, Gate, Reply
from lictor.model.request import Phase
from lictor.ports.clock import Clock
from lictor.telemetry import metrics

MAX_CONNECTIONS: Final = 1024
"""kube-apiserver keeps at most 25 idle ones a host; each of ours costs about 50 KB of TLS state."""

_BACKLOG: Final = 512
_HANDSHAKE_SECONDS: Final = 10.0
_LINGER_SECONDS: Final = 10.0
"""How long the rest of a refused body is read and thrown away."""

_CUT_SECONDS: Final = 0.1
"""How long what has outlasted the draining may still take."""

_LINE_BYTES: Final = 8190
_HEADERS: Final = 64
_MARGIN_SECONDS: Final = 0.5
"""kube-apiserver rounds `timeout` up to whole seconds, and the answer has a way to go."""

_MAX_TIMEOUT_SECONDS: Final = 30.0
"""The longest `timeoutSeconds` of a webhook."""

_DURATION: Final = re.compile(r"(?:(\d{1,3})m)?(?:(\d{1,5}(?:\.\d{1,9})?)s)?", re.ASCII)
_PHASES: Final = {"validate": Phase.VALIDATE, "mutate": Phase.MUTATE}

Problems = Callable[[], Sequence[str]]
"""Says, one line each, why the gate is not ready; empty where it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the server holds at most, and for how long."""

    review_bytes: int
    in_flight_bytes: int
    keepalive_seconds: float
    connections: int = MAX_CONNECTIONS


class GateServer:
    """Serves reviews, `/healthz` and `/readyz`."""

    def __init__(
        self,
        gate: Gate,
        problems: Problems,
        *,
        limits: Limits,
        timeouts: Mapping[str, float],
        clock: Clock,
    ) -> None:
        """Take what answers, what says why not, and by failure class the default timeout."""
        self._gate = gate
        self._problems = problems
        self._limits = limits
        self._timeouts = timeouts
        self._clock = clock
        self._budget = Budget(limits.in_flight_bytes)
        self._connections = Connections()
        self._reviews = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._draining = False

    @asynccontextmanager
    async def listen(
        self, host: str, port: int, *, context: ssl.SSLContext, drain_seconds: float
    ) -> AsyncIterator[int]:
        """Serve while the context lasts; gives the port that is bound.

        At the end nobody is accepted any more, and what has begun is answered.

        Raises:
            OSError: the address cannot be bound.
        """
        web_server = web.Server(
            self._handle,
            access_log=None,
            keepalive_timeout=self._limits.keepalive_seconds,
            lingering_time=_LINGER_SECONDS,
            max_line_size=_LINE_BYTES,
            max_field_size=_LINE_BYTES,
            max_headers=_HEADERS,
            # The API server sends plain JSON; unpacking would let a small body grow without limit.
            auto_decompress=False,
        )
        loop = asyncio.get_running_loop()
        listener = await loop.create_server(
            lambda: self._protocol(web_server),
            host,
            port,
            ssl=context,
            backlog=_BACKLOG,
            reuse_address=True,
            ssl_handshake_timeout=_HANDSHAKE_SECONDS,
        )
        try:
            yield int(listener.sockets[0].getsockname()[1])
        finally:
            listener.close()
            await self._finish(web_server, drain_seconds=drain_seconds)

    def drain(self) -> None:
        """Close each connection with its next answer, so that clients turn to other replicas."""
        self._draining = True

    async def _finish(self, web_server: web.Server, *, drain_seconds: float) -> None:
        self.drain()
        try:
            async with asyncio.timeout(drain_seconds):
                await self._idle.wait()
        except TimeoutError:
            metrics.LIMIT_HITS.labels(limit="gate_drain_seconds").inc()
        web_server.pre_shutdown()
        await web_server.shutdown(_CUT_SECONDS)

    def _protocol(self, web_server: web.Server) -> asyncio.BaseProtocol:
        held = web_server.connections
        self._connections.forget_closed(held)
        if len(held) >= self._limits.connections:
            metrics.LIMIT_HITS.labels(limit="gate_connections").inc()
            spare = self._connections.spare(held)
            if spare is None:
                return _Refused()
            spare.force_close()
        return web_server()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        with self._connections.work(request.protocol):
            return await self._route(request)

    async def _route(self, request: web.BaseRequest) -> web.StreamResponse:
        match request.path.split("/"):
            case ["", "healthz"]:
                return web.Response(text="ok\n")
            case ["", "readyz"]:
                return self._ready()
            case ["", "v1", word, failure_class] if word in _PHASES:
                if request.method != "POST":
                    return web.Response(status=405, headers={"Allow": "POST"})
                return await self._review(request, _PHASES[word], failure_class)
        return web.Response(status=404)

    def _ready(self) -> web.Response:
        problems = ("draining",) if self._draining else self._problems()
        text = "".join(f"{line}\n" for line in problems) or "ok\n"
        return web.Response(status=503 if problems else 200, text=text)

    async def _review(
        self, request: web.BaseRequest, phase: Phase, failure_class: str
    ) -> web.StreamResponse:
        self._reviews += 1
        self._idle.clear()
        try:
            reply, whole = await self._answer(request, phase, failure_class)
        finally:
            self._reviews -= 1
            if not self._reviews:
                self._idle.set()
        # The API server shows what it does not understand to the user only where it is text.
        kind = "application/json" if reply.status == HTTPStatus.OK else "text/plain"
        response = web.Response(status=reply.status, body=reply.body, content_type=kind)
        if self._draining or not whole:
            response.force_close()
        return response

    async def _answer(
        self, request: web.BaseRequest, phase: Phase, failure_class: str
    ) -> tuple[Reply, bool]:
        """Return the reply, and whether the body was read to its end."""
        default = self._timeouts.get(failure_class, _MAX_TIMEOUT_SECONDS)
        call = Call(
            phase=phase,
            failure_class=failure_class,
            started=self._clock.monotonic(),
            timeout_seconds=budget_of(request.query.get("timeout", ""), default=default),
        )
        with self._budget.share() as share:
            reader = BodyReader(
                share, length=request.content_length, limit=self._limits.review_bytes
            )
            try:
                body = await reader.read(request.content, timeout_seconds=call.timeout_seconds)
            except MalformedReviewError as error:
                return await self._gate.refuse(error, call, bytes_read=reader.size), False
            if failure_class not in self._timeouts:
                unknown = _unknown_class(failure_class, reader)
                return await self._gate.refuse(unknown, call, bytes_read=reader.size), True
            return await self._gate.judge(body, call), True


class _Refused(asyncio.Protocol):
    """One connection more than we hold, while all of them are at work."""

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


def _unknown_class(failure_class: str, reader: BodyReader) -> MalformedReviewError:
    return MalformedReviewError(
        f"no failure class {failure_class[:64]!r} is configured at this gate",
        fault=Fault.UNKNOWN_CLASS,
        uid=reader.uid(),
    )


def budget_of(text: str, *, default: float) -> float:
    """Return how many seconds we have, from the webhook's `timeout` (a Go duration).

    A text that is no duration counts as missing: to judge by the default is better than not to.
    """
    match = _DURATION.fullmatch(text)
    seconds = default
    if match and any(match.groups()):
        seconds = 60.0 * int(match[1] or 0) + float(match[2] or 0)
    seconds = min(seconds, _MAX_TIMEOUT_SECONDS)
    return max(seconds - _MARGIN_SECONDS, seconds / 2)
