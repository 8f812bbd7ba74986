"""Metrics and liveness over plain HTTP, on a port of their own."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from lictor.telemetry.metrics import REGISTRY

Problems = Callable[[], Sequence[str]]
"""Says, one line each, why the process is not alive; empty where it is."""


def _none() -> Sequence[str]:
    return ()


@asynccontextmanager
async def serve_metrics(
    host: str, port: int, *, registry: CollectorRegistry = REGISTRY, problems: Problems = _none
) -> AsyncIterator[int]:
    """Serve `/metrics` and `/healthz` while the context lasts; gives the port that is bound.

    `/healthz` answers 200, or 503 with what `problems` says.

    Raises:
        OSError: the address cannot be bound.
    """
    # No access log: Prometheus comes every few seconds, and says nothing new.
    runner = web.AppRunner(_application(registry, problems), access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        await site.start()
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


def _application(registry: CollectorRegistry, problems: Problems) -> web.Application:
    async def metrics(request: web.Request) -> web.Response:
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return web.Response(body=encode(registry), headers={"Content-Type": content_type})

    async def healthz(_request: web.Request) -> web.Response:
        found = problems()
        if found:
            return web.Response(status=503, text="".join(f"{line}\n" for line in found))
        return web.Response(text="ok\n")

    # Nothing here takes a body; what comes with one is refused beyond 1 KiB.
    application = web.Application(client_max_size=1024)
    application.router.add_get("/metrics", metrics)
    application.router.add_get("/healthz", healthz)
    return application
