"""Writes our own webhook configurations and the Secret with their certificates."""

from typing import Protocol

from lictor.model.document import Document
from lictor.model.names import ObjectKey


class RegistrationWriter(Protocol):
    """Writes what registers the gate. For `admission.registration` alone."""

    async def read(self, key: ObjectKey) -> Document | None:
        """Return the object; None where it does not exist.

        Raises:
            ApiError: the API server refused or could not answer.
        """
        ...

    async def write(self, key: ObjectKey, body: Document) -> Document:
        """Create the object where it has no resourceVersion, else update exactly that version.

        Raises:
            ConflictError: somebody else wrote it first.
            AlreadyExistsError: somebody else created it first.
            ApiError: the API server refused or could not answer.
        """
        ...

    async def remove(self, key: ObjectKey) -> None:
        """Delete the object; one that does not exist is no error.

        Raises:
            ApiError: the API server refused or could not answer.
        """
        ...
