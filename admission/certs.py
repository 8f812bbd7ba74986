"""The gate's own CA and serving certificate, in one Secret that all replicas read.

The leader makes and renews them, the others read. The CA's key stays in the Secret, so that a
renewed serving certificate needs no new `caBundle`; a new CA is trusted beside the old one until
that has run out, so that replicas with the older certificate stay reachable.
"""

import base64
import binascii
import os
import ssl
from collections.abc import Sequence

import msgspec

from admission._x509 import Bundle, CertificateError, make_bundle, why_renew
from lictor.errors import AlreadyExistsError, ConflictError
from lictor.jsontypes import JsonObject
from lictor.model.document import Document
from lictor.model.names import ObjectKey
from lictor.ports.clock import Clock
from lictor.ports.registration_writer import RegistrationWriter
from lictor.telemetry import metrics
from lictor.telemetry.logs import logger

_LOG = logger(__name__)


def load_into(context: ssl.SSLContext, bundle: Bundle) -> None:
    """Serve with the certificate of `bundle` from the next handshake on.

    Raises:
        CertificateError: certificate and key cannot be used.
    """
    # `ssl` reads files only: one in memory keeps the key off every disk.
    file = os.memfd_create("lictor-tls", os.MFD_CLOEXEC)
    try:
        with os.fdopen(file, "wb", closefd=False) as writer:
            writer.write(bundle.key + bundle.certificate)
        context.load_cert_chain(f"/proc/self/fd/{file}")
    except ssl.SSLError as err:
        raise CertificateError(f"tls.crt and tls.key cannot be used: {err.reason}") from err
    finally:
        os.close(file)
    metrics.CERTIFICATE_EXPIRY.set(bundle.expires().timestamp())


def server_context() -> ssl.SSLContext:
    """Return a context for the server, still without a certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context


class CertificateKeeper:
    """Keeps the bundle in the Secret right, or reads what the leader keeps right."""

    def __init__(
        self, writer: RegistrationWriter, secret: ObjectKey, *, hosts: Sequence[str], clock: Clock
    ) -> None:
        """Take the Secret, and the DNS names and addresses that the certificate is for."""
        self._writer = writer
        self._secret = secret
        self._hosts = tuple(hosts)
        self._clock = clock

    async def refresh(self, *, leader: bool) -> Bundle | None:
        """Return the bundle in the Secret, made or renewed by the leader; None where none is.

        Raises:
            ApiError: the API server refused or could not answer.
            CertificateError: the Secret holds no bundle, and this process is not the leader.
        """
        found = await self._writer.read(self._secret)
        if not leader:
            return read_secret(found) if found else None
        try:
            bundle = read_secret(found) if found else None
            reason = why_renew(bundle, self._hosts, now=self._clock.now()) if bundle else "missing"
        except CertificateError as err:
            bundle, reason = None, str(err)
        if bundle and not reason:
            return bundle
        _LOG.info("certificate.renewed", name=self._secret.name, reason=reason)
        made = make_bundle(self._hosts, now=self._clock.now(), previous=bundle)
        try:
            version = found.resource_version if found else ""
            return read_secret(
                await self._writer.write(self._secret, self._document(made, version))
            )
        except (ConflictError, AlreadyExistsError):
            # A leader before us was not done yet: what it wrote counts.
            again = await self._writer.read(self._secret)
            return read_secret(again) if again else None

    def _document(self, bundle: Bundle, version: str) -> Document:
        metadata: JsonObject = {
            "name": self._secret.name,
            "namespace": self._secret.namespace,
            "labels": {"app.kubernetes.io/managed-by": "lictor"},
        }
        if version:
            metadata["resourceVersion"] = version
        data = {
            "ca.crt": bundle.authorities,
            "ca.key": bundle.authority_key,
            "tls.crt": bundle.certificate,
            "tls.key": bundle.key,
        }
        return Document.of(
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "type": "kubernetes.io/tls",
                "metadata": metadata,
                "data": {name: base64.b64encode(value).decode() for name, value in data.items()},
            }
        )


class _SecretData(msgspec.Struct, frozen=True):
    data: dict[str, str] | None = None


def read_secret(secret: Document) -> Bundle:
    """Return the bundle that a Secret holds.

    Raises:
        CertificateError: a key is missing, or not base64.
    """
    try:
        data = msgspec.convert(secret.tree, _SecretData).data or {}
        parts = {
            name: base64.b64decode(data[name], validate=True)
            for name in ("ca.crt", "ca.key", "tls.crt", "tls.key")
        }
    except (KeyError, binascii.Error, msgspec.ValidationError) as err:
        raise CertificateError(
            f"Secret {secret.meta.namespace}/{secret.meta.name} holds no ca.crt, ca.key, tls.crt "
            f"and tls.key in base64: {type(err).__name__}"
        ) from err
    return Bundle(
        authorities=parts["ca.crt"],
        authority_key=parts["ca.key"],
        certificate=parts["tls.crt"],
        key=parts["tls.key"],
        version=secret.resource_version,
    )
