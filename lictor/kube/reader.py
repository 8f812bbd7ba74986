"""Live reads."""

from typing_extensions import override

from lictor.errors import ObjectNotFoundError
from lictor.kube.client import KubeClient
from lictor.kube.errors import document_of
from lictor.kube.paths import object_path
from lictor.model.document import Document
from lictor.model.names import ObjectKey
from lictor.ports.reader import Reader


class ApiReader(Reader):
    """Asks the API server each time: a consistent read, which etcd answers."""

    def __init__(self, client: KubeClient) -> None:
        self._client = client

    @override
    async def get(self, key: ObjectKey) -> Document | None:
        try:
            body = await self._client.request("GET", object_path(key))
        except ObjectNotFoundError:
            return None
        return document_of(body, what=f"GET {key}")
