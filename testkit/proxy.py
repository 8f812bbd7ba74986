"""Proxies with traps: HTTP in front of an API server or a webhook, and plain TCP.

Both serve in the event loop of the test. What a killed client had already sent still passes when
its trap is released; where it must not, cut it.
"""

import asyncio
import io
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Self

import aiohttp
from aiohttp import web
from yarl import URL

from testkit.ports import LOOPBACK
from testkit.traps import CutError, Traps

CHUNK_BYTES: Final = 64 * 1024
SHUTDOWN_SECONDS: Final = 0.2
HOP_BY_HOP: Final = frozenset(
    {"connection", "keep-alive", "transfer-encoding", "upgrade", "te", "trailer", "host"}
)


class Point(StrEnum):
    """Where on its way an exchange is."""

    REQUEST = "request"
    """Received from the client, nothing forwarded yet."""
    RESPONSE = "response"
    """The server's status and headers are here, nothing returned yet: its write is done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """One request at one point of its way.

    Attributes:
        path: with the query, as sent.
        status: of the response; 0 at `Point.REQUEST`.
    """

    point: Point
    method: str
    path: str
    body: bytes
    status: int = 0


class HttpProxy:
    """Forwards HTTP/1.1 requests, watches too; identities travel as bearer tokens only."""

    def __init__(self, upstream: str, *, trust: ssl.SSLContext, serving: ssl.SSLContext) -> None:
        """Describe the proxy; use `running`.

        Args:
            upstream: where it forwards to, e.g. `https://127.0.0.1:6443`.
            trust: the context of its connections to there.
            serving: the context that it serves with.
        """
        self.traps: Traps[Exchange] = Traps()
        self.url = ""
        self._upstream = upstream
        self._trust = trust
        self._serving = serving
        self._session: aiohttp.ClientSession | None = None

    @asynccontextmanager
    async def running(self, port: int = 0) -> AsyncIterator[Self]:
        """Serve on the loopback; at the end whatever is held is cut."""
        connector = aiohttp.TCPConnector(ssl=self._trust, limit=0)
        timeout = aiohttp.ClientTimeout(total=None)
        runner = web.ServerRunner(
            web.Server(self._handle, access_log=None), shutdown_timeout=SHUTDOWN_SECONDS
        )
        async with aiohttp.ClientSession(
            connector=connector, timeout=timeout, auto_decompress=False
        ) as self._session:
            await runner.setup()
            try:
                await web.TCPSite(runner, LOOPBACK, port, ssl_context=self._serving).start()
                self.url = f"https://{LOOPBACK}:{runner.addresses[0][1]}"
                yield self
            finally:
                self.traps.abandon()
                await runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            return await self._forward(request)
        except (CutError, aiohttp.ClientError, ConnectionError):
            # As a server that died would: the connection ends, and no answer was given.
            if request.transport is not None:
                request.transport.abort()
            return web.Response(status=502)

    async def _forward(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.content.read()
        method, path = request.method, request.raw_path
        sent = Exchange(point=Point.REQUEST, method=method, path=path, body=body)
        await self.traps.passing(sent)
        dropped = HOP_BY_HOP | {"content-length"}  # aiohttp counts the body itself
        headers = [(k, v) for k, v in request.headers.items() if k.lower() not in dropped]
        url = URL(self._upstream + path, encoded=True)
        if self._session is None:
            raise CutError("the proxy does not run")
        async with self._session.request(
            method,
            url,
            data=io.BytesIO(body) if body else None,
            headers=headers,
            allow_redirects=False,
        ) as answer:
            await self.traps.passing(
                Exchange(
                    point=Point.RESPONSE, method=method, path=path, body=body, status=answer.status
                )
            )
            return await _return(request, answer)


async def _return(request: web.BaseRequest, answer: aiohttp.ClientResponse) -> web.StreamResponse:
    response = web.StreamResponse(status=answer.status, reason=answer.reason)
    for key, value in answer.headers.items():
        if key.lower() not in HOP_BY_HOP:
            response.headers.add(key, value)
    await response.prepare(request)
    async for chunk in answer.content.iter_any():
        await response.write(chunk)
    await response.write_eof()
    return response


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """Bytes on their way through a `TcpProxy`.

    Attributes:
        connection: counts from 1.
        to_server: the direction.
        sent: bytes that the client sent on this connection before this chunk.
        received: bytes that it received before this chunk; a TLS handshake is below 8 KiB.
        data: as read, cut anywhere.
    """

    connection: int
    to_server: bool
    sent: int
    received: int
    data: bytes


class TcpProxy:
    """Forwards bytes and knows no protocol, so TLS stays between the two ends."""

    def __init__(self, upstream_port: int) -> None:
        """Describe the proxy in front of this port of the loopback; use `running`."""
        self.traps: Traps[Chunk] = Traps()
        self.port = 0
        self.connections = 0
        self._upstream_port = upstream_port
        self._open: set[asyncio.StreamWriter] = set()

    @asynccontextmanager
    async def running(self, port: int = 0) -> AsyncIterator[Self]:
        """Serve on the loopback; at the end every connection is cut."""
        server = await asyncio.start_server(self._connected, LOOPBACK, port)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            self.traps.abandon()
            self.cut_all()
            await server.wait_closed()

    def cut_all(self) -> None:
        """Abort every open connection; new ones are accepted."""
        for writer in tuple(self._open):
            writer.transport.abort()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        connection = _Connection(self.connections, self.traps)
        try:
            opened = await asyncio.open_connection(LOOPBACK, self._upstream_port)
        except OSError:
            writer.transport.abort()
            return
        far_reader, far_writer = opened
        ends = (writer, far_writer)
        self._open.update(ends)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(connection.pump(reader, far_writer, to_server=True))
                group.create_task(connection.pump(far_reader, writer, to_server=False))
            writer.close()
            far_writer.close()
        except* OSError:  # also ENOTCONN, which is no ConnectionError: the other end was killed
            writer.transport.abort()
            far_writer.transport.abort()
        finally:
            self._open.difference_update(ends)


class _Connection:
    def __init__(self, number: int, traps: Traps[Chunk]) -> None:
        self._number = number
        self._traps = traps
        self._passed = {True: 0, False: 0}

    async def pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, to_server: bool
    ) -> None:
        while data := await reader.read(CHUNK_BYTES):
            chunk = Chunk(
                connection=self._number,
                to_server=to_server,
                sent=self._passed[True],
                received=self._passed[False],
                data=data,
            )
            await self._traps.passing(chunk)
            writer.write(data)
            await writer.drain()
            self._passed[to_server] += len(data)
        writer.write_eof()  # the other direction may go on
