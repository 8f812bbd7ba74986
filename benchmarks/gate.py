"""Reviews a second and their latency on one process, against a handler that does nothing.

All variants are served in turn, several times, by a process of their own over TLS with connections
that are kept; the load comes from this process. The medians of the rounds are kept.
"""

import asyncio
import json
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

from aiohttp import web
from typing_extensions import override

from admission._x509 import make_bundle
from admission.certs import load_into, server_context
from admission.emit import Emitter
from admission.review import Call, Gate
from admission.server import GateServer, Limits
from benchmarks.machine import keep, percentiles
from lictor.audit import Digester
from lictor.config.settings import AuditSettings
from lictor.decide import decide
from lictor.ledger.keys import create_signing_key
from lictor.ledger.sequencer import open_ledger
from lictor.model.document import Document
from lictor.model.facts import Facts
from lictor.model.names import Gvr, ObjectKey
from lictor.model.request import Request
from lictor.model.verdict import Decision
from lictor.policy import Snapshot, load
from lictor.ports.audit_sink import AuditSink
from lictor.sources.folder import FolderSource
from lictor.system import SystemClock
from testkit.ports import LOOPBACK
from testkit.simulators.audit_sink import MemoryAuditSink
from testkit.world import POLICIES

VARIANTS: Final = ("noop", "no_policy", "unrecorded", "executor", "gate")
ROUNDS: Final = 5
SECONDS: Final = 3.0
WARM_UP_SECONDS: Final = 0.5
CONNECTIONS: Final = 16
CALM_CONNECTIONS: Final = 1
THREADS: Final = 2
"""Of the executor: one a core."""

_KEY: Final = ObjectKey(Gvr("", "v1", "namespaces"), "", "shop")
_NAMESPACE: Final = Document(
    b'{"apiVersion":"v1","kind":"Namespace",'
    b'"metadata":{"name":"shop","labels":{"lictor.dev/owner":"team-shop"}}}'
)


class Namespaces:
    """The informer's cache."""

    async def get(self, _key: ObjectKey) -> Document | None:
        """Return the one namespace."""
        return _NAMESPACE


class ThreadedGate(Gate):
    """Decides in a bounded pool of threads, for comparison."""

    __slots__ = ()
    pool = ThreadPoolExecutor(THREADS)

    @override
    async def _decide(self, request: Request, call: Call) -> Decision:
        facts = Facts(namespaces={request.namespace: await self.reader.get(_KEY)})
        loop = asyncio.get_running_loop()
        result = await loop.run_in_executor(self.pool, decide, request, self.snapshot, facts)
        assert isinstance(result, Decision)  # noqa: S101 (the facts are complete)
        return result


@dataclass(frozen=True, slots=True)
class Load:
    """What one round of one variant gave."""

    rate: float
    seconds: list[float]


def pod_review() -> bytes:
    """A CREATE of a Pod with three containers, as the API server writes it: 5.7 KB."""
    container = {
        "image": "registry.k8s.io/shop/web@sha256:" + "0" * 64,
        "command": ["/bin/web", "--listen", ":8080"],
        "env": [{"name": f"SETTING_{n}", "value": f"value-{n}"} for n in range(20)],
        "resources": {
            "limits": {"cpu": "500m", "memory": "256Mi"},
            "requests": {"cpu": "100m", "memory": "128Mi"},
        },
        "livenessProbe": {"httpGet": {"path": "/healthz", "port": 8080, "scheme": "HTTP"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
        },
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
        "volumeMounts": [{"mountPath": f"/data/{n}", "name": f"data-{n}"} for n in range(3)],
    }
    labels = {"app": "web", "lictor.dev/owner": "team-shop"}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "web-1", "namespace": "shop", "uid": "0" * 36, "labels": labels},
        "spec": {"containers": [{"name": f"web-{n}", **container} for n in range(3)]},
    }
    kind = {"group": "", "version": "v1", "kind": "Pod"}
    resource = {"group": "", "version": "v1", "resource": "pods"}
    user = {"username": "system:serviceaccount:kube-system:replicaset-controller", "groups": ["a"]}
    request = {
        "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
        "kind": kind,
        "resource": resource,
        "requestKind": kind,
        "requestResource": resource,
        "name": "web-1",
        "namespace": "shop",
        "operation": "CREATE",
        "userInfo": user,
        "object": pod,
        "oldObject": None,
        "dryRun": False,
        "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"},
    }
    review = {"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": request}
    return json.dumps(review, separators=(",", ":")).encode()


async def measure() -> None:
    """Serve each variant in turn, load it, and keep the medians."""
    body = pod_review()
    busy: dict[str, list[Load]] = {name: [] for name in VARIANTS}
    calm: dict[str, list[Load]] = {name: [] for name in VARIANTS}
    for _ in range(ROUNDS):
        for name in VARIANTS:
            with tempfile.TemporaryDirectory() as folder:
                async with served(name, Path(folder)) as (port, context):
                    await load_for(WARM_UP_SECONDS, port, context, body=body)
                    busy[name].append(await load_for(SECONDS, port, context, body=body))
                    calm[name].append(
                        await load_for(
                            SECONDS / 3, port, context, body=body, count=CALM_CONNECTIONS
                        )
                    )
    keep(
        "gate",
        {
            "review_bytes": len(body),
            "connections": CONNECTIONS,
            "rounds": ROUNDS,
            **{name: _summary(busy[name], calm[name]) for name in VARIANTS},
        },
    )


def _summary(busy: list[Load], calm: list[Load]) -> dict[str, Any]:
    return {
        "requests_per_second": round(median(one.rate for one in busy)),
        "busy": _median(busy),
        "one_connection": _median(calm),
    }


def _median(rounds: list[Load]) -> dict[str, float]:
    found = [percentiles(one.seconds) for one in rounds]
    return {key: round(median(one[key] for one in found), 3) for key in ("p50_ms", "p99_ms")}


async def load_for(
    seconds: float, port: int, context: ssl.SSLContext, *, body: bytes, count: int = CONNECTIONS
) -> Load:
    """Send reviews on `count` connections, each one after the other, for so long."""
    head = (
        b"POST /v1/validate/open?timeout=5s HTTP/1.1\r\nHost: gate\r\n"
        b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
    )
    until = time.perf_counter() + seconds
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(_one_connection(port, context, head + body, until))
            for _ in range(count)
        ]
    times = [found for task in tasks for found in task.result()]
    return Load(len(times) / seconds, times)


async def _one_connection(
    port: int, context: ssl.SSLContext, request: bytes, until: float
) -> list[float]:
    reader, writer = await asyncio.open_connection(LOOPBACK, port, ssl=context)
    times = []
    while (began := time.perf_counter()) < until:
        writer.write(request)
        answer = await reader.readuntil(b"\r\n\r\n")
        length = int(answer.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        body = await reader.readexactly(length)
        assert b'"allowed":true' in body, (answer, body)  # noqa: S101 (else nothing is measured)
        times.append(time.perf_counter() - began)
    writer.close()
    return times


@asynccontextmanager
async def served(name: str, folder: Path) -> AsyncIterator[tuple[int, ssl.SSLContext]]:
    """Run one variant in a process of its own; gives its port and a context that trusts it."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.gate", name, str(folder)), stdout=subprocess.PIPE
    )
    assert process.stdout is not None  # noqa: S101 (asked for)
    try:
        port = int(await process.stdout.readline())
        context = ssl.create_default_context(cafile=str(folder / "ca.crt"))
        context.check_hostname = False
        yield port, context
    finally:
        process.terminate()
        await process.wait()


async def serve(name: str, folder: Path) -> None:
    """Serve one variant until the process is ended."""
    clock = SystemClock()
    bundle = make_bundle([LOOPBACK], now=clock.now())
    (folder / "ca.crt").write_bytes(bundle.authorities)
    context = server_context()
    load_into(context, bundle)
    if name == "noop":
        server = web.Server(_do_nothing, access_log=None)
        listener = await asyncio.get_running_loop().create_server(server, LOOPBACK, 0, ssl=context)
        print(listener.sockets[0].getsockname()[1], flush=True)
        await listener.serve_forever()
    law = load(()) if name == "no_policy" else load(FolderSource([POLICIES]).read())
    kind = ThreadedGate if name == "executor" else Gate
    async with _sink(name, folder) as sink:
        await _serve_gate(kind, law, sink, context=context)


async def _serve_gate(
    kind: type[Gate], law: Snapshot, sink: AuditSink, *, context: ssl.SSLContext
) -> None:
    clock = SystemClock()
    gate = kind(
        snapshot=law,
        reader=Namespaces(),
        sink=sink,
        emitter=Emitter(Digester("e1", b"k" * 32), engine="0"),
        clock=clock,
        max_depth=200,
        record_seconds=0.25,
    )
    limits = Limits(review_bytes=2**25, in_flight_bytes=2**28, keepalive_seconds=120.0)
    server = GateServer(gate, lambda: (), limits=limits, timeouts={"open": 5.0}, clock=clock)
    async with server.listen(LOOPBACK, 0, context=context, drain_seconds=1.0) as port:
        print(port, flush=True)
        await asyncio.Event().wait()


@asynccontextmanager
async def _sink(name: str, folder: Path) -> AsyncIterator[AuditSink]:
    if name in {"unrecorded", "no_policy"}:
        yield MemoryAuditSink()
        return
    key = folder / "key"
    create_signing_key(key, origin="lictor.example/bench")
    settings = AuditSettings(
        path=str(folder / "ledger"), origin="lictor.example/bench", key=str(key)
    )
    async with open_ledger(settings, cluster="", version="0", clock=SystemClock()) as ledger:
        yield ledger


async def _do_nothing(request: web.BaseRequest) -> web.StreamResponse:
    await request.read()
    return web.Response(
        body=b'{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview",'
        b'"response":{"uid":"705ab4f5-6393-11e8-b7cc-42010a800002","allowed":true}}',
        content_type="application/json",
    )


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], Path(sys.argv[2])) if len(sys.argv) > 1 else measure())
