"""A cache of one resource that a watch keeps in step with the API server."""

import asyncio
from collections.abc import Callable, Sequence
from random import Random

from typing_extensions import override

from lictor.errors import LictorError
from lictor.kube.client import KubeClient
from lictor.kube.listing import Listing
from lictor.kube.reflector import Pace, Reflector, Sink
from lictor.kube.store import Entry, Store
from lictor.model.document import Document
from lictor.model.names import Gvk, Gvr, ObjectKey, Uid
from lictor.ports.object_cache import ObjectCache, UnjudgedStates


class Informer(ObjectCache, UnjudgedStates):
    """A cache that `run` keeps in step; everything else may be called at any time."""

    def __init__(
        self,
        client: KubeClient,
        resource: Gvr,
        kind: Gvk,
        *,
        keep_overtaken: bool = False,
        pace: Pace | None = None,
        random: Random | None = None,
    ) -> None:
        """Watch nothing yet.

        Args:
            client: whose identity may list and watch the resource.
            resource: in all namespaces.
            kind: list items do not say their kind themselves.
            keep_overtaken: keep states for `take`, for resources whose objects are judged.
            pace: how patient to be; client-go's times as a rule.
            random: spreads the ends of watches and the waits.
        """
        self._resource = resource
        self._kind = kind
        self._feed = _Feed(Store(resource, keep_overtaken=keep_overtaken))
        self._reflector = Reflector(
            client,
            resource,
            kind=kind,
            sink=self._feed,
            pace=pace or Pace(),
            random=random,
        )

    @property
    @override
    def resource(self) -> Gvr:
        return self._resource

    @property
    def kind(self) -> Gvk:
        """The kind of the objects."""
        return self._kind

    @override
    def synced(self) -> bool:
        return self._reflector.current

    async def wait_synced(self) -> None:
        """Wait until the first list is complete.

        Raises:
            ApiError: the API server has refused us for too long: a right is missing, or the
                resource is not served. `run` goes on trying.
        """
        await self._feed.decided.wait()
        if self._feed.refusal is not None:
            raise self._feed.refusal

    @override
    def subscribe(self, notify: Callable[[ObjectKey], None]) -> None:
        self._feed.subscribers.append(notify)

    @override
    def latest(self, key: ObjectKey) -> Document | None:
        entry = self._feed.store.get(key)
        return entry.document() if entry else None

    @override
    def keys(self) -> Sequence[ObjectKey]:
        return self._feed.store.keys()

    @override
    def take(self, key: ObjectKey, uid: Uid) -> Sequence[Document]:
        return self._feed.store.take(key, uid)

    async def run(self) -> None:
        """Keep in step until cancelled; every failure is waited out."""
        await self._reflector.run()


class _Feed(Sink):
    """Takes what the reflector brings, and tells the subscribers."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.subscribers: list[Callable[[ObjectKey], None]] = []
        self.decided = asyncio.Event()
        self.refusal: LictorError | None = None

    @override
    def replace(self, listing: Listing) -> None:
        changed = self.store.replace(listing.entries)
        self.refusal = None
        self.decided.set()
        for key in changed:
            self._tell(key)

    @override
    def put(self, document: Document) -> None:
        place = (document.meta.namespace, document.meta.name)
        self._tell(self.store.put(place, Entry.of(document)))

    @override
    def remove(self, document: Document) -> None:
        place = (document.meta.namespace, document.meta.name)
        self._tell(self.store.remove(place, document.uid))

    @override
    def refuse(self, error: LictorError) -> None:
        if not self.decided.is_set():
            self.refusal = error
            self.decided.set()

    def _tell(self, key: ObjectKey) -> None:
        for notify in self.subscribers:
            notify(key)
