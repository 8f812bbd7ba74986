"""Writes governed objects. For `enforcer.act` alone."""

from collections.abc import Sequence
from typing import Protocol

from lictor.model.document import Document
from lictor.model.names import ObjectRef, ResourceVersion
from lictor.model.patch import PatchOperation


class ObjectWriter(Protocol):
    """Every write names the uid and the resourceVersion that it was planned on."""

    async def patch(
        self,
        target: ObjectRef,
        *,
        resource_version: ResourceVersion,
        operations: Sequence[PatchOperation],
        dry_run: bool,
    ) -> Document:
        """Send a JSON Patch with strict field validation and our field manager.

        The patch also replaces `/metadata/resourceVersion` with the version read, which the API
        server checks; a changed uid has another resourceVersion.

        Raises:
            ConflictError: the object has another resourceVersion or uid.
            ObjectNotFoundError: the object is gone.
            ApiError: the API server refused or could not answer.
        """
        ...

    async def delete(
        self, target: ObjectRef, *, resource_version: ResourceVersion, dry_run: bool
    ) -> None:
        """Delete in the background, with uid and resourceVersion as preconditions.

        Raises:
            ConflictError: the object has another resourceVersion or uid.
            ObjectNotFoundError: the object is gone.
            ApiError: the API server refused or could not answer.
        """
        ...
