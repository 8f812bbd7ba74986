"""The proxies pass what no trap takes, and stop what one does."""

import asyncio
import io
import ssl
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from testkit.pki import Authority
from testkit.ports import LOOPBACK
from testkit.proxy import HttpProxy, Point, TcpProxy


class Upstream:
    """A TLS server that counts what reaches it."""

    def __init__(self, authority: Authority) -> None:
        """Serve with a certificate of this authority."""
        self.bodies: list[bytes] = []
        self.port = 0
        self._context = authority.server_context(authority.server((LOOPBACK,)))

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer with the path and the size of the body; `/watch` streams two lines."""
        body = await request.content.read()
        self.bodies.append(body)
        if request.path == "/watch":
            response = web.StreamResponse()
            await response.prepare(request)
            await response.write(b"one\n")
            await response.write(b"two\n")
            await response.write_eof()
            return response
        headers = {"X-Seen": request.headers.get("Authorization", "")}
        return web.Response(text=f"{request.raw_path} {len(body)}", headers=headers)

    async def start(self) -> web.ServerRunner:
        """Serve until the runner is cleaned up."""
        runner = web.ServerRunner(web.Server(self.handle), shutdown_timeout=0.2)
        await runner.setup()
        await web.TCPSite(runner, LOOPBACK, 0, ssl_context=self._context).start()
        self.port = runner.addresses[0][1]
        return runner


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """One authority for all of them."""
    return Authority(tmp_path_factory.mktemp("pki"))


@pytest.fixture
def trust(authority: Authority) -> ssl.SSLContext:
    """Trusts that authority."""
    return authority.client_context()


@pytest.fixture
async def upstream(authority: Authority) -> AsyncIterator[Upstream]:
    """A server behind the proxies."""
    server = Upstream(authority)
    runner = await server.start()
    yield server
    await runner.cleanup()


@pytest.fixture
async def proxy(
    authority: Authority, upstream: Upstream, trust: ssl.SSLContext
) -> AsyncIterator[HttpProxy]:
    """An HTTP proxy in front of it."""
    serving = authority.server_context(authority.server((LOOPBACK,)))
    made = HttpProxy(f"https://{LOOPBACK}:{upstream.port}", trust=trust, serving=serving)
    async with made.running() as running:
        yield running


@pytest.fixture
async def session(trust: ssl.SSLContext) -> AsyncIterator[aiohttp.ClientSession]:
    """A client."""
    connector = aiohttp.TCPConnector(ssl=trust)
    async with aiohttp.ClientSession(connector=connector) as client:
        yield client


async def test_http_proxy_passes_method_path_headers_and_body(
    proxy: HttpProxy, session: aiohttp.ClientSession
) -> None:
    """Without a trap the server sees what was sent, also a body above aiohttp's default limit."""
    headers = {"Authorization": "Bearer one"}
    url = f"{proxy.url}/a%2Fb?x=1%2C2"

    async with session.put(url, data=io.BytesIO(b"x" * 3_000_000), headers=headers) as answer:
        text = await answer.text()

    assert text in ("/a%2Fb?x=1%2C2 3000000", "/a%2Fb?x=1,2 3000000")
    assert answer.headers["X-Seen"] == "Bearer one"


async def test_http_proxy_streams(proxy: HttpProxy, session: aiohttp.ClientSession) -> None:
    """A watch passes."""
    async with session.get(f"{proxy.url}/watch") as answer:
        lines = [line async for line in answer.content]

    assert lines == [b"one\n", b"two\n"]


async def test_http_proxy_holds_a_request_before_the_server_sees_it(
    proxy: HttpProxy, upstream: Upstream, session: aiohttp.ClientSession
) -> None:
    """A held request reaches the server only after its release; others pass meanwhile."""
    trap = proxy.traps.hold(lambda e: e.point is Point.REQUEST and e.method == "PATCH")

    async with asyncio.TaskGroup() as group:
        task = group.create_task(session.patch(f"{proxy.url}/held", data=b"body"), name="held")
        caught = await trap.caught()
        async with session.get(f"{proxy.url}/other") as other:
            assert other.status == 200
        before = list(upstream.bodies)
        trap.release()
    task.result().release()

    assert caught.body == b"body"
    assert before == [b""]
    assert upstream.bodies == [b"", b"body"]


async def test_http_proxy_cuts_a_response_after_the_server_acted(
    proxy: HttpProxy, upstream: Upstream, session: aiohttp.ClientSession
) -> None:
    """The server's write is done, but the client learns nothing of it."""
    trap = proxy.traps.cut(lambda e: e.point is Point.RESPONSE and e.status == 200)

    with pytest.raises(aiohttp.ClientError):
        await session.post(f"{proxy.url}/lost", data=b"done")

    assert upstream.bodies == [b"done"]
    assert trap.count == 1


async def test_http_proxy_cuts_a_request_before_the_server_sees_it(
    proxy: HttpProxy, upstream: Upstream, session: aiohttp.ClientSession
) -> None:
    """A cut request never happened; the trap acts once, so the next one passes."""
    proxy.traps.cut(lambda e: e.point is Point.REQUEST)

    with pytest.raises(aiohttp.ClientError):
        await session.post(f"{proxy.url}/lost", data=b"lost")
    async with session.post(f"{proxy.url}/kept", data=b"kept") as answer:
        assert answer.status == 200

    assert upstream.bodies == [b"kept"]


async def test_http_proxy_delays(proxy: HttpProxy, session: aiohttp.ClientSession) -> None:
    """A delayed request takes at least as long."""
    proxy.traps.delay(lambda e: e.point is Point.REQUEST, seconds=0.2)
    loop = asyncio.get_running_loop()
    began = loop.time()

    async with session.get(f"{proxy.url}/slow") as answer:
        assert answer.status == 200

    assert loop.time() - began >= 0.2


async def test_http_proxy_cuts_when_the_server_is_gone(
    authority: Authority, trust: ssl.SSLContext, session: aiohttp.ClientSession
) -> None:
    """Where nothing listens the client sees a cut connection, not an answer of the proxy's own."""
    serving = authority.server_context(authority.server((LOOPBACK,)))
    async with HttpProxy(f"https://{LOOPBACK}:1", trust=trust, serving=serving).running() as alone:
        with pytest.raises(aiohttp.ClientError):
            await session.get(f"{alone.url}/any")


async def test_tcp_proxy_keeps_tls_between_the_ends(
    upstream: Upstream, session: aiohttp.ClientSession
) -> None:
    """The certificate is the server's; several connections are counted."""
    async with TcpProxy(upstream.port).running() as tcp:
        for _ in range(3):
            async with session.post(f"https://{LOOPBACK}:{tcp.port}/x", data=b"y" * 5) as answer:
                assert await answer.text() == "/x 5"

        assert tcp.connections == 1


async def test_tcp_proxy_holds_the_answer_on_a_warm_connection(
    upstream: Upstream, session: aiohttp.ClientSession
) -> None:
    """What the server did is done while its answer waits in the proxy."""
    async with TcpProxy(upstream.port).running() as tcp:
        url = f"https://{LOOPBACK}:{tcp.port}/x"
        async with session.post(url, data=b"first") as answer:
            await answer.read()
        trap = tcp.traps.hold(lambda chunk: not chunk.to_server)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(session.post(url, data=b"second"), name="second")
            caught = await trap.caught()
            done = list(upstream.bodies)
            pending = not task.done()
            trap.release()
        task.result().release()

    assert done == [b"first", b"second"]
    assert pending
    assert caught.sent > 0


async def test_tcp_proxy_cuts_all(upstream: Upstream, session: aiohttp.ClientSession) -> None:
    """Open connections end, new ones work."""
    async with TcpProxy(upstream.port).running() as tcp:
        url = f"https://{LOOPBACK}:{tcp.port}/x"
        await (await session.get(url)).read()
        trap = tcp.traps.hold(lambda chunk: not chunk.to_server)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(_failure(session, url), name="cut")
            await trap.caught()
            tcp.cut_all()
            trap.cut()
        async with session.get(url) as answer:
            assert answer.status == 200

    assert isinstance(task.result(), aiohttp.ClientError)
    assert tcp.connections == 2


async def _failure(session: aiohttp.ClientSession, url: str) -> Exception | None:
    try:
        (await session.post(url, data=b"cut")).release()
    except aiohttp.ClientError as err:
        return err
    return None
