"""A Kubernetes object as bytes, decoded once somebody needs more than its metadata."""

from typing import Final

import msgspec

from lictor.errors import InputError
from lictor.jsontypes import JsonObject, read_object
from lictor.model.names import Gvk, ResourceVersion, Uid

MAX_OBJECT_BYTES: Final = 32 * 1024 * 1024
"""As large as the largest review that the gate reads."""


class OwnerReference(msgspec.Struct, frozen=True, rename="camel"):
    """`metadata.ownerReferences[]`: a claim until the owner with that uid was seen."""

    api_version: str
    kind: str
    name: str
    uid: str
    controller: bool | None = None


class ObjectMeta(msgspec.Struct, frozen=True, rename="camel"):
    """The part of `metadata` that matching, ownership and bookkeeping read."""

    name: str = ""
    generate_name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    owner_references: list[OwnerReference] | None = None
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None


class _Head(msgspec.Struct, frozen=True, rename="camel"):
    api_version: str = ""
    kind: str = ""
    metadata: ObjectMeta = msgspec.field(default_factory=ObjectMeta)


_HEADS: Final = msgspec.json.Decoder(_Head)


class Document:
    """One JSON object: its bytes, its head, and its tree once it was asked for.

    The tree is shared by all readers: copy it before a change.
    """

    __slots__ = ("_head", "_raw", "_tree")

    def __init__(self, raw: bytes) -> None:
        """Take `raw`, one JSON object.

        Raises:
            InputError: it is not JSON, or its `apiVersion`, `kind` or `metadata` has a wrong type.
        """
        self._raw = raw
        self._tree: JsonObject | None = None
        try:
            self._head = _HEADS.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as err:
            raise InputError(f"not a Kubernetes object: {err}") from err

    @classmethod
    def of(cls, tree: JsonObject) -> "Document":
        """Make the document that holds `tree`.

        Raises:
            InputError: the `apiVersion`, `kind` or `metadata` of `tree` has a wrong type.
        """
        document = cls(msgspec.json.encode(tree))
        document._tree = tree
        return document

    @property
    def raw(self) -> bytes:
        """The bytes as they were received."""
        return self._raw

    @property
    def meta(self) -> ObjectMeta:
        """The object's metadata; empty fields where it has none."""
        return self._head.metadata

    @property
    def kind(self) -> Gvk:
        """Group, version and kind as the object itself claims them."""
        group, _, version = self._head.api_version.rpartition("/")
        return Gvk(group, version, self._head.kind)

    @property
    def uid(self) -> Uid:
        """`metadata.uid`; empty before the API server has given one."""
        return Uid(self._head.metadata.uid)

    @property
    def resource_version(self) -> ResourceVersion:
        """`metadata.resourceVersion`."""
        return ResourceVersion(self._head.metadata.resource_version)

    @property
    def tree(self) -> JsonObject:
        """The decoded object; decoded at the first call.

        Raises:
            InputError: the bytes are not one JSON object in UTF-8.
            TooDeepError: it is nested deeper than `lictor.jsontypes.MAX_DEPTH`.
        """
        if self._tree is None:
            self._tree = read_object(self._raw, max_bytes=MAX_OBJECT_BYTES)
        return self._tree
