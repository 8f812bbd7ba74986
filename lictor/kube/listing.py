"""Lists a resource page by page, without decoding the objects."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import msgspec

from lictor.errors import ApiError, ExpiredError, InputError, UnavailableError
from lictor.kube.client import KubeClient
from lictor.kube.errors import AnswerTooLargeError
from lictor.kube.framing import MAX_LINE_BYTES
from lictor.kube.paths import collection_path
from lictor.kube.store import Entry, Place
from lictor.model.document import Document
from lictor.model.names import Gvk, Gvr
from lictor.telemetry import metrics
from lictor.telemetry.logs import logger

PAGE: Final = 500
"""client-go's page."""

FROM_CACHE: Final = "0"
"""As resourceVersion: whatever the watch cache of the API server holds, however old."""

CONSISTENT: Final = ""
"""As resourceVersion: not older than now."""

_SMALLER: Final = 10
_LIST_SECONDS: Final = 60.0
"""As long as the API server itself gives a request (`--request-timeout`)."""

_LOG = logger(__name__)


class _ListMeta(msgspec.Struct, frozen=True, rename="camel"):
    resource_version: str = ""
    continue_: str = msgspec.field(default="", name="continue")


class _List(msgspec.Struct, frozen=True):
    metadata: _ListMeta
    items: list[msgspec.Raw] | None = None


_LISTS: Final = msgspec.json.Decoder(_List)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """Every object of a resource, and the resourceVersion to watch from."""

    entries: dict[Place, Entry]
    version: str


async def list_all(client: KubeClient, resource: Gvr, kind: Gvk, *, version: str) -> Listing:
    """List a resource at a resourceVersion, or from `FROM_CACHE` or `CONSISTENT`.

    A continue token that expires between two pages makes one full, consistent list; an answer that
    is too large is asked for in smaller pages. An object that cannot be read is left out and
    counted: it must not hide all the others.

    Raises:
        ApiError: the API server refused or could not answer.
    """
    # At a concrete version a limit would send the API server past its cache, to etcd.
    limit = PAGE if version in {FROM_CACHE, CONSISTENT} else 0
    while True:
        lister = _Lister(client, resource, kind)
        try:
            return await lister.pages(limit=limit, version=version)
        except ExpiredError:
            if not lister.begun or limit == 0:
                raise
            limit, version = 0, CONSISTENT
        except AnswerTooLargeError:
            if limit == 1:
                raise
            limit, version = max(1, limit // _SMALLER) if limit else PAGE, CONSISTENT


class _Lister:
    def __init__(self, client: KubeClient, resource: Gvr, kind: Gvk) -> None:
        self._client = client
        self._path = collection_path(resource)
        self._kind = kind
        self.begun = False

    async def pages(self, *, limit: int, version: str) -> Listing:
        found: dict[Place, Entry] = {}
        query = {"resourceVersion": version} if version else {}
        size = {"limit": str(limit)} if limit else {}
        while True:
            page = await self._page(query | size)
            for document in self._documents(page.items or []):
                found[document.meta.namespace, document.meta.name] = Entry.of(document)
            token = page.metadata.continue_
            if not token:
                return Listing(entries=found, version=page.metadata.resource_version)
            if query.get("continue") == token:
                raise ApiError(f"GET {self._path}: the list goes round in a circle")
            self.begun = True
            query = {"continue": token}

    async def _page(self, query: dict[str, str]) -> _List:
        body = await self._client.request(
            "GET", self._path, query=query, timeout_seconds=_LIST_SECONDS
        )
        try:
            return _LISTS.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError) as err:
            raise UnavailableError(f"GET {self._path}: the answer is no list: {err}") from err

    def _documents(self, items: list[msgspec.Raw]) -> Iterator[Document]:
        for item in items:
            if len(item) > MAX_LINE_BYTES:
                metrics.LIMIT_HITS.labels(limit="list-item-bytes").inc()
                _LOG.error("list.item.skipped", path=self._path, bytes=len(item))
                continue
            try:
                yield self._document(bytes(item))
            except InputError as err:
                metrics.LIMIT_HITS.labels(limit="list-item-unreadable").inc()
                _LOG.error("list.item.skipped", path=self._path, error=str(err))

    def _document(self, item: bytes) -> Document:
        """Give an item its `apiVersion` and `kind`, which those of built-in kinds lack."""
        own = Document(item)
        if own.kind.kind:
            return own
        lead = msgspec.json.encode({"apiVersion": self._kind.api_version, "kind": self._kind.kind})
        return Document(lead[:-1] + b"," + item.lstrip()[1:])
