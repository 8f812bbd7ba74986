"""What an informer last saw."""

from collections.abc import Callable, Sequence
from typing import Protocol

from lictor.model.document import Document
from lictor.model.names import Gvr, ObjectKey, Uid


class ObjectCache(Protocol):
    """The objects of one resource, kept in step with the API server by a watch."""

    @property
    def resource(self) -> Gvr:
        """The resource that is watched."""
        ...

    def synced(self) -> bool:
        """Return whether the first list is complete and no relist is due."""
        ...

    def subscribe(self, notify: Callable[[ObjectKey], None]) -> None:
        """Call `notify` with the key of each object that comes, changes or goes.

        It must not block.
        """
        ...

    def latest(self, key: ObjectKey) -> Document | None:
        """Return the newest state that was seen; None where the object is gone."""
        ...

    def keys(self) -> Sequence[ObjectKey]:
        """Return the keys of all objects, sorted."""
        ...


class UnjudgedStates(Protocol):
    """States that a newer one overtook before anybody judged them."""

    def take(self, key: ObjectKey, uid: Uid) -> Sequence[Document]:
        """Return, newest first, and forget the overtaken states of the object with that uid."""
        ...
