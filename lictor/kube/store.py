"""The objects that an informer holds: compressed bytes, and the little that bookkeeping needs."""

import zlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from lictor.model.document import Document
from lictor.model.names import Gvr, ObjectKey, ResourceVersion, Uid
from lictor.telemetry import metrics

Place: TypeAlias = tuple[str, str]
"""Namespace and name."""

_LEVEL: Final = 1
"""zlib's fastest level makes 1.65 KB of a Pod of 6 KB."""

OVERTAKEN_STATES: Final = 4
OVERTAKEN_BYTES: Final = 64 * 1024 * 1024
"""Of all objects of one resource together."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One state of one object."""

    uid: Uid
    version: ResourceVersion
    body: bytes

    @classmethod
    def of(cls, document: Document) -> "Entry":
        """Compress a state."""
        body = zlib.compress(document.raw, _LEVEL)
        return cls(document.uid, document.resource_version, body)

    def document(self) -> Document:
        """Return the state as it was read."""
        return Document(zlib.decompress(self.body))


class Store:
    """The newest state of each object, and those that were overtaken before anybody took them."""

    def __init__(self, resource: Gvr, *, keep_overtaken: bool) -> None:
        self._resource = resource
        self._entries: dict[Place, Entry] = {}
        self._overtaken: OrderedDict[Place, list[Entry]] = OrderedDict()
        self._overtaken_bytes = 0
        self._keep_overtaken = keep_overtaken
        self._size = metrics.CACHED_OBJECTS.labels(kind=resource.resource)

    def get(self, key: ObjectKey) -> Entry | None:
        """Return the newest state of an object."""
        return self._entries.get((key.namespace, key.name))

    def keys(self) -> Sequence[ObjectKey]:
        """Return all keys, sorted."""
        return [ObjectKey(self._resource, *place) for place in sorted(self._entries)]

    def put(self, place: Place, entry: Entry) -> ObjectKey:
        """Keep a state; the one that it overtakes is kept aside."""
        earlier = self._entries.get(place)
        if earlier is not None and earlier.version != entry.version:
            self._overtake(place, earlier, uid=entry.uid)
        self._entries[place] = entry
        self._size.set(len(self._entries))
        return ObjectKey(self._resource, *place)

    def remove(self, place: Place, uid: Uid) -> ObjectKey:
        """Forget an object, unless another of the same name has taken its place."""
        held = self._entries.get(place)
        if held is not None and held.uid == uid:
            del self._entries[place]
            self._forget(place)
        self._size.set(len(self._entries))
        return ObjectKey(self._resource, *place)

    def replace(self, fresh: Mapping[Place, Entry]) -> Sequence[ObjectKey]:
        """Take a complete list; return the keys of all that came, changed or went."""
        changed = [
            self.put(place, entry) for place, entry in fresh.items() if self._differs(place, entry)
        ]
        for place in [place for place in self._entries if place not in fresh]:
            del self._entries[place]
            self._forget(place)
            changed.append(ObjectKey(self._resource, *place))
        self._size.set(len(self._entries))
        return changed

    def take(self, key: ObjectKey, uid: Uid) -> Sequence[Document]:
        """Return, newest first, and forget the overtaken states of the object with that uid."""
        states = self._forget((key.namespace, key.name))
        return [state.document() for state in reversed(states) if state.uid == uid]

    def _differs(self, place: Place, entry: Entry) -> bool:
        held = self._entries.get(place)
        return held is None or (held.uid, held.version) != (entry.uid, entry.version)

    def _overtake(self, place: Place, earlier: Entry, *, uid: Uid) -> None:
        if not self._keep_overtaken:
            return
        if earlier.uid != uid:
            self._forget(place)
            return
        states = self._overtaken.setdefault(place, [])
        states.append(earlier)
        self._overtaken_bytes += len(earlier.body)
        if len(states) > OVERTAKEN_STATES:
            self._overtaken_bytes -= len(states.pop(0).body)
            metrics.LIMIT_HITS.labels(limit="overtaken-states").inc()
        while self._overtaken_bytes > OVERTAKEN_BYTES:
            self._forget(next(iter(self._overtaken)))
            metrics.LIMIT_HITS.labels(limit="overtaken-bytes").inc()

    def _forget(self, place: Place) -> list[Entry]:
        states = self._overtaken.pop(place, [])
        self._overtaken_bytes -= sum(len(state.body) for state in states)
        return states
