"""Describes where a measurement was made, and keeps its result."""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

from lictor.system import SystemClock

RESULTS: Final = Path(__file__).resolve().parent / "results"


def describe() -> dict[str, Any]:
    """Return what a reader needs to compare: processor, cores, memory, kernel and Python."""
    pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(pages * size / 2**30, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def keep(name: str, result: Mapping[str, Any]) -> Path:
    """Write a result to `results/<name>.json`, print it, and return the path."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    measured = SystemClock().now().date().isoformat()
    text = json.dumps({"machine": describe(), "date": measured, **result}, indent=2)
    path.write_text(text + "\n")
    print(f"{path.name}: {json.dumps(dict(result))}", flush=True)
    return path


def percentiles(seconds: Sequence[float]) -> dict[str, float]:
    """Return P50, P95, P99 and the maximum, in milliseconds."""
    ordered = sorted(seconds)

    def at(share: float) -> float:
        return round(1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))], 3)

    return {
        "p50_ms": round(1000 * median(ordered), 3),
        "p95_ms": at(0.95),
        "p99_ms": at(0.99),
        "max_ms": round(1000 * ordered[-1], 3),
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or "unknown"
