"""Requests to the API server: bytes in, bytes out.

The Kubernetes client gives configuration and credentials; its typed objects cost 20 times as much
as reading the bytes.
"""

import asyncio
import io
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final

import aiohttp

from lictor.config.settings import ClusterSettings
from lictor.errors import SettingsError, UnavailableError
from lictor.kube.credentials import Credentials, load_credentials
from lictor.kube.errors import SILENT, AnswerTooLargeError, status_error
from lictor.kube.transport import Pool, open_pool
from lictor.telemetry import metrics

JSON: Final = "application/json"

MAX_ANSWER_BYTES: Final = 256 * 1024 * 1024
"""Fits a page of 500 objects of 0.5 MB; a list that exceeds it is read in smaller pages."""

_MAX_STATUS_BYTES: Final = 16 * 1024 * 1024
"""The answer to a patch that is refused quotes the whole object, twice."""

_CONNECT_SECONDS: Final = 5.0
_WATCHES: Final = 256
"""Watches at a time, on connections of their own: they must not use up those of requests."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Call:
    method: str
    path: str
    timeout: aiohttp.ClientTimeout
    query: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    content_type: str = JSON

    @property
    def what(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def verb(self) -> str:
        return "WATCH" if "watch" in self.query else self.method


class WatchStream:
    """The bytes of a watch as they come."""

    def __init__(self, content: aiohttp.StreamReader, *, what: str) -> None:
        """Take the body of an answer; `what` names it in errors."""
        self._content = content
        self._what = what

    async def readany(self) -> bytes:
        """Return what has come; nothing at the end.

        Raises:
            UnavailableError: the connection was cut, or is silent (reason `SILENT`).
        """
        with _translated(self._what):
            return await self._content.readany()


class KubeClient:
    """One identity at one API server; opened by `open_client`."""

    def __init__(
        self,
        credentials: Credentials,
        *,
        requests: Pool,
        watches: Pool,
        timeout_seconds: float,
    ) -> None:
        """Take two pools of connections.

        Args:
            credentials: who we are.
            requests: the connections of requests.
            watches: the connections of watches, each of which lasts for minutes.
            timeout_seconds: of a request, and of a watch until it begins.
        """
        self._credentials = credentials
        self._requests = requests
        self._watches = watches
        self._timeout_seconds = timeout_seconds

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
        """Send one request and return the body of its answer.

        Raises:
            ApiError: the answer is not 2xx; the type tells which, and whether to try again.
            UnavailableError: no answer came; whether the request took effect is unknown.
            AnswerTooLargeError: the answer has more than `MAX_ANSWER_BYTES`.
        """
        call = _Call(
            method=method,
            path=path,
            query=query or {},
            body=body,
            content_type=content_type,
            timeout=aiohttp.ClientTimeout(
                total=timeout_seconds or self._timeout_seconds, sock_connect=_CONNECT_SECONDS
            ),
        )
        with _translated(call.what):
            response = await self._answer(self._requests, call)
            async with response:
                await _check(response, call)
                return await _read(response, limit=MAX_ANSWER_BYTES, what=call.what)

    @asynccontextmanager
    async def stream(
        self, path: str, *, query: Mapping[str, str], silence_seconds: float
    ) -> AsyncIterator[WatchStream]:
        """Open a watch.

        Raises:
            ApiError: the answer is not 200.
            UnavailableError: no answer came in time.
        """
        call = _Call(
            method="GET",
            path=path,
            query=query,
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=_CONNECT_SECONDS, sock_read=silence_seconds
            ),
        )
        with _translated(call.what):
            async with asyncio.timeout(self._timeout_seconds):
                response = await self._answer(self._watches, call)
        async with response:
            with _translated(call.what):
                await _check(response, call)
            yield WatchStream(response.content, what=f"watch of {path}")

    async def _answer(self, pool: Pool, call: _Call) -> aiohttp.ClientResponse:
        """Send; once more where the token was refused and there is another one by now."""
        identity = await self._credentials.headers()
        response = await self._send(pool, call, identity=identity)
        if response.status == HTTPStatus.UNAUTHORIZED and await self._credentials.renewed(identity):
            response.release()
            response = await self._send(pool, call, identity=await self._credentials.headers())
        return response

    async def _send(
        self, pool: Pool, call: _Call, *, identity: Mapping[str, str]
    ) -> aiohttp.ClientResponse:
        configuration = self._credentials.configuration
        try:
            response = await pool.session.request(
                call.method,
                f"{configuration.host}{call.path}",
                params=dict(call.query),
                # A stream, since aiohttp warns of large bytes; its length is still sent.
                data=None if call.body is None else io.BytesIO(call.body),
                headers={
                    "Accept": JSON,
                    # Inside a cluster gzip costs both ends more time than the bytes that it saves.
                    "Accept-Encoding": "identity",
                    "Content-Type": call.content_type,
                    "User-Agent": "lictor",
                    **identity,
                },
                timeout=call.timeout,
                allow_redirects=False,
                **pool.options,
            )
        except (aiohttp.ClientError, OSError):  # TimeoutError is an OSError
            metrics.API_REQUESTS.labels(verb=call.verb, code="none").inc()
            raise
        metrics.API_REQUESTS.labels(verb=call.verb, code=str(response.status)).inc()
        return response


@asynccontextmanager
async def open_client(
    settings: ClusterSettings, *, connections: int = 32
) -> AsyncIterator[KubeClient]:
    """Open at most so many connections to the API server of the settings, and those of watches.

    Raises:
        SettingsError: there is no usable kubeconfig or ServiceAccount.
    """
    credentials = await load_credentials(settings)
    requests = _pool(credentials, settings, connections=connections)
    watches = _pool(credentials, settings, connections=_WATCHES)
    try:
        yield KubeClient(
            credentials,
            requests=requests,
            watches=watches,
            timeout_seconds=settings.request_timeout_seconds,
        )
    finally:
        await requests.close()
        await watches.close()


def _pool(credentials: Credentials, settings: ClusterSettings, *, connections: int) -> Pool:
    try:
        return open_pool(credentials.configuration, connections=connections)
    except OSError as err:  # ssl.SSLError is one: the file holds no certificate
        where = settings.kubeconfig or "the Pod's ServiceAccount"
        raise SettingsError(f"cluster.kubeconfig: {where}: certificates: {err}") from err


@contextmanager
def _translated(what: str) -> Iterator[None]:
    try:
        yield
    except aiohttp.SocketTimeoutError as err:
        raise UnavailableError(f"{what}: silent for too long", reason=SILENT) from err
    except (aiohttp.ClientError, OSError) as err:
        raise UnavailableError(f"{what}: {type(err).__name__}: {err}") from err


async def _check(response: aiohttp.ClientResponse, call: _Call) -> None:
    if response.status < HTTPStatus.MULTIPLE_CHOICES:
        return
    try:
        body = await _read(response, limit=_MAX_STATUS_BYTES, what=call.what)
    except AnswerTooLargeError:
        body = b""
    raise status_error(
        response.status,
        body,
        what=call.what,
        retry_after=response.headers.get("Retry-After", ""),
    )


async def _read(response: aiohttp.ClientResponse, *, limit: int, what: str) -> bytes:
    data = bytearray()
    async for chunk in response.content.iter_any():
        data += chunk
        if len(data) > limit:
            metrics.LIMIT_HITS.labels(limit="api-answer-bytes").inc()
            raise AnswerTooLargeError(f"{what}: the answer has more than {limit} bytes")
    return bytes(data)
