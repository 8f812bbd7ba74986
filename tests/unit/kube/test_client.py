"""The client over plain HTTP: what is sent, what each answer becomes, and by which way."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from lictor.config.settings import ClusterSettings
from lictor.errors import (
    AlreadyExistsError,
    ApiError,
    ConflictError,
    ExpiredError,
    ForbiddenError,
    InvalidError,
    ObjectNotFoundError,
    SettingsError,
    ThrottledError,
    UnavailableError,
)
from lictor.kube import client as module
from lictor.kube import credentials
from lictor.kube.client import KubeClient, open_client
from lictor.kube.errors import SILENT, AnswerTooLargeError
from lictor.telemetry import metrics

OLD, NEW = "old", "new"
Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    """Serve on the loopback and yield the URL."""
    runner = web.ServerRunner(web.Server(handler), shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def kubeconfig(folder: Path, server: str, *, token: str = "") -> Path:
    """Write a kubeconfig, and its token to `folder/token`."""
    (folder / "token").write_text(token)
    user = {"tokenFile": str(folder / "token")} if token else {}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": user}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    path = folder / "kubeconfig"
    path.write_text(json.dumps(document))
    return path


@asynccontextmanager
async def client_of(
    folder: Path, handler: Handler, *, token: str = "", timeout_seconds: float = 5.0
) -> AsyncIterator[KubeClient]:
    """Open a client of a server that answers with `handler`."""
    async with serving(handler) as url:
        path = kubeconfig(folder, url, token=token)
        settings = ClusterSettings(kubeconfig=str(path), request_timeout_seconds=timeout_seconds)
        async with open_client(settings) as client:
            yield client


def answering(status: int, reason: str = "", **headers: str) -> Handler:
    """Answer everything with a Status."""

    async def handle(_: web.BaseRequest) -> web.StreamResponse:
        body = {"kind": "Status", "reason": reason, "message": "words of the server"}
        return web.json_response(body, status=status, headers=headers)

    return handle


_ANSWERS = [
    pytest.param(400, "BadRequest", InvalidError, False, id="400"),
    pytest.param(401, "Unauthorized", ForbiddenError, False, id="401"),
    pytest.param(403, "Forbidden", ForbiddenError, False, id="403"),
    pytest.param(404, "NotFound", ObjectNotFoundError, False, id="404"),
    pytest.param(409, "Conflict", ConflictError, True, id="409"),
    pytest.param(409, "AlreadyExists", AlreadyExistsError, False, id="409 exists"),
    pytest.param(410, "Expired", ExpiredError, True, id="410"),
    pytest.param(413, "RequestEntityTooLarge", InvalidError, False, id="413"),
    pytest.param(418, "", ApiError, False, id="418"),
    pytest.param(422, "Invalid", InvalidError, False, id="422"),
    pytest.param(429, "TooManyRequests", ThrottledError, True, id="429"),
    pytest.param(500, "InternalError", UnavailableError, True, id="500"),
    pytest.param(503, "ServiceUnavailable", UnavailableError, True, id="503"),
    pytest.param(504, "Timeout", UnavailableError, True, id="504"),
    pytest.param(302, "", ApiError, False, id="a redirect, which is not followed"),
]


@pytest.mark.parametrize(("status", "reason", "kind", "retriable"), _ANSWERS)
async def test_request_turns_each_answer_into_its_error(
    status: int, reason: str, kind: type[ApiError], *, retriable: bool, tmp_path: Path
) -> None:
    """The type says whether trying again can help; request, code and reason are told."""
    async with client_of(tmp_path, answering(status, reason, Location="/elsewhere")) as client:
        with pytest.raises(ApiError, match=rf"GET /api/v1/pods: {status} {reason}") as raised:
            await client.request("GET", "/api/v1/pods")

    assert type(raised.value) is kind
    assert raised.value.retriable is retriable
    assert raised.value.code == status
    assert "words of the server" in str(raised.value)


async def test_request_quotes_no_words_about_secrets(tmp_path: Path) -> None:
    """The server's message could quote the value that it refuses."""
    async with client_of(tmp_path, answering(422, "Invalid")) as client:
        with pytest.raises(InvalidError, match=r"Invalid$"):
            await client.request("PUT", "/api/v1/namespaces/n/secrets/s", body=b"{}")


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("7", 7.0), ("999999", 60.0), ("soon", 1.0), ("-1", 1.0), ("", 1.0)],
)
async def test_request_reads_how_long_to_wait(header: str, seconds: float, tmp_path: Path) -> None:
    """Retry-After is bounded: no server makes us wait for days."""
    handle = answering(429, **{"Retry-After": header})
    async with client_of(tmp_path, handle) as client:
        with pytest.raises(ThrottledError, match="429") as raised:
            await client.request("GET", "/api/v1/pods")

    assert raised.value.retry_after_seconds == seconds


async def test_request_survives_an_error_that_is_no_status(tmp_path: Path) -> None:
    """A proxy's page of any size is not quoted."""

    async def handle(_: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=502, text="<html>" + "x" * 200_000)

    async with client_of(tmp_path, handle) as client:
        with pytest.raises(UnavailableError, match=r"502 $"):
            await client.request("GET", "/api/v1/pods")


async def test_request_refuses_an_answer_over_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is larger than the limit is not read to its end, and the hit is counted."""
    monkeypatch.setattr(module, "MAX_ANSWER_BYTES", 1_000)
    counted = metrics.LIMIT_HITS.labels(limit="api-answer-bytes")
    before = counted._value.get()

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(body=b"x" * int(request.path.strip("/")))

    async with client_of(tmp_path, handle) as client:
        assert len(await client.request("GET", "/1000")) == 1_000
        with pytest.raises(AnswerTooLargeError, match="more than 1000 bytes"):
            await client.request("GET", "/1001")

    assert counted._value.get() == before + 1


async def test_request_ends_in_time(tmp_path: Path) -> None:
    """A server that accepts and says nothing: whether it took effect is unknown."""

    async def handle(_: web.BaseRequest) -> web.StreamResponse:
        await asyncio.sleep(60)
        raise AssertionError

    async with client_of(tmp_path, handle, timeout_seconds=0.1) as client:
        with pytest.raises(UnavailableError, match="GET /version") as raised:
            await client.request("GET", "/version")

    assert raised.value.code == 0


async def test_request_to_nobody_is_unavailable(tmp_path: Path) -> None:
    """A refused connection is counted, and may be tried again."""
    counted = metrics.API_REQUESTS.labels(verb="GET", code="none")
    before = counted._value.get()
    settings = ClusterSettings(kubeconfig=str(kubeconfig(tmp_path, "http://127.0.0.1:1")))
    async with open_client(settings) as client:
        with pytest.raises(UnavailableError, match="GET /version"):
            await client.request("GET", "/version")

    assert counted._value.get() == before + 1


async def test_stream_leaves_the_errors_of_its_body_alone(tmp_path: Path) -> None:
    """Who reads a watch under a time limit of its own gets its own TimeoutError."""

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await asyncio.sleep(5)
        return response

    async with client_of(tmp_path, handle) as client:
        with pytest.raises(TimeoutError):  # noqa: PT012 - the context is what is tested
            async with client.stream("/w", query={"watch": "true"}, silence_seconds=9) as stream:
                async with asyncio.timeout(0.05):
                    await stream.readany()


async def test_stream_tells_silence_apart(tmp_path: Path) -> None:
    """A connection that brings nothing has a reason of its own."""

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"one\n")
        await asyncio.sleep(5)
        return response

    async with (
        client_of(tmp_path, handle) as client,
        client.stream("/w", query={"watch": "true"}, silence_seconds=0.1) as stream,
    ):
        assert await stream.readany() == b"one\n"
        with pytest.raises(UnavailableError, match="silent") as raised:
            await stream.readany()

    assert raised.value.reason == SILENT


async def test_stream_that_is_cut_is_unavailable(tmp_path: Path) -> None:
    """A connection that breaks within a watch ends it with an error, not like its end."""

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"one\n")
        assert request.transport is not None
        request.transport.abort()
        return response

    async with client_of(tmp_path, handle) as client:
        with pytest.raises(UnavailableError, match="watch of /w"):  # noqa: PT012 - a generator
            async with client.stream("/w", query={"watch": "true"}, silence_seconds=5) as stream:
                while await stream.readany():
                    pass


async def test_stream_that_does_not_begin_ends_in_time(tmp_path: Path) -> None:
    """Until the answer begins, a watch is a request like others."""

    async def handle(_: web.BaseRequest) -> web.StreamResponse:
        await asyncio.sleep(60)
        raise AssertionError

    async with client_of(tmp_path, handle, timeout_seconds=0.1) as client:
        with pytest.raises(UnavailableError, match="TimeoutError"):
            async with client.stream("/w", query={"watch": "true"}, silence_seconds=60):
                pass


async def test_watches_do_not_use_up_the_connections_of_requests(tmp_path: Path) -> None:
    """Requests go through however many watches are open."""

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/version":
            return web.Response(text="{}")
        response = web.StreamResponse()
        await response.prepare(request)
        await asyncio.sleep(5)
        return response

    async with serving(handle) as url:
        settings = ClusterSettings(
            kubeconfig=str(kubeconfig(tmp_path, url)), request_timeout_seconds=2
        )
        async with (
            open_client(settings, connections=1) as client,
            client.stream("/a", query={"watch": "true"}, silence_seconds=9),
            client.stream("/b", query={"watch": "true"}, silence_seconds=9),
        ):
            assert await client.request("GET", "/version") == b"{}"


@pytest.mark.parametrize(
    "name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "HTTPS_PROXY"]
)
async def test_client_takes_no_proxy_from_the_environment(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy that is set for image pulls must not see, nor hold up, what we send."""
    seen: list[str] = []

    async def proxy(request: web.BaseRequest) -> web.StreamResponse:
        seen.append(request.path)
        return web.Response(status=502)

    async with serving(proxy) as url:
        monkeypatch.setenv(name, url)
        async with client_of(tmp_path, answering(200)) as client:
            await client.request("GET", "/version")

    assert seen == []


async def test_client_takes_no_password_from_netrc(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who we are stands in the kubeconfig alone."""
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login somebody password else\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    seen: list[str | None] = []

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        seen.append(request.headers.get("Authorization"))
        return web.Response(text="{}")

    async with client_of(tmp_path, handle) as client:
        await client.request("GET", "/version")

    assert seen == [None]


async def test_client_reads_its_token_again_after_a_401(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token that was replaced early costs one more request, with its body, and no failure."""
    monkeypatch.setattr(credentials, "_RETRY_SECONDS", 0.0)
    seen: list[tuple[str | None, str]] = []

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        token = request.headers.get("Authorization")
        seen.append((token, await request.text()))
        return web.json_response({}, status=201 if token == f"Bearer {NEW}" else 401)

    async with client_of(tmp_path, handle, token=OLD) as client:
        (tmp_path / "token").write_text(NEW)
        await client.request("POST", "/x", body=b"body")

    assert seen == [(f"Bearer {OLD}", "body"), (f"Bearer {NEW}", "body")]


async def test_client_does_not_repeat_a_refused_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the file has no other token, 401 is the answer."""
    monkeypatch.setattr(credentials, "_RETRY_SECONDS", 0.0)
    seen: list[str] = []

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        seen.append(request.path)
        return web.json_response({"reason": "Unauthorized"}, status=401)

    async with client_of(tmp_path, handle, token=OLD) as client:
        with pytest.raises(ForbiddenError, match="401"):
            await client.request("GET", "/x")

    assert seen == ["/x"]


async def test_refused_watch_reads_the_token_again_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An informer does not end because its token was renewed."""
    monkeypatch.setattr(credentials, "_RETRY_SECONDS", 0.0)

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        fine = request.headers.get("Authorization") == f"Bearer {NEW}"
        return web.Response(status=200 if fine else 401, text="line\n")

    async with client_of(tmp_path, handle, token=OLD) as client:
        (tmp_path / "token").write_text(NEW)
        async with client.stream("/w", query={"watch": "true"}, silence_seconds=5) as stream:
            assert await stream.readany() == b"line\n"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(None, id="missing"),
        pytest.param("", id="empty"),
        pytest.param("]not yaml[", id="no YAML"),
        pytest.param("{}", id="no cluster"),
    ],
)
async def test_open_client_names_the_kubeconfig_that_it_cannot_use(
    text: str | None, tmp_path: Path
) -> None:
    """A program that is configured wrongly says which setting and which file."""
    path = tmp_path / "kubeconfig"
    if text is not None:
        path.write_text(text)

    with pytest.raises(SettingsError, match=rf"cluster.kubeconfig: {path}"):
        async with open_client(ClusterSettings(kubeconfig=str(path))):
            pass


async def test_open_client_outside_a_pod_needs_a_kubeconfig(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without a ServiceAccount there is nobody to be."""
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)

    with pytest.raises(SettingsError, match="the Pod's ServiceAccount"):
        async with open_client(ClusterSettings()):
            pass
