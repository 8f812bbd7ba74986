"""A cluster in memory: objects with uids and resourceVersions, conflicts and dry runs.

It knows no schemas, no defaulting, no finalizers and no admission: what those do is tested on a
real API server.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from typing_extensions import override

from lictor.errors import (
    AlreadyExistsError,
    ApiError,
    ConflictError,
    InputError,
    InvalidError,
    ObjectNotFoundError,
)
from lictor.jsontypes import Json, JsonObject
from lictor.model.document import Document
from lictor.model.names import Gvr, ObjectKey, ObjectRef, ResourceVersion, Uid
from lictor.model.patch import PatchOperation, apply_patch, copy_json
from lictor.ports.event_writer import EventWriter, Notice
from lictor.ports.lease_writer import LeaseWriter
from lictor.ports.object_cache import ObjectCache, UnjudgedStates
from lictor.ports.object_writer import ObjectWriter
from lictor.ports.reader import Reader

Watcher: TypeAlias = Callable[[ObjectKey, Document | None], None]


@dataclass(slots=True, kw_only=True)
class MemoryCluster:
    """What all simulated ports of one cluster share.

    Attributes:
        objects: all that exists.
        failure: what every call through a port raises, until it is taken away.
        log: what went through a writer: verb and key; dry runs too.
    """

    objects: dict[ObjectKey, Document] = field(default_factory=dict)
    failure: ApiError | None = None
    log: list[tuple[str, ObjectKey]] = field(default_factory=list)
    _watchers: list[Watcher] = field(default_factory=list)
    _version: int = 0
    _uids: int = 0

    def watch(self, watcher: Watcher) -> None:
        """Call `watcher` with each change: the key, and the new state or None."""
        self._watchers.append(watcher)

    def check(self) -> None:
        """Fail where the cluster is to fail.

        Raises:
            ApiError: `failure`.
        """
        if self.failure is not None:
            raise self.failure

    def create(self, key: ObjectKey, tree: JsonObject) -> Document:
        """Create an object, with a uid of its own.

        Raises:
            AlreadyExistsError: there is one.
        """
        if key in self.objects:
            raise AlreadyExistsError(f"{key} exists", code=409, reason="AlreadyExists")
        self._uids += 1
        return self._keep(key, tree, uid=Uid(f"00000000-0000-4000-8000-{self._uids:012}"))

    def update(
        self, key: ObjectKey, tree: JsonObject, *, expected: ResourceVersion | None = None
    ) -> Document:
        """Replace an object, of whatever or exactly of the expected version.

        A replacement that changes nothing is no write, as in etcd3's `GuaranteedUpdate`.

        Raises:
            ObjectNotFoundError: there is none.
            ConflictError: it has another version.
        """
        found = self.at(key, expected=expected)
        fresh = self._stamped(key, tree, uid=found.uid, version=found.resource_version)
        return found if fresh == found.tree else self._keep(key, tree, uid=found.uid)

    def remove(self, key: ObjectKey, *, expected: ResourceVersion | None = None) -> None:
        """Delete an object, of whatever or exactly of the expected version.

        Raises:
            ObjectNotFoundError: there is none.
            ConflictError: it has another version.
        """
        self.at(key, expected=expected)
        del self.objects[key]
        self._version += 1
        self._tell(key, None)

    def at(self, key: ObjectKey, *, expected: ResourceVersion | None) -> Document:
        """Return the object.

        Raises:
            ObjectNotFoundError: there is none.
            ConflictError: it has another version.
        """
        found = self.objects.get(key)
        if found is None:
            raise ObjectNotFoundError(f"{key} is not there", code=404, reason="NotFound")
        if expected is not None and found.resource_version != expected:
            raise ConflictError(f"{key} is newer", code=409, reason="Conflict")
        return found

    def _keep(self, key: ObjectKey, tree: JsonObject, *, uid: Uid) -> Document:
        self._version += 1
        version = ResourceVersion(str(self._version))
        self.objects[key] = Document.of(self._stamped(key, tree, uid=uid, version=version))
        self._tell(key, self.objects[key])
        return self.objects[key]

    def _stamped(
        self, key: ObjectKey, tree: JsonObject, *, uid: Uid, version: ResourceVersion
    ) -> JsonObject:
        given = tree.get("metadata")
        metadata: dict[str, Json] = dict(given) if isinstance(given, dict) else {}
        metadata |= {"name": key.name, "uid": uid, "resourceVersion": version}
        if key.namespace:
            metadata["namespace"] = key.namespace
        copied = copy_json({**tree, "metadata": metadata})
        return copied if isinstance(copied, dict) else {}

    def _tell(self, key: ObjectKey, state: Document | None) -> None:
        for watcher in self._watchers:
            watcher(key, state)


class MemoryReader(Reader):
    """Reads what is there now."""

    def __init__(self, cluster: MemoryCluster) -> None:
        """Read from `cluster`."""
        self._cluster = cluster

    @override
    async def get(self, key: ObjectKey) -> Document | None:
        """Return the object; None where there is none."""
        self._cluster.check()
        return self._cluster.objects.get(key)


class MemoryObjectCache(ObjectCache, UnjudgedStates):
    """Sees each change at once, or, while `held`, not until `release`.

    Attributes:
        is_synced: what `synced` says.
        held: changes wait, as they do in a watch that lags.
    """

    def __init__(self, cluster: MemoryCluster, resource: Gvr) -> None:
        """Hold all objects of a resource."""
        self.is_synced = True
        self.held = False
        self._resource = resource
        self._seen = {key: doc for key, doc in cluster.objects.items() if key.resource == resource}
        self._overtaken: dict[ObjectKey, list[Document]] = {}
        self._waiting: list[tuple[ObjectKey, Document | None]] = []
        self._subscribers: list[Callable[[ObjectKey], None]] = []
        cluster.watch(self._changed)

    @property
    @override
    def resource(self) -> Gvr:
        """The resource that is watched."""
        return self._resource

    @override
    def synced(self) -> bool:
        """Return `is_synced`."""
        return self.is_synced

    @override
    def subscribe(self, notify: Callable[[ObjectKey], None]) -> None:
        """Call `notify` with the key of each change that is seen."""
        self._subscribers.append(notify)

    @override
    def latest(self, key: ObjectKey) -> Document | None:
        """Return the newest state that was seen."""
        return self._seen.get(key)

    @override
    def keys(self) -> Sequence[ObjectKey]:
        """Return all keys, sorted."""
        return sorted(self._seen)

    @override
    def take(self, key: ObjectKey, uid: Uid) -> Sequence[Document]:
        """Return, newest first, and forget the overtaken states of the object with that uid."""
        states = self._overtaken.pop(key, [])
        return [state for state in reversed(states) if state.uid == uid]

    def release(self) -> None:
        """See all that was held back."""
        self.held = False
        waiting, self._waiting = self._waiting, []
        for key, state in waiting:
            self._see(key, state)

    def _changed(self, key: ObjectKey, state: Document | None) -> None:
        if key.resource != self._resource:
            return
        if self.held:
            self._waiting.append((key, state))
        else:
            self._see(key, state)

    def _see(self, key: ObjectKey, state: Document | None) -> None:
        earlier = self._seen.pop(key, None)
        if state is None:
            self._overtaken.pop(key, None)
        else:
            self._seen[key] = state
            if earlier is not None and earlier.uid == state.uid:
                self._overtaken.setdefault(key, []).append(earlier)
        for notify in self._subscribers:
            notify(key)


class MemoryObjectWriter(ObjectWriter):
    """Patches and deletes with preconditions."""

    def __init__(self, cluster: MemoryCluster) -> None:
        """Write to `cluster`."""
        self._cluster = cluster

    @override
    async def patch(
        self,
        target: ObjectRef,
        *,
        resource_version: ResourceVersion,
        operations: Sequence[PatchOperation],
        dry_run: bool,
    ) -> Document:
        """Apply the operations to exactly that version."""
        self._note("dry-patch" if dry_run else "patch", target.key)
        found = self._found(target, resource_version)
        try:
            tree = apply_patch(found.tree, operations)
        except InputError as err:
            raise InvalidError(f"{target.key}: {err}", code=422, reason="Invalid") from err
        return Document.of(tree) if dry_run else self._cluster.update(target.key, tree)

    @override
    async def delete(
        self, target: ObjectRef, *, resource_version: ResourceVersion, dry_run: bool
    ) -> None:
        """Delete exactly that version."""
        self._note("dry-delete" if dry_run else "delete", target.key)
        self._found(target, resource_version)
        if not dry_run:
            self._cluster.remove(target.key)

    def _note(self, verb: str, key: ObjectKey) -> None:
        self._cluster.check()
        self._cluster.log.append((verb, key))

    def _found(self, target: ObjectRef, version: ResourceVersion) -> Document:
        found = self._cluster.at(target.key, expected=version)
        if found.uid != target.uid:
            raise ConflictError(f"{target.key} has another uid", code=409, reason="Conflict")
        return found


class MemoryLeaseWriter(LeaseWriter):
    """Reads, creates and updates Leases by compare-and-swap."""

    def __init__(self, cluster: MemoryCluster) -> None:
        """Write to `cluster`."""
        self._cluster = cluster

    @override
    async def read(self, key: ObjectKey) -> Document | None:
        """Return the Lease; None where there is none."""
        self._cluster.check()
        return self._cluster.objects.get(key)

    @override
    async def write(self, key: ObjectKey, lease: Document) -> Document:
        """Create the Lease where it has no resourceVersion, else update exactly that version."""
        self._cluster.check()
        if not lease.resource_version:
            self._cluster.log.append(("create", key))
            return self._cluster.create(key, lease.tree)
        self._cluster.log.append(("update", key))
        return self._cluster.update(key, lease.tree, expected=lease.resource_version)


class MemoryEventWriter(EventWriter):
    """Keeps notices in `notices`."""

    def __init__(self, cluster: MemoryCluster) -> None:
        """Write to `cluster`."""
        self.notices: list[Notice] = []
        self._cluster = cluster

    @override
    async def emit(self, notice: Notice) -> None:
        """Keep `notice`."""
        self._cluster.check()
        self.notices.append(notice)
