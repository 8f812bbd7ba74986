"""X.509: makes the gate's CA and serving certificate, and says when they must be replaced."""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from lictor.errors import InputError

AUTHORITY_LIFE: Final = timedelta(days=3650)
SERVING_LIFE: Final = timedelta(days=90)
_BACKDATED: Final = timedelta(minutes=5)
"""The API server's clock may be behind ours."""


class CertificateError(InputError):
    """What the Secret holds is no usable CA and certificate."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Bundle:
    """CA and serving certificate, as PEM. Has no `repr`: it holds private keys.

    Attributes:
        authorities: the CA that signs, then older ones that are still trusted.
        version: `metadata.resourceVersion` of the Secret; tells a renewed bundle from the same.
    """

    authorities: bytes
    authority_key: bytes
    certificate: bytes
    key: bytes
    version: str = ""

    def expires(self) -> datetime:
        """Return the end of the serving certificate.

        Raises:
            CertificateError: it is no certificate.
        """
        return _certificate(self.certificate, what="tls.crt").not_valid_after_utc


def make_bundle(hosts: Sequence[str], *, now: datetime, previous: Bundle | None = None) -> Bundle:
    """Return a bundle with a new serving certificate for `hosts`.

    The CA of `previous` signs it, unless less than a third of its life is left or it cannot be
    read; then a new one does, and the old ones that have not run out stay trusted.
    """
    signer = _signer(previous, now=now) if previous else None
    if previous is None or signer is None:
        signer = _new_authority(now)
        older = _trusted(previous, now=now) if previous else b""
        authorities = _pem(signer[0]) + older
    else:
        authorities = previous.authorities
    authority, authority_key = signer
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _serving(hosts, key, authority=authority, authority_key=authority_key, now=now)
    return Bundle(
        authorities=authorities,
        authority_key=_key_pem(authority_key),
        certificate=_pem(certificate),
        key=_key_pem(key),
    )


def why_renew(bundle: Bundle, hosts: Sequence[str], *, now: datetime) -> str:
    """Return why `bundle` must be replaced; "" where it need not be."""
    try:
        certificate = _certificate(bundle.certificate, what="tls.crt")
        authorities = x509.load_pem_x509_certificates(bundle.authorities)
        if _load_key(bundle.key).public_key() != certificate.public_key():
            return "tls.key does not belong to tls.crt"
        certificate.verify_directly_issued_by(authorities[0])
    except (CertificateError, ValueError, TypeError, InvalidSignature) as err:
        return f"unusable: {err}"
    if not (set(hosts) <= set(_hosts(certificate))):
        return "the names it is for have changed"
    for part in (certificate, authorities[0]):
        life = part.not_valid_after_utc - part.not_valid_before_utc
        if part.not_valid_after_utc - now < life / 3:
            return "less than a third of its life is left"
    return ""


_Signer = tuple[x509.Certificate, ec.EllipticCurvePrivateKey]


def _signer(bundle: Bundle, *, now: datetime) -> _Signer | None:
    """Return CA and key of `bundle`, unless they are unusable or near their end."""
    try:
        authority = _certificate(bundle.authorities, what="ca.crt")
        key = _load_key(bundle.authority_key)
    except CertificateError:
        return None
    if key.public_key() != authority.public_key():
        return None
    left = authority.not_valid_after_utc - now
    return (authority, key) if left >= AUTHORITY_LIFE / 3 else None


def _trusted(bundle: Bundle, *, now: datetime) -> bytes:
    try:
        authorities = x509.load_pem_x509_certificates(bundle.authorities)
    except ValueError:
        return b""
    return b"".join(_pem(part) for part in authorities if part.not_valid_after_utc > now)


def _new_authority(now: datetime) -> _Signer:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "lictor gate CA")])
    builder = (
        _builder(name, now=now, life=AUTHORITY_LIFE)
        .issuer_name(name)
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return builder.sign(key, hashes.SHA256()), key


def _serving(
    hosts: Sequence[str],
    key: ec.EllipticCurvePrivateKey,
    *,
    authority: x509.Certificate,
    authority_key: ec.EllipticCurvePrivateKey,
    now: datetime,
) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "lictor gate")])
    issuer_key = authority_key.public_key()
    builder = (
        _builder(name, now=now, life=SERVING_LIFE)
        .issuer_name(authority.subject)
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(map(_general_name, hosts)), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), critical=False
        )
    )
    return builder.sign(authority_key, hashes.SHA256())


def _builder(name: x509.Name, *, now: datetime, life: timedelta) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + life)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _hosts(certificate: x509.Certificate) -> list[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    addresses = [str(address) for address in names.get_values_for_type(x509.IPAddress)]
    return [*names.get_values_for_type(x509.DNSName), *addresses]


def _certificate(pem: bytes, *, what: str) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificates(pem)[0]
    except ValueError as err:
        raise CertificateError(f"{what} is no certificate in PEM") from err


def _load_key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError) as err:
        # Not the cause's text: it may quote what it read.
        raise CertificateError("a private key is not unencrypted PEM") from err
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise CertificateError("a private key is not of an elliptic curve")
    return key


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
