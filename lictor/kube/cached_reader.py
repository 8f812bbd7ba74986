"""Reads that a cache answers, where it can."""

from collections.abc import Sequence

from typing_extensions import override

from lictor.model.document import Document
from lictor.model.names import ObjectKey
from lictor.ports.object_cache import ObjectCache
from lictor.ports.reader import Reader


class CachedReader(Reader):
    """Asks the cache of the resource first, and the API server on a miss.

    A miss is not kept: what does not exist may be made in the next moment.
    """

    def __init__(self, caches: Sequence[ObjectCache], live: Reader) -> None:
        self._caches = {cache.resource: cache for cache in caches}
        self._live = live

    @override
    async def get(self, key: ObjectKey) -> Document | None:
        cache = self._caches.get(key.resource)
        if cache is not None and cache.synced():
            found = cache.latest(key)
            if found is not None:
                return found
        return await self._live.get(key)
