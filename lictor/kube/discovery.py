"""Which kind a resource has, and which resource a kind."""

from typing import Final

import msgspec

from lictor.errors import InputError
from lictor.kube.client import KubeClient
from lictor.model.names import Gvk, Gvr
from lictor.telemetry import metrics

_CACHED_GROUPS: Final = 1_000


class _Resource(msgspec.Struct, frozen=True):
    name: str
    kind: str
    namespaced: bool = False
    verbs: list[str] = msgspec.field(default_factory=list)


class _ResourceList(msgspec.Struct, frozen=True):
    resources: list[_Resource] = msgspec.field(default_factory=list)


class Discovery:
    """Asks once a group and version; `forget` asks again."""

    def __init__(self, client: KubeClient) -> None:
        self._client = client
        self._known: dict[tuple[str, str], list[_Resource]] = {}

    async def kind_of(self, resource: Gvr) -> Gvk | None:
        """Return the kind of a resource; None where it is not served.

        Raises:
            ApiError: the API server refused (404 where the group is not there) or can't answer.
            InputError: the answer is not a resource list.
        """
        for served in await self._resources(resource.group, resource.version):
            if served.name == resource.resource:
                return Gvk(resource.group, resource.version, served.kind)
        return None

    async def resource_for(self, kind: Gvk) -> Gvr | None:
        """Return the resource of a kind; None where it is not served.

        Raises:
            ApiError: the API server refused (404 where the group is not there) or can't answer.
            InputError: the answer is not a resource list.
        """
        for served in await self._resources(kind.group, kind.version):
            if served.kind == kind.kind and "/" not in served.name:
                return Gvr(kind.group, kind.version, served.name)
        return None

    async def watchable(self, resource: Gvr) -> bool:
        """Return whether the resource can be listed and watched.

        Raises:
            ApiError: the API server refused (404 where the group is not there) or can't answer.
            InputError: the answer is not a resource list.
        """
        return any(
            served.name == resource.resource and {"list", "watch"} <= set(served.verbs)
            for served in await self._resources(resource.group, resource.version)
        )

    def forget(self) -> None:
        """Ask the API server again from now on."""
        self._known.clear()

    async def _resources(self, group: str, version: str) -> list[_Resource]:
        known = self._known.get((group, version))
        if known is not None:
            return known
        body = await self._client.request("GET", Gvr(group, version, "").path)
        try:
            found = msgspec.json.decode(body, type=_ResourceList).resources
        except (msgspec.DecodeError, UnicodeDecodeError) as err:
            raise InputError(f"the resources of {group}/{version}: {err}") from err
        if len(self._known) >= _CACHED_GROUPS:
            metrics.LIMIT_HITS.labels(limit="discovery-groups").inc()
            self._known.clear()
        self._known[group, version] = found
        return found
