"""Which kind a resource has, which resource a kind, and which version of a group is preferred."""

import time
from dataclasses import dataclass
from typing import Final, TypeVar

import msgspec

from lictor.errors import ObjectNotFoundError, UnavailableError
from lictor.kube.client import KubeClient
from lictor.model.names import Gvk, Gvr
from lictor.telemetry import metrics

_CACHED: Final = 1_000
"""Groups and versions; a cluster with many operators has some hundred."""

_FRESH_SECONDS: Final = 600.0
"""As kubectl keeps what it has discovered."""

_MISS_SECONDS: Final = 10.0
"""What was missing is asked for again sooner: a CRD may have come."""


class _Resource(msgspec.Struct, frozen=True):
    name: str
    kind: str
    namespaced: bool = False
    verbs: tuple[str, ...] = ()


class _ResourceList(msgspec.Struct, frozen=True):
    resources: tuple[_Resource, ...] | None = None


class _Version(msgspec.Struct, frozen=True):
    version: str


class _Group(msgspec.Struct, frozen=True, rename="camel"):
    preferred_version: _Version


_T = TypeVar("_T", bound=msgspec.Struct)


@dataclass(frozen=True, slots=True)
class _Known:
    resources: tuple[_Resource, ...]
    at: float


class Discovery:
    """Asks once in a while for each group and version."""

    def __init__(self, client: KubeClient) -> None:
        self._client = client
        self._known: dict[str, _Known] = {}

    async def kind_of(self, resource: Gvr) -> Gvk | None:
        """Return the kind of a resource; None where it is not served.

        Raises:
            ApiError: the API server refused (404 where the group is not there) or can't answer.
        """
        served = await self._served(resource)
        return Gvk(resource.group, resource.version, served.kind) if served else None

    async def resource_for(self, kind: Gvk) -> Gvr | None:
        """Return the resource of a kind; None where it is not served.

        Raises:
            ApiError: the API server refused (404 where the group is not there) or can't answer.
        """
        path = Gvr(kind.group, kind.version, "").path
        for fresh_seconds in (_FRESH_SECONDS, _MISS_SECONDS):
            for served in await self._resources(path, fresh_seconds):
                if served.kind == kind.kind and "/" not in served.name:
                    return Gvr(kind.group, kind.version, served.name)
        return None

    async def watchable(self, resource: Gvr) -> bool:
        """Return whether the resource can be listed and watched.

        Raises:
            ApiError: the API server refused (404 where the group is not there) or can't answer.
        """
        served = await self._served(resource)
        return served is not None and {"list", "watch"} <= set(served.verbs)

    async def namespaced(self, resource: Gvr) -> bool | None:
        """Return whether objects of the resource are in namespaces; None where it is not served.

        Raises:
            ApiError: the API server refused (404 where the group is not there) or can't answer.
        """
        served = await self._served(resource)
        return served.namespaced if served else None

    async def preferred_version(self, group: str) -> str | None:
        """Return the version that the API server prefers; None where it knows no such group.

        Raises:
            ApiError: the API server refused or could not answer.
        """
        if not group:
            return "v1"
        try:
            found = await self._get(f"/apis/{group}", _Group)
        except ObjectNotFoundError:
            return None
        return found.preferred_version.version

    def forget(self) -> None:
        """Ask the API server again from now on."""
        self._known.clear()

    async def _served(self, resource: Gvr) -> _Resource | None:
        for fresh_seconds in (_FRESH_SECONDS, _MISS_SECONDS):
            for served in await self._resources(resource.path, fresh_seconds):
                if served.name == resource.resource:
                    return served
        return None

    async def _resources(self, path: str, fresh_seconds: float) -> tuple[_Resource, ...]:
        known = self._known.get(path)
        if known is not None and time.monotonic() - known.at < fresh_seconds:
            return known.resources
        found = (await self._get(path, _ResourceList)).resources or ()
        if len(self._known) >= _CACHED:
            metrics.LIMIT_HITS.labels(limit="discovery-groups").inc()
            self._known.clear()
        self._known[path] = _Known(found, time.monotonic())
        return found

    async def _get(self, path: str, kind: type[_T]) -> _T:
        body = await self._client.request("GET", path)
        try:
            return msgspec.json.decode(body, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError) as err:
            raise UnavailableError(f"GET {path}: the answer is no discovery: {err}") from err
