"""Requests to the API server: bytes in, bytes out.

The Kubernetes client gives configuration, credentials and transport; its typed objects cost 20
times as much as reading the bytes.
"""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any, Final

import aiohttp
from kubernetes_asyncio import config as kube_config
from kubernetes_asyncio.client import ApiClient, Configuration

from lictor.config.settings import ClusterSettings
from lictor.errors import ApiError, SettingsError, UnavailableError
from lictor.kube.errors import status_error
from lictor.telemetry import metrics

JSON: Final = "application/json"
MAX_ANSWER_BYTES: Final = 512 * 1024 * 1024
"""A list page of 500 objects at etcd's limit of 1.5 MB each, escaped, stays below."""

_TOKEN_SECONDS: Final = 60.0
"""A projected token is renewed at 80 % of its life of an hour: a minute is early enough."""

_CONNECT_SECONDS: Final = 5.0
_USER_AGENT: Final = "lictor"


class KubeClient:
    """One identity at one API server; opened by `open_client`."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        configuration: Configuration,
        *,
        timeout_seconds: float,
    ) -> None:
        self._session = session
        self._configuration = configuration
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
        """
        timeout = aiohttp.ClientTimeout(
            total=timeout_seconds or self._timeout_seconds, sock_connect=_CONNECT_SECONDS
        )
        async with self._send(
            method, path, query=query, body=body, content_type=content_type, timeout=timeout
        ) as response:
            return await _read(response, what=f"{method} {path}")

    @asynccontextmanager
    async def stream(
        self, path: str, *, query: Mapping[str, str]
    ) -> AsyncIterator[aiohttp.StreamReader]:
        """Open a watch and give its bytes as they come; the caller bounds its silence.

        Raises:
            ApiError: the answer is not 200.
            UnavailableError: no answer came, or the connection was cut.
        """
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS, sock_read=None)
        async with self._send("GET", path, query=query, timeout=timeout) as response:
            yield response.content

    @asynccontextmanager
    async def _send(
        self,
        method: str,
        path: str,
        *,
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - handed on to the transport
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
        content_type: str = JSON,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        what = f"{method} {path}"
        verb = "WATCH" if query and query.get("watch") else method
        try:
            async with self._session.request(
                method,
                f"{self._configuration.host}{path}",
                params=dict(query or {}),
                data=body,
                headers=await self._headers(content_type),
                timeout=timeout,
                allow_redirects=False,
            ) as response:
                metrics.API_REQUESTS.labels(verb=verb, code=str(response.status)).inc()
                if response.status >= HTTPStatus.MULTIPLE_CHOICES:
                    raise status_error(
                        response.status,
                        await response.content.read(MAX_ANSWER_BYTES),
                        what=what,
                        retry_after=response.headers.get("Retry-After", ""),
                    )
                yield response
        except (aiohttp.ClientError, TimeoutError, ssl.SSLError, ConnectionError) as err:
            metrics.API_REQUESTS.labels(verb=verb, code="none").inc()
            raise UnavailableError(f"{what}: {type(err).__name__}: {err}") from err

    async def _headers(self, content_type: str) -> dict[str, str]:
        token = await self._configuration.get_api_key_with_prefix("BearerToken")
        headers = {"Accept": JSON, "Content-Type": content_type, "User-Agent": _USER_AGENT}
        return headers | ({"Authorization": token} if token else {})


@asynccontextmanager
async def open_client(
    settings: ClusterSettings, *, connections: int = 32
) -> AsyncIterator[KubeClient]:
    """Open at most so many connections to the API server of the settings.

    Raises:
        SettingsError: there is no usable kubeconfig or ServiceAccount.
    """
    configuration = await _configure(settings)
    configuration.connection_pool_maxsize = connections
    async with ApiClient(configuration) as api:
        yield KubeClient(
            api.rest_client.pool_manager,
            configuration,
            timeout_seconds=settings.request_timeout_seconds,
        )


async def _configure(settings: ClusterSettings) -> Configuration:
    configuration = Configuration()
    try:
        if settings.kubeconfig:
            await _load(settings.kubeconfig, configuration)
            configuration.refresh_api_key_hook = _Reload(settings.kubeconfig)
        else:
            kube_config.load_incluster_config(configuration)  # type: ignore[no-untyped-call]  # its own
    except (kube_config.ConfigException, OSError, ValueError, TypeError) as err:
        where = settings.kubeconfig or "the Pod's ServiceAccount"
        raise SettingsError(f"cluster.kubeconfig: {where}: {err}") from err
    return configuration


async def _load(kubeconfig: str, configuration: Configuration) -> None:
    await kube_config.load_kube_config(
        config_file=kubeconfig, client_configuration=configuration, persist_config=False
    )


class _Reload:
    """Reads the kubeconfig, and with it its token file, again from time to time."""

    def __init__(self, kubeconfig: str) -> None:
        self._kubeconfig = kubeconfig
        self._due = time.monotonic() + _TOKEN_SECONDS

    async def __call__(self, configuration: Any) -> None:  # noqa: ANN401 - the client's own type
        if time.monotonic() >= self._due:
            self._due = time.monotonic() + _TOKEN_SECONDS
            await _load(self._kubeconfig, configuration)


async def _read(response: aiohttp.ClientResponse, *, what: str) -> bytes:
    data = bytearray()
    async for chunk in response.content.iter_any():
        data += chunk
        if len(data) > MAX_ANSWER_BYTES:
            metrics.LIMIT_HITS.labels(limit="api-answer-bytes").inc()
            raise ApiError(f"{what}: the answer has more than {MAX_ANSWER_BYTES} bytes")
        await asyncio.sleep(0)
    return bytes(data)
