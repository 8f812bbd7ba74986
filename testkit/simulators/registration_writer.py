"""What registers the gate, in memory."""

from dataclasses import dataclass, field

from typing_extensions import override

from lictor.errors import AlreadyExistsError, ApiError, ConflictError, ObjectNotFoundError
from lictor.model.document import Document
from lictor.model.names import ObjectKey
from lictor.ports.registration_writer import RegistrationWriter


@dataclass(slots=True, kw_only=True)
class MemoryRegistrationWriter(RegistrationWriter):
    """Keeps objects by key, with a resourceVersion that every write raises.

    Attributes:
        log: what was done: `read`, `create`, `update` or `remove`, and the name.
        failure: what the next calls raise, until it is taken away.
    """

    objects: dict[ObjectKey, Document] = field(default_factory=dict)
    log: list[tuple[str, str]] = field(default_factory=list)
    failure: ApiError | None = None
    _version: int = 0

    @override
    async def read(self, key: ObjectKey) -> Document | None:
        self._note("read", key)
        return self.objects.get(key)

    @override
    async def write(self, key: ObjectKey, body: Document) -> Document:
        found = self.objects.get(key)
        self._note("update" if body.resource_version else "create", key)
        if not body.resource_version and found:
            raise AlreadyExistsError(f"{key} exists", code=409, reason="AlreadyExists")
        if body.resource_version and found is None:
            raise ObjectNotFoundError(f"{key} is gone", code=404, reason="NotFound")
        if found and found.resource_version != body.resource_version:
            raise ConflictError(f"{key} is newer", code=409, reason="Conflict")
        return self.put(key, body)

    @override
    async def remove(self, key: ObjectKey) -> None:
        self._note("remove", key)
        self.objects.pop(key, None)

    def put(self, key: ObjectKey, body: Document) -> Document:
        """Write it as somebody else would, whatever is there."""
        self._version += 1
        metadata = body.tree.get("metadata")
        kept = metadata if isinstance(metadata, dict) else {}
        tree = {**body.tree, "metadata": {**kept, "resourceVersion": str(self._version)}}
        self.objects[key] = Document.of(tree)
        return self.objects[key]

    def changes(self) -> list[tuple[str, str]]:
        """Return what was written or removed, and forget it."""
        found = [entry for entry in self.log if entry[0] != "read"]
        self.log.clear()
        return found

    def _note(self, action: str, key: ObjectKey) -> None:
        if self.failure is not None:
            raise self.failure
        self.log.append((action, key.resource.resource))
