"""The metrics server: what it serves, and when it says that the process is not alive."""

import aiohttp
import pytest
from prometheus_client import CollectorRegistry, Counter

from lictor.telemetry.server import serve_metrics


async def _get(port: int, path: str, **headers: str) -> tuple[int, str, str]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{port}{path}", headers=headers) as response,
    ):
        return response.status, response.headers["Content-Type"], await response.text()


async def test_metrics_server_serves_the_registry() -> None:
    """`/metrics` has the values, in Prometheus' text format."""
    registry = CollectorRegistry()
    Counter("lictor_test_total", "A test.", registry=registry).inc(3)

    async with serve_metrics("127.0.0.1", 0, registry=registry) as port:
        status, content_type, text = await _get(port, "/metrics")

    assert status == 200
    assert content_type.startswith("text/plain; version=")
    assert "\nlictor_test_total 3.0\n" in text


async def test_metrics_server_speaks_openmetrics() -> None:
    """A scraper that asks for OpenMetrics gets it, with its closing mark."""
    async with serve_metrics("127.0.0.1", 0, registry=CollectorRegistry()) as port:
        _, content_type, text = await _get(
            port, "/metrics", Accept="application/openmetrics-text; version=1.0.0"
        )

    assert content_type.startswith("application/openmetrics-text")
    assert text.endswith("# EOF\n")


@pytest.mark.parametrize(
    ("problems", "status", "text"),
    [
        pytest.param([], 200, "ok\n", id="alive"),
        pytest.param(["the watch is dead"], 503, "the watch is dead\n", id="not-alive"),
    ],
)
async def test_metrics_server_tells_liveness(problems: list[str], status: int, text: str) -> None:
    """`/healthz` answers by what the process says of itself."""
    async with serve_metrics("127.0.0.1", 0, problems=lambda: problems) as port:
        found = await _get(port, "/healthz")

    assert (found[0], found[2]) == (status, text)


async def test_metrics_server_says_that_its_port_is_taken() -> None:
    """An address that is in use is an error, not a silent other port."""
    async with serve_metrics("127.0.0.1", 0) as port:
        with pytest.raises(OSError, match="address already in use"):
            async with serve_metrics("127.0.0.1", port):
                pass
