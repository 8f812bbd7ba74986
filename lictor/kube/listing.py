"""Lists a resource page by page, without decoding the objects."""

from collections.abc import Iterator
from typing import Final

import msgspec

from lictor.errors import ApiError, ExpiredError, InputError
from lictor.kube.client import KubeClient
from lictor.kube.paths import collection_path
from lictor.kube.store import Entry
from lictor.model.document import Document
from lictor.model.names import Gvk, Gvr

PAGE: Final = 500
"""client-go's page."""


class _ListMeta(msgspec.Struct, frozen=True, rename="camel"):
    resource_version: str = ""
    continue_: str = msgspec.field(default="", name="continue")


class _List(msgspec.Struct, frozen=True):
    metadata: _ListMeta
    items: list[msgspec.Raw] = msgspec.field(default_factory=list)


_LISTS: Final = msgspec.json.Decoder(_List)


async def list_all(
    client: KubeClient, resource: Gvr, kind: Gvk
) -> tuple[dict[tuple[str, str], Entry], str]:
    """Return every object of a resource by (namespace, name), and the list's resourceVersion.

    A continue token that expires between two pages makes one full, consistent list.

    Raises:
        ApiError: the API server refused or could not answer.
        InputError: the answer is not a list.
    """
    try:
        return await _pages(client, resource, kind, limit=PAGE)
    except ExpiredError:
        return await _pages(client, resource, kind, limit=0)


async def _pages(
    client: KubeClient, resource: Gvr, kind: Gvk, *, limit: int
) -> tuple[dict[tuple[str, str], Entry], str]:
    found: dict[tuple[str, str], Entry] = {}
    query = {"limit": str(limit)} if limit else {}
    while True:
        body = await client.request("GET", collection_path(resource), query=query)
        try:
            page = _LISTS.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError) as err:
            raise InputError(f"the list of {resource.resource}: {err}") from err
        for document in _documents(page.items, kind):
            found[document.meta.namespace, document.meta.name] = Entry.of(document)
        if not page.metadata.continue_:
            return found, page.metadata.resource_version
        if not page.items:
            raise ApiError(f"the list of {resource.resource} goes on, but has an empty page")
        query = {"limit": str(limit), "continue": page.metadata.continue_}


def _documents(items: list[msgspec.Raw], kind: Gvk) -> Iterator[Document]:
    """Yield the items with `apiVersion` and `kind`, which a list's items of built-in kinds lack."""
    lead = msgspec.json.encode({"apiVersion": kind.api_version, "kind": kind.kind})[:-1] + b","
    for item in items:
        raw = bytes(item)
        own = Document(raw)
        yield own if own.kind.kind else Document(lead + raw.lstrip()[1:])
