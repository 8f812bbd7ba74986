"""Workloads that tests and the tour create: good ones, and the ways in which they go bad."""

from collections.abc import Mapping
from typing import Any, Final

GOOD_IMAGE: Final = "registry.example.com/shop/web:1.4.2"
BAD_IMAGE: Final = "docker.io/library/miner:latest"
OWNER_LABEL: Final = "lictor.dev/owner"
PATH: Final = "/apis/apps/v1/namespaces/{namespace}/deployments"


def deployment(
    name: str,
    *,
    labels: Mapping[str, str] | None = None,
    image: str = GOOD_IMAGE,
    privileged: bool = False,
    replicas: int = 2,
) -> dict[str, Any]:
    """Return a Deployment; privileged, or from another registry, it violates."""
    container = {
        "name": "web",
        "image": image,
        "securityContext": {"privileged": privileged},
        "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": {"app": name, **(labels or {})}},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [container]},
            },
        },
    }


def collection(namespace: str) -> str:
    """Return the URL path of a namespace's Deployments."""
    return PATH.format(namespace=namespace)


def going_bad() -> dict[str, Any]:
    """Return the strategic merge patch that makes a Deployment's container go bad."""
    container = {
        "name": "web",
        "image": BAD_IMAGE,
        "securityContext": {"privileged": True},
    }
    return {"spec": {"template": {"spec": {"containers": [container]}}}}


def is_good(body: Mapping[str, Any]) -> bool:
    """Judge a Deployment without asking any policy: unprivileged, and from the one registry."""
    return all(
        not container.get("securityContext", {}).get("privileged", False)
        and container["image"].startswith("registry.example.com/")
        for container in body["spec"]["template"]["spec"]["containers"]
    )
