"""Addresses and identities of a plane are its own."""

import socket
import ssl
import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from testkit.pki import Authority
from testkit.ports import FIRST, LAST, LOOPBACK, lease_port, release_port


def test_lease_port_never_gives_one_twice() -> None:
    """Leased ports differ, are outside of the ephemeral range, and can be bound."""
    ports = [lease_port() for _ in range(20)]

    assert len(set(ports)) == 20
    assert all(FIRST <= port < LAST for port in ports)
    with socket.socket() as server:
        server.bind((LOOPBACK, ports[0]))
    for port in ports:
        release_port(port)


def test_lease_port_passes_over_a_port_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """A port that somebody listens on is not given out."""
    with socket.socket() as server:
        server.bind((LOOPBACK, 0))
        taken = server.getsockname()[1]
        monkeypatch.setattr("testkit.ports.FIRST", taken)
        monkeypatch.setattr("testkit.ports.LAST", taken + 1)
        monkeypatch.setattr("testkit.ports.ATTEMPTS", 1)

        with pytest.raises(OSError, match="no free port"):
            lease_port()


def test_authority_puts_user_and_groups_where_kubernetes_reads_them(tmp_path: Path) -> None:
    """CN is the user, each O a group; the key is its owner's alone."""
    pair = Authority(tmp_path).client("alice", ("team-a", "team-b"))

    subject = x509.load_pem_x509_certificate(pair.certificate.read_bytes()).subject
    assert [n.value for n in subject.get_attributes_for_oid(NameOID.COMMON_NAME)] == ["alice"]
    groups = [n.value for n in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]
    assert groups == ["team-a", "team-b"]
    assert stat.S_IMODE(pair.key.stat().st_mode) == 0o600


def test_authority_issues_an_identity_once(tmp_path: Path) -> None:
    """Asked again it returns the same files; other groups are another identity."""
    authority = Authority(tmp_path)

    assert authority.client("alice", ("a",)) == authority.client("alice", ("a",))
    assert authority.client("alice", ("a",)) != authority.client("alice", ("b",))


def test_authority_is_trusted_by_its_own_clients_only(tmp_path: Path) -> None:
    """A client of another authority refuses the server's certificate."""
    one, other = Authority(tmp_path / "one"), Authority(tmp_path / "other")
    server = one.server_context(one.server((LOOPBACK, "localhost")))

    assert handshake(one.client_context(), server)
    with pytest.raises(ssl.SSLCertVerificationError, match="verify failed"):
        handshake(other.client_context(), server)


def handshake(client: ssl.SSLContext, server: ssl.SSLContext) -> bool:
    """Shake hands in memory, as a client of `localhost`."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_hostname="localhost"),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    for _ in range(6):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return all(end.version() is not None for end in ends)
