"""Holds a Lease (coordination.k8s.io/v1)."""

from typing import Protocol

from lictor.model.document import Document
from lictor.model.names import ObjectKey


class LeaseWriter(Protocol):
    """Creates and updates a Lease, on a connection of its own."""

    async def read(self, key: ObjectKey) -> Document | None:
        """Return the Lease; None where there is none.

        Raises:
            ApiError: the API server refused or could not answer.
        """
        ...

    async def write(self, key: ObjectKey, lease: Document) -> Document:
        """Create the Lease where it has no resourceVersion, else update exactly that version.

        Raises:
            ConflictError: somebody else wrote it first.
            AlreadyExistsError: somebody else created it first.
            ApiError: the API server refused or could not answer.
        """
        ...
