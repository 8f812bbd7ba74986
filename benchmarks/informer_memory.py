"""What an informer's cache weighs: resident memory per 10,000 objects, and how long it takes.

A server in a process of its own plays the API server's part of a WatchList, with Deployments that
are as large as real ones (managedFields and all); a fresh process follows them with our client and
informer. The difference of its resident memory, before and after, is what the objects cost: index,
compressed bodies, and what the allocator keeps.
"""

import asyncio
import gc
import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from typing import Any, Final

from aiohttp import web

from benchmarks.machine import keep
from lictor.config.settings import ClusterSettings
from lictor.kube.client import open_client
from lictor.kube.informer import Informer
from lictor.model.names import Gvk, Gvr
from testkit.workloads import deployment

OBJECTS: Final = 50_000
UNIT: Final = 10_000
DEPLOYMENTS: Final = Gvr("apps", "v1", "deployments")
DEPLOYMENT: Final = Gvk("apps", "v1", "Deployment")
MANAGERS: Final = ("kubectl-client-side-apply", "kube-controller-manager", "argocd-controller")


def measure() -> None:
    """Measure one informer in a process of its own."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    server = context.Process(target=_serve, args=(there,), daemon=True)
    server.start()
    url, size = here.recv()
    follower = context.Process(target=_follow, args=(there, url))
    follower.start()
    result: dict[str, Any] = here.recv()
    follower.join()
    server.kill()
    keep("informer_memory", {"objects": OBJECTS, "json_bytes_per_object": size, **result})


def _follow(report: Connection, url: str) -> None:
    report.send(asyncio.run(_followed(url)))


async def _followed(url: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        path = _kubeconfig(Path(folder), url)
        async with open_client(ClusterSettings(kubeconfig=str(path))) as client:
            informer = Informer(client, DEPLOYMENTS, DEPLOYMENT, keep_overtaken=True)
            gc.collect()
            before, began = _resident(), time.monotonic()
            task = asyncio.ensure_future(informer.run())
            await informer.wait_synced()
            took = time.monotonic() - began
            gc.collect()
            added = _resident() - before
            held = len(informer.keys())
            task.cancel()
    if held != OBJECTS:
        raise SystemExit(f"{held} objects came; expected {OBJECTS}")
    return {
        "mib_before": round(before / 2**20, 1),
        f"mib_per_{UNIT}_objects": round(added / OBJECTS * UNIT / 2**20, 1),
        "bytes_per_object": round(added / OBJECTS),
        "seconds_to_sync": round(took, 2),
    }


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _kubeconfig(folder: Path, url: str) -> Path:
    path = folder / "kubeconfig"
    document = {
        "clusters": [{"name": "c", "cluster": {"server": url}}],
        "users": [{"name": "u", "user": {}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    path.write_text(json.dumps(document))
    return path


def _serve(report: Connection) -> None:
    asyncio.run(_served(report))


async def _served(report: Connection) -> None:
    lines = list(_lines())

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for start in range(0, len(lines), 100):
            await response.write(b"".join(lines[start : start + 100]))
        await asyncio.Event().wait()
        return response

    runner = web.ServerRunner(web.Server(handle))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    size = sum(len(line) for line in lines) // len(lines)
    report.send((f"http://127.0.0.1:{runner.addresses[0][1]}", size))
    await asyncio.Event().wait()


def _lines() -> Iterator[bytes]:
    """Yield the initial events of a WatchList and the bookmark that ends them."""
    random = Random(7)  # noqa: S311 - the same objects each time
    for number in range(OBJECTS):
        yield _line("ADDED", _object(number, random))
    end = {"resourceVersion": "1", "annotations": {"k8s.io/initial-events-end": "true"}}
    yield _line("BOOKMARK", {"kind": "Deployment", "apiVersion": "apps/v1", "metadata": end})


def _line(kind: str, item: object) -> bytes:
    return json.dumps({"type": kind, "object": item}, separators=(",", ":")).encode() + b"\n"


def _object(number: int, random: Random) -> dict[str, Any]:
    """Return a Deployment with what differs from object to object in a real cluster."""
    body = deployment(f"app-{number}", labels={"app": f"app-{number}", "team": f"t{number % 40}"})
    body["metadata"] |= {
        "namespace": f"team-{number % 40}",
        "uid": f"{random.getrandbits(128):032x}",
        "resourceVersion": str(random.getrandbits(30)),
        "generation": random.randint(1, 40),
        "annotations": {"checksum/config": f"{random.getrandbits(256):064x}"},
        "managedFields": [_managed(manager, body, random) for manager in MANAGERS],
    }
    container = body["spec"]["template"]["spec"]["containers"][0]
    container["image"] += f"@sha256:{random.getrandbits(256):064x}"
    container["env"] = [
        {"name": f"SETTING_{index}", "value": f"{random.getrandbits(64):016x}"}
        for index in range(20)
    ]
    body["status"] = {"replicas": 3, "readyReplicas": 3, "observedGeneration": 4}
    return body


def _managed(manager: str, body: dict[str, Any], random: Random) -> dict[str, Any]:
    """Return an entry of managedFields over everything in `body`."""
    return {
        "manager": manager,
        "operation": "Update",
        "apiVersion": "apps/v1",
        "time": f"2026-01-{random.randint(10, 28)}T10:{random.randint(10, 59)}:00Z",
        "fieldsType": "FieldsV1",
        "fieldsV1": {"f:spec": _fields(body["spec"])},
    }


def _fields(node: object) -> dict[str, Any]:
    if isinstance(node, dict):
        return {f"f:{name}": _fields(value) for name, value in node.items()}
    if isinstance(node, list):
        return {f'k:{{"name":"{index}"}}': _fields(value) for index, value in enumerate(node)}
    return {}


if __name__ == "__main__":
    measure()
