"""Reads, creates, updates and deletes our own objects, by compare-and-swap."""

from lictor.errors import ObjectNotFoundError
from lictor.kube.client import KubeClient
from lictor.kube.errors import document_of
from lictor.kube.paths import collection_path, object_path
from lictor.model.document import Document
from lictor.model.names import ObjectKey


class VersionedWriter:
    """What the writers of leases and of the registration have in common."""

    def __init__(self, client: KubeClient, *, field_manager: str) -> None:
        """Take a client; `field_manager` names the writer in `managedFields`."""
        self._client = client
        self._query = {"fieldManager": field_manager, "fieldValidation": "Strict"}

    async def read(self, key: ObjectKey) -> Document | None:
        """Return the object; None where it does not exist.

        Raises:
            ApiError: the API server refused or could not answer.
        """
        try:
            body = await self._client.request("GET", object_path(key))
        except ObjectNotFoundError:
            return None
        return document_of(body, what=f"GET {key}")

    async def write(self, key: ObjectKey, body: Document) -> Document:
        """Create the object where it has no resourceVersion, else update exactly that version.

        Raises:
            ConflictError: somebody else wrote it first.
            AlreadyExistsError: somebody else created it first.
            ApiError: the API server refused or could not answer.
        """
        if body.resource_version:
            answer = await self._client.request(
                "PUT", object_path(key), query=self._query, body=body.raw
            )
        else:
            path = collection_path(key.resource, key.namespace)
            answer = await self._client.request("POST", path, query=self._query, body=body.raw)
        return document_of(answer, what=f"write of {key}")

    async def remove(self, key: ObjectKey) -> None:
        """Delete the object; one that does not exist is no error.

        Raises:
            ApiError: the API server refused or could not answer.
        """
        try:
            await self._client.request("DELETE", object_path(key))
        except ObjectNotFoundError:
            return
