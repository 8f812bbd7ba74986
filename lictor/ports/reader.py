"""Reads one object of the cluster."""

from typing import Protocol

from lictor.model.document import Document
from lictor.model.names import ObjectKey


class Reader(Protocol):
    """Gives an object as it is now, or as a cache last saw it: the implementation says which."""

    async def get(self, key: ObjectKey) -> Document | None:
        """Return the object; None where it does not exist.

        Raises:
            ApiError: the API server refused or could not answer.
        """
        ...
