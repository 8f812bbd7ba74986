import asyncio
import ssl
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509

from admission._x509 import (
    AUTHORITY_LIFE,
    SERVING_LIFE,
    Bundle,
    CertificateError,
    make_bundle,
    why_renew,
)
from admission.certs import CertificateKeeper, load_into, read_secret, server_context
from lictor.model.document import Document
from lictor.model.names import Gvr, ObjectKey
from lictor.telemetry import metrics
from testkit.simulators.registration_writer import MemoryRegistrationWriter

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
HOSTS = ("lictor-gate.lictor-system.svc", "127.0.0.1")
SECRET = ObjectKey(Gvr("", "v1", "secrets"), "lictor-system", "lictor-gate-tls")


class SetClock:
    """A clock that a test sets."""

    def __init__(self, now: datetime = NOW) -> None:
        self.time = now

    def now(self) -> datetime:
        """The time that was set."""
        return self.time

    def monotonic(self) -> float:
        """Unused here."""
        return 0.0


def keeper(writer: MemoryRegistrationWriter, clock: SetClock) -> CertificateKeeper:
    """A keeper of the one Secret."""
    return CertificateKeeper(writer, SECRET, hosts=HOSTS, clock=clock)


def changed(bundle: Bundle, **parts: bytes) -> Bundle:
    """The bundle with some parts replaced."""
    values = {
        name: getattr(bundle, name)
        for name in ("authorities", "authority_key", "certificate", "key", "version")
    }
    return Bundle(**{**values, **parts})


def test_make_bundle_names_every_host() -> None:
    """The certificate is for DNS names and addresses, and for servers only."""
    certificate = x509.load_pem_x509_certificate(make_bundle(HOSTS, now=NOW).certificate)

    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["lictor-gate.lictor-system.svc"]
    assert [str(one) for one in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [x509.ExtendedKeyUsageOID.SERVER_AUTH]


@pytest.mark.parametrize(
    ("later", "reason"),
    [
        pytest.param(timedelta(0), "", id="new"),
        pytest.param(SERVING_LIFE * 2 / 3 - timedelta(hours=1), "", id="a third left"),
        pytest.param(
            SERVING_LIFE * 2 / 3 + timedelta(hours=1), "less than a third", id="less than a third"
        ),
        pytest.param(SERVING_LIFE * 2, "less than a third", id="over"),
    ],
)
def test_why_renew_counts_the_life_that_is_left(later: timedelta, reason: str) -> None:
    """A certificate is renewed when less than a third of its life is left."""
    bundle = make_bundle(HOSTS, now=NOW)

    assert why_renew(bundle, HOSTS, now=NOW + later).startswith(reason)
    assert bool(why_renew(bundle, HOSTS, now=NOW + later)) == bool(reason)


def test_why_renew_sees_new_names_and_strange_keys() -> None:
    """A bundle that cannot serve the wanted names is replaced, as is one whose parts differ."""
    bundle, other = make_bundle(HOSTS, now=NOW), make_bundle(HOSTS, now=NOW)

    assert "names" in why_renew(bundle, (*HOSTS, "gate.example.com"), now=NOW)
    assert why_renew(bundle, HOSTS[:1], now=NOW) == ""
    assert "tls.key" in why_renew(changed(bundle, key=other.key), HOSTS, now=NOW)
    assert "unusable" in why_renew(changed(bundle, authorities=other.authorities), HOSTS, now=NOW)
    assert "unusable" in why_renew(changed(bundle, certificate=b"junk"), HOSTS, now=NOW)
    assert "unusable" in why_renew(changed(bundle, authorities=b"junk"), HOSTS, now=NOW)


def test_make_bundle_keeps_the_authority_while_it_lasts() -> None:
    """A renewed certificate needs no new caBundle."""
    first = make_bundle(HOSTS, now=NOW)

    second = make_bundle(HOSTS, now=NOW + SERVING_LIFE, previous=first)

    assert second.authorities == first.authorities
    assert second.certificate != first.certificate


def test_make_bundle_trusts_the_old_authority_beside_a_new_one() -> None:
    """Replicas that still serve the older certificate stay reachable."""
    first = make_bundle(HOSTS, now=NOW)

    second = make_bundle(HOSTS, now=NOW + AUTHORITY_LIFE * 0.7, previous=first)
    third = make_bundle(HOSTS, now=NOW + AUTHORITY_LIFE * 1.5, previous=second)

    assert second.authorities.endswith(first.authorities)
    assert second.authorities.count(b"BEGIN CERTIFICATE") == 2
    assert third.authorities.count(b"BEGIN CERTIFICATE") == 2
    assert first.authorities not in third.authorities


async def test_keeper_lets_the_leader_make_and_the_others_read() -> None:
    """One Secret serves all replicas; who is not the leader writes nothing."""
    writer, clock = MemoryRegistrationWriter(), SetClock()

    assert await keeper(writer, clock).refresh(leader=False) is None
    made = await keeper(writer, clock).refresh(leader=True)
    read = await keeper(writer, clock).refresh(leader=False)
    again = await keeper(writer, clock).refresh(leader=True)

    assert made is not None
    assert read is not None
    assert again is not None
    assert made.certificate == read.certificate == again.certificate
    assert writer.changes() == [("create", "secrets")]


async def test_keeper_renews_in_time() -> None:
    """Near the end of its life the leader replaces the certificate, by the version it read."""
    writer, clock = MemoryRegistrationWriter(), SetClock()
    first = await keeper(writer, clock).refresh(leader=True)
    clock.time += SERVING_LIFE * 0.7

    assert (await keeper(writer, clock).refresh(leader=False)) is not None
    second = await keeper(writer, clock).refresh(leader=True)

    assert first is not None
    assert second is not None
    assert second.version != first.version
    assert second.expires() > first.expires()
    assert writer.changes() == [("create", "secrets"), ("update", "secrets")]


async def test_keeper_replaces_a_secret_that_holds_no_bundle() -> None:
    """What somebody put there is replaced by the leader, and refused by the others."""
    writer, clock = MemoryRegistrationWriter(), SetClock()
    writer.put(SECRET, Document.of({"metadata": {"name": "x"}, "data": {"tls.crt": "?"}}))

    with pytest.raises(CertificateError, match=r"holds no ca\.crt"):
        await keeper(writer, clock).refresh(leader=False)
    assert await keeper(writer, clock).refresh(leader=True) is not None


async def test_keeper_takes_what_a_faster_leader_wrote() -> None:
    """Two that both believe to lead end with one bundle."""

    class Late(MemoryRegistrationWriter):
        async def read(self, key: ObjectKey) -> Document | None:
            found = await super().read(key)
            if found is None:
                await keeper(rival, clock).refresh(leader=True)
                self.objects.update(rival.objects)
            return found

    writer, rival, clock = Late(), MemoryRegistrationWriter(), SetClock()

    bundle = await keeper(writer, clock).refresh(leader=True)

    assert bundle is not None
    assert bundle.certificate == read_secret(rival.objects[SECRET]).certificate


async def test_load_into_serves_and_reloads_without_a_restart() -> None:
    """A client that trusts the caBundle connects, before and after the certificate changed."""
    now = datetime.now(UTC)  # noqa: TID251 (OpenSSL checks against the real time)
    first = make_bundle(HOSTS, now=now)
    second = make_bundle(HOSTS, now=now, previous=first)
    context = server_context()
    load_into(context, first)
    server = await asyncio.start_server(
        lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=context
    )
    port = server.sockets[0].getsockname()[1]

    async def serial() -> int:
        client = ssl.create_default_context(cadata=first.authorities.decode())
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client)
        der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.close()
        return x509.load_der_x509_certificate(der).serial_number

    async with server:
        before = await serial()
        load_into(context, second)
        after = await serial()

    assert before == x509.load_pem_x509_certificate(first.certificate).serial_number
    assert after == x509.load_pem_x509_certificate(second.certificate).serial_number
    expiry = metrics.REGISTRY.get_sample_value("lictor_gate_certificate_expiry_timestamp_seconds")
    assert expiry == second.expires().timestamp()


def test_load_into_refuses_parts_that_do_not_belong_together() -> None:
    """A key of another certificate is said to be wrong, before anybody connects."""
    bundle, other = make_bundle(HOSTS, now=NOW), make_bundle(HOSTS, now=NOW)

    with pytest.raises(CertificateError, match=r"tls\.crt and tls\.key"):
        load_into(server_context(), changed(bundle, key=other.key))


def test_bundle_shows_no_key() -> None:
    """No private key gets into a log by way of `repr`."""
    bundle = make_bundle(HOSTS, now=NOW)

    assert "PRIVATE" not in repr(bundle)
    assert "PRIVATE" in bundle.key.decode()
