import asyncio
import io
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, cast

import aiohttp
import pytest

from admission._x509 import make_bundle
from admission.certs import load_into, server_context
from admission.parse import MalformedReviewError
from admission.review import Call, Gate, Reply
from admission.server import GateServer, Limits, budget_of
from lictor.model.request import Phase
from lictor.system import SystemClock
from lictor.telemetry import metrics

HEAD = b'{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{"uid":"u-1",'
# One key pair for all tests: making one takes longer than a test.
BUNDLE = make_bundle(["127.0.0.1"], now=datetime.now(UTC))  # noqa: TID251 (OpenSSL's clock)


@dataclass(slots=True)
class Calls:
    """A gate that notes what it is asked, and waits where it is told to."""

    judged: list[tuple[bytes, Call]] = field(default_factory=list)
    refused: list[tuple[MalformedReviewError, int]] = field(default_factory=list)
    hold: asyncio.Event | None = None
    asked: asyncio.Event = field(default_factory=asyncio.Event)

    async def judge(self, body: bytes, call: Call) -> Reply:
        """Admit."""
        self.judged.append((body, call))
        self.asked.set()
        if self.hold:
            await self.hold.wait()
        return Reply(body=b"admitted")

    async def refuse(
        self,
        error: MalformedReviewError,
        _call: Call,
        *,
        body: bytes | None = None,
        bytes_read: int,
    ) -> Reply:
        """Deny."""
        assert body is None
        self.refused.append((error, bytes_read))
        return Reply(body=f"refused {error.fault} {error.uid}".encode())


@dataclass(slots=True)
class Served:
    """A server that listens."""

    url: str
    port: int
    session: aiohttp.ClientSession
    server: GateServer


@asynccontextmanager
async def serving(
    calls: Calls,
    *,
    problems: Sequence[str] = (),
    drain_seconds: float = 1.0,
    **limits: Any,  # noqa: ANN401
) -> AsyncIterator[Served]:
    """Listen on loopback over TLS."""
    context = server_context()
    load_into(context, BUNDLE)
    bounds = {"review_bytes": 100_000, "in_flight_bytes": 1_000_000, "keepalive_seconds": 120.0}
    server = GateServer(
        cast("Gate", calls),
        lambda: problems,
        limits=Limits(**{**bounds, **limits}),
        timeouts={"open": 5.0},
        clock=SystemClock(),
    )
    async with (
        client() as session,
        server.listen("127.0.0.1", 0, context=context, drain_seconds=drain_seconds) as port,
    ):
        yield Served(f"https://127.0.0.1:{port}", port, session, server)


def client() -> aiohttp.ClientSession:
    """A client of its own connections; use it as a context manager."""
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trusting()))


def trusting() -> ssl.SSLContext:
    """A client context that trusts the CA of the test."""
    return ssl.create_default_context(cadata=BUNDLE.authorities.decode())


async def post(
    served: Served,
    data: Any = b"{}",  # noqa: ANN401 (what aiohttp takes)
    path: str = "/v1/validate/open",
    **values: Any,  # noqa: ANN401
) -> tuple[int, str, aiohttp.ClientResponse]:
    """Post a body; return status, text and the response."""
    async with served.session.post(served.url + path, data=data, **values) as response:
        return response.status, await response.text(), response


async def test_server_hands_a_review_to_the_gate() -> None:
    """Phase and class come from the path, the time that is left from `timeout`."""
    calls = Calls()
    async with serving(calls) as served:
        status, text, response = await post(served, b"{review}", "/v1/mutate/open?timeout=10s")

    assert (status, text) == (200, "admitted")
    assert response.content_type == "application/json"
    ((body, call),) = calls.judged
    assert body == b"{review}"
    assert (call.phase, call.failure_class) == (Phase.MUTATE, "open")
    assert call.timeout_seconds == 9.5


async def test_server_keeps_the_connection_for_the_next_review() -> None:
    """The API server reuses connections, so that not each review pays for a handshake."""
    calls = Calls()
    async with serving(calls) as served:
        for _ in range(3):
            _, _, response = await post(served)
            assert response.headers.get("Connection") is None
        connector = cast("aiohttp.TCPConnector", served.session.connector)
        assert len(connector._conns) == 1

    assert len(calls.judged) == 3


async def test_server_answers_a_body_that_is_too_large() -> None:
    """The answer reaches a client that is still sending, and the connection ends with it."""
    calls = Calls()
    async with serving(calls) as served:
        body = io.BytesIO(HEAD + b"x" * 3_000_000)
        status, text, response = await post(served, body)

    assert (status, text) == (200, "refused too-large u-1")
    assert response.headers["Connection"] == "close"
    assert calls.judged == []


async def test_server_answers_a_chunked_body_that_is_too_large() -> None:
    """Without a Content-Length the bytes themselves are counted."""

    async def chunks() -> AsyncIterator[bytes]:
        yield HEAD
        for _ in range(200):
            yield b"x" * 10_000

    calls = Calls()
    async with serving(calls) as served:
        status, text, _ = await post(served, chunks())

    assert (status, text) == (200, "refused too-large u-1")
    ((_, bytes_read),) = calls.refused
    assert 100_000 < bytes_read < 400_000


async def test_server_takes_a_body_of_the_limit_and_beyond_the_default_of_aiohttp() -> None:
    """The limit that aiohttp has by itself, 1 MiB, would answer a bare 413, which admits."""
    calls = Calls()
    async with serving(calls, review_bytes=3_000_000, in_flight_bytes=4_000_000) as served:
        status, text, _ = await post(served, io.BytesIO(b"x" * 3_000_000))

    assert (status, text) == (200, "admitted")
    assert len(calls.judged[0][0]) == 3_000_000


async def test_server_refuses_bodies_over_the_budget_of_all() -> None:
    """While others are judged, one more body that does not fit is denied, not queued."""
    calls = Calls(hold=asyncio.Event())
    assert calls.hold is not None
    async with serving(calls, in_flight_bytes=100_000) as served, asyncio.TaskGroup() as group:
        first = group.create_task(post(served, HEAD + b"x" * 90_000))
        await calls.asked.wait()
        _, text, _ = await post(served, HEAD + b"x" * 90_000)
        held = metrics.REGISTRY.get_sample_value("lictor_gate_in_flight_bytes")
        calls.hold.set()

    assert text == "refused busy u-1"
    assert held == 90_000 + len(HEAD)
    assert first.result()[1] == "admitted"
    assert metrics.REGISTRY.get_sample_value("lictor_gate_in_flight_bytes") == 0


async def test_server_does_not_unpack_bodies() -> None:
    """A small body that unpacks to a large one is taken as the bytes that it is."""
    calls = Calls()
    async with serving(calls) as served:
        await post(served, b"\x1f\x8b junk", headers={"Content-Encoding": "gzip"})

    assert calls.judged[0][0] == b"\x1f\x8b junk"


async def test_server_refuses_a_class_that_is_not_configured() -> None:
    """A webhook of an unknown class is not judged by no policy at all: it is denied."""
    calls = Calls()
    async with serving(calls) as served:
        status, text, _ = await post(served, HEAD, "/v1/validate/shut")

    assert (status, text) == (200, "refused unknown-class u-1")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/validate/open", 405),
        ("POST", "/v1/validate", 404),
        ("POST", "/v1/validate/open/x", 404),
        ("POST", "/v1/judge/open", 404),
        ("GET", "/", 404),
        ("GET", "/metrics", 404),
    ],
)
async def test_server_knows_its_paths(method: str, path: str, status: int) -> None:
    """Other paths and methods are nobody's; metrics have a port of their own."""
    async with (
        serving(Calls()) as served,
        served.session.request(method, served.url + path) as response,
    ):
        assert response.status == status


@pytest.mark.parametrize(
    ("problems", "status", "text"),
    [((), 200, "ok\n"), (("the namespaces are not read yet",), 503, "the namespaces are not")],
)
async def test_readyz_says_what_is_missing(problems: Sequence[str], status: int, text: str) -> None:
    """Readiness is 503 with reasons until everything is there; liveness does not depend on it."""
    async with serving(Calls(), problems=problems) as served:
        async with served.session.get(served.url + "/readyz") as response:
            assert response.status == status
            assert text in await response.text()
        async with served.session.get(served.url + "/healthz") as response:
            assert response.status == 200


async def test_drain_closes_each_connection_with_its_next_answer() -> None:
    """Clients turn to other replicas, and readiness says so."""
    async with serving(Calls()) as served:
        served.server.drain()
        _, text, response = await post(served)
        async with served.session.get(served.url + "/readyz") as ready:
            assert ready.status == 503

    assert text == "admitted"
    assert response.headers["Connection"] == "close"


async def test_listen_answers_what_has_begun_before_it_ends() -> None:
    """A review that is being judged when the gate stops is answered."""
    calls = Calls(hold=asyncio.Event())
    assert calls.hold is not None
    async with client() as session, asyncio.TaskGroup() as group, serving(calls) as served:
        begun = group.create_task(post(replace(served, session=session)))
        await calls.asked.wait()
        asyncio.get_running_loop().call_later(0.5, calls.hold.set)

    assert begun.result()[:2] == (200, "admitted")


async def test_listen_does_not_wait_for_ever() -> None:
    """What hangs is cut after the time that is given."""
    calls = Calls(hold=asyncio.Event())
    loop = asyncio.get_running_loop()
    started = loop.time()
    async with (
        client() as session,
        asyncio.TaskGroup() as group,
        serving(calls, drain_seconds=0.1) as served,
    ):
        begun = group.create_task(_is_cut(replace(served, session=session)))
        await calls.asked.wait()

    assert begun.result()
    assert loop.time() - started < 5


async def _is_cut(served: Served) -> bool:
    try:
        await post(served)
    except aiohttp.ClientError:
        return True
    return False


async def test_server_answers_though_idle_connections_fill_it() -> None:
    """Who opens connections and says nothing cannot keep the API server out, which would admit."""
    async with serving(Calls(), connections=2) as served:
        silent = [
            await asyncio.open_connection("127.0.0.1", served.port, ssl=trusting())
            for _ in range(2)
        ]
        answers = [(await post(served))[0] for _ in range(2)]
        ends = [await asyncio.wait_for(silent[0][0].read(), 1)]
        silent[1][1].close()

    assert answers == [200, 200]
    assert ends == [b""]


async def test_server_bounds_its_connections() -> None:
    """One connection more than allowed is closed while all others are at work; they go on."""
    calls = Calls(hold=asyncio.Event())
    before = metrics.REGISTRY.get_sample_value(
        "lictor_limit_hits_total", {"limit": "gate_connections"}
    )
    async with serving(calls, connections=2) as served, asyncio.TaskGroup() as group:
        working = [group.create_task(post(served)) for _ in range(2)]
        while len(calls.judged) < 2:  # noqa: ASYNC110 (one event cannot count)
            await asyncio.sleep(0.01)
        with pytest.raises(aiohttp.ClientError, match=r"(?s).*"):
            await post(served)
        assert calls.hold is not None
        calls.hold.set()

    assert [task.result()[0] for task in working] == [200, 200]
    hits = metrics.REGISTRY.get_sample_value(
        "lictor_limit_hits_total", {"limit": "gate_connections"}
    )
    assert hits is not None
    assert hits > (before or 0)


async def test_server_survives_what_is_no_http() -> None:
    """Endless lines, endless headers and junk cost a connection, not the server."""
    calls = Calls()
    async with serving(calls) as served:
        for junk in (
            b"\x16\x03\x01 junk\r\n\r\n",
            b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\n\r\n",
            b"POST /v1/validate/open HTTP/1.1\r\n" + b"A: b\r\n" * 500 + b"\r\n",
            b"POST /v1/validate/open HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        ):
            reader, writer = await asyncio.open_connection("127.0.0.1", served.port, ssl=trusting())
            writer.write(junk)
            assert b" 400 " in await reader.readline()
            writer.close()
        status, _, _ = await post(served)

    assert status == 200
    assert len(calls.judged) == 1


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("10s", 9.5),
        ("5s", 4.5),
        ("1s", 0.5),
        ("4.5s", 4.0),
        ("0.5s", 0.25),
        ("1m0s", 29.5),
        ("1m", 29.5),
        ("", 6.5),
        ("s", 6.5),
        ("forever", 6.5),
        ("-5s", 6.5),
        ("1h", 6.5),
    ],
)
def test_budget_of_leaves_a_margin(text: str, seconds: float) -> None:
    """The answer must be there before the API server gives up; nonsense counts as missing."""
    assert budget_of(text, default=7.0) == seconds
