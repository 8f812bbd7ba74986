"""A certificate authority of the test's own: server and client certificates as PEM files."""

import hashlib
import ipaddress
import os
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

NOT_BEFORE: Final = datetime(2024, 1, 1, tzinfo=UTC)
NOT_AFTER: Final = NOT_BEFORE + timedelta(days=36_500)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyPair:
    """A certificate and its private key, as PEM files."""

    certificate: Path
    key: Path


class Authority:
    """Issues certificates that Kubernetes reads as an identity: CN is the user, O the groups."""

    def __init__(self, directory: Path, *, name: str = "lictor-test-ca") -> None:
        """Make a new authority whose files live in `directory`."""
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._issued: dict[str, KeyPair] = {}
        self.certificate = directory / f"{name}.crt"
        self.key = directory / f"{name}.key"
        write_key(self.key, self._key)
        self.certificate.write_bytes(_pem(self._self_signed()))

    @classmethod
    def create(cls, directory: Path) -> Self:
        """Make a new authority whose files live in `directory`."""
        return cls(directory)

    def client(self, user: str, groups: Sequence[str] = ()) -> KeyPair:
        """Return a client certificate of this user and these groups; asked again, the same one."""
        names = [x509.NameAttribute(NameOID.COMMON_NAME, user)]
        names += [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
        usage = ExtendedKeyUsageOID.CLIENT_AUTH
        return self._issue("client", names=names, usage=usage, hosts=())

    def server(self, hosts: Sequence[str]) -> KeyPair:
        """Return a server certificate for these names and addresses."""
        names = [x509.NameAttribute(NameOID.COMMON_NAME, hosts[0])]
        return self._issue(
            "server", names=names, usage=ExtendedKeyUsageOID.SERVER_AUTH, hosts=hosts
        )

    def client_context(self, pair: KeyPair | None = None) -> ssl.SSLContext:
        """Return a TLS context that trusts this authority and shows `pair`, where given."""
        context = ssl.create_default_context(cafile=str(self.certificate))
        if pair is not None:
            context.load_cert_chain(pair.certificate, pair.key)
        return context

    def server_context(self, pair: KeyPair) -> ssl.SSLContext:
        """Return a TLS context of a server that shows `pair`."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(pair.certificate, pair.key)
        return context

    def _issue(
        self,
        kind: str,
        *,
        names: Sequence[x509.NameAttribute[str]],
        usage: x509.ObjectIdentifier,
        hosts: Sequence[str],
    ) -> KeyPair:
        identity = repr((kind, [(n.oid.dotted_string, n.value) for n in names], sorted(hosts)))
        if identity in self._issued:
            return self._issued[identity]
        stem = f"{kind}-{hashlib.sha256(identity.encode()).hexdigest()[:16]}"
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self._builder(x509.Name(names), key.public_key()).add_extension(
            x509.ExtendedKeyUsage([usage]), critical=False
        )
        if hosts:
            alternatives = x509.SubjectAlternativeName([_general_name(host) for host in hosts])
            builder = builder.add_extension(alternatives, critical=False)
        pair = KeyPair(
            certificate=self._directory / f"{stem}.crt", key=self._directory / f"{stem}.key"
        )
        write_key(pair.key, key)
        pair.certificate.write_bytes(_pem(builder.sign(self._key, hashes.SHA256())))
        self._issued[identity] = pair
        return pair

    def _self_signed(self) -> x509.Certificate:
        usage = x509.KeyUsage(
            digital_signature=True,
            key_cert_sign=True,
            crl_sign=True,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            encipher_only=False,
            decipher_only=False,
        )
        builder = self._builder(self._name, self._key.public_key())
        builder = builder.add_extension(
            x509.BasicConstraints(ca=True, path_length=0), critical=True
        )
        return builder.add_extension(usage, critical=True).sign(self._key, hashes.SHA256())

    def _builder(
        self, subject: x509.Name, public_key: ec.EllipticCurvePublicKey
    ) -> x509.CertificateBuilder:
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(self._name)
        builder = builder.public_key(public_key).serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(NOT_BEFORE).not_valid_after(NOT_AFTER)
        subject_id = x509.SubjectKeyIdentifier.from_public_key(public_key)
        issuer_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        builder = builder.add_extension(subject_id, critical=False)
        return builder.add_extension(issuer_id, critical=False)


def write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    """Write a private key as PEM that only its owner can read."""
    data = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)


def write_signing_keys(directory: Path, name: str) -> KeyPair:
    """Write a key pair for signing ServiceAccount tokens; `certificate` is the public key."""
    key = ec.generate_private_key(ec.SECP256R1())
    pair = KeyPair(certificate=directory / f"{name}.pub", key=directory / f"{name}.key")
    write_key(pair.key, key)
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    pair.certificate.write_bytes(public)
    return pair


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
