"""Finds the real programs that tests and `make up` run."""

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Missing:
    """A program cannot be had, and why."""

    reason: str


def find(name: str) -> Path | Missing:
    """Return the path of a program, or why there is none."""
    assets = os.environ.get("KUBEBUILDER_ASSETS", "")
    path = Path(assets) / name
    if assets and os.access(path, os.X_OK):
        return path.absolute()
    return Missing(f"{name} is not in KUBEBUILDER_ASSETS")
