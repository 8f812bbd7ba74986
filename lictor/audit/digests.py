"""Digests of what is recorded: plain, or keyed where the content must not be guessed from them."""

import hashlib
import hmac
import re
from dataclasses import dataclass, field
from typing import Final

from lictor.audit.canonical import canonical
from lictor.errors import InputError
from lictor.jsontypes import Json, JsonObject
from lictor.model.document import Document
from lictor.model.names import Digest, Gvk

MIN_KEY_BYTES: Final = 32
_EPOCH: Final = re.compile(r"[A-Za-z0-9_.-]{1,32}")
_UNATTESTED: Final = frozenset({"resourceVersion", "generation", "managedFields"})


def digest(data: bytes) -> Digest:
    """Return `sha256:<hex>` of `data`."""
    return Digest(f"sha256:{hashlib.sha256(data).hexdigest()}")


def attest_form(tree: JsonObject) -> JsonObject:
    """Return `tree` as persisted states are compared; `tree` itself stays as it is.

    Left out are `status` and what the API server changes by itself: `resourceVersion`,
    `generation` and `managedFields` of the metadata. The version is that of `apiVersion`.
    """
    form = {key: value for key, value in tree.items() if key != "status"}
    return _without_metadata(form, _UNATTESTED)


def is_sensitive(kind: Gvk) -> bool:
    """Tell whether all digests of objects of this kind are keyed: Secrets, of whatever group."""
    return kind.kind == "Secret"


@dataclass(frozen=True, slots=True)
class Digester:
    """Makes digests; keyed ones (`hmac-sha256:<epoch>:<hex>`) for what is sensitive.

    An unsalted hash of a password is found by trying passwords, and the recorded uid is no salt.

    Attributes:
        epoch: names the key in each keyed digest.
        key: at least 32 bytes; to destroy it erases what the keyed digests commit to.
    """

    epoch: str
    key: bytes = field(repr=False)

    def __post_init__(self) -> None:
        """Check both.

        Raises:
            InputError: the epoch is no short word, or the key is too short.
        """
        if not _EPOCH.fullmatch(self.epoch):
            raise InputError("digest epoch: expected 1 to 32 letters, digits, `_`, `.` or `-`")
        if len(self.key) < MIN_KEY_BYTES:
            raise InputError(f"digest key: {len(self.key)} bytes; at least {MIN_KEY_BYTES} needed")

    def raw(self, data: bytes, *, sensitive: bool) -> Digest:
        """Return the digest of exactly these bytes, such as a request body."""
        return self._keyed("raw", data) if sensitive else digest(data)

    def object(self, document: Document, *, sensitive: bool = False) -> Digest:
        """Return the digest of an object without `metadata.managedFields`.

        It is keyed where the object is `sensitive`, or calls itself a Secret.

        Raises:
            InputError: the document cannot be decoded.
        """
        form = _without_metadata(dict(document.tree), frozenset({"managedFields"}))
        return self._document("object", form, sensitive=sensitive or is_sensitive(document.kind))

    def attest(self, document: Document, *, sensitive: bool = False) -> Digest:
        """Return the digest of an object in `attest_form`, keyed as by `object`.

        Raises:
            InputError: the document cannot be decoded.
        """
        form = attest_form(document.tree)
        return self._document("attest", form, sensitive=sensitive or is_sensitive(document.kind))

    def value(self, boot: str, wseq: int, *, path: str, value: Json) -> Digest:
        """Return the commitment to one violating value, with a salt of its own.

        The salt follows from the key and the place of the record, so it need not be stored, and
        handing it out discloses that one value and no other.

        Raises:
            InputError: `value` has no canonical form.
        """
        place = _framed(boot.encode(), str(wseq).encode(), _bytes(path))
        salt = hmac.digest(self.key, _framed(b"salt", place), "sha256")
        mac = hmac.digest(salt, _framed(_bytes(path), canonical(value)), "sha256")
        return Digest(f"hmac-sha256:{self.epoch}:{mac.hex()}")

    def message(self, text: str) -> Digest:
        """Return the keyed digest that stands in for a message about something sensitive."""
        return self._keyed("message", _bytes(text))

    def _document(self, purpose: str, form: JsonObject, *, sensitive: bool) -> Digest:
        data = canonical(form)
        return self._keyed(purpose, data) if sensitive else digest(data)

    def _keyed(self, purpose: str, data: bytes) -> Digest:
        mac = hmac.digest(self.key, _framed(purpose.encode(), data), "sha256")
        return Digest(f"hmac-sha256:{self.epoch}:{mac.hex()}")


def _framed(*parts: bytes) -> bytes:
    # Byte lengths first: no two lists of parts share an encoding.
    return b"".join(len(part).to_bytes(8, "big") + part for part in parts)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _without_metadata(form: JsonObject, left_out: frozenset[str]) -> JsonObject:
    metadata = form.get("metadata")
    if isinstance(metadata, dict):
        form["metadata"] = {key: item for key, item in metadata.items() if key not in left_out}
    return form
