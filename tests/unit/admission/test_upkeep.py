import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from structlog.testing import capture_logs

from admission._x509 import SERVING_LIFE
from admission.certs import CertificateKeeper, server_context
from admission.registration import Registrar
from admission.uninstall import HELD_SECONDS, IDENTITY, seize, uninstall
from admission.upkeep import Upkeep
from lictor.config.settings import FailureClass, RegistrationSettings
from lictor.errors import ApiError, ConflictError, ForbiddenError, UnavailableError
from lictor.model.document import Document
from lictor.model.names import Gvr, ObjectKey
from lictor.model.policy import ResourceRule
from lictor.model.request import Phase
from testkit.simulators.registration_writer import MemoryRegistrationWriter

SECRET = ObjectKey(Gvr("", "v1", "secrets"), "lictor-system", "lictor-gate-tls")
LEASE = ObjectKey(Gvr("coordination.k8s.io", "v1", "leases"), "lictor-system", "lictor-gate")
RULE = ResourceRule(
    api_groups=("apps",),
    api_versions=("v1",),
    operations=("CREATE",),
    resources=("deployments",),
)


class SetClock:
    """A clock that a test sets; it begins now, since OpenSSL does not take another one."""

    def __init__(self) -> None:
        self.time = datetime.now(UTC)  # noqa: TID251 (as the class says)

    def now(self) -> datetime:
        """The time that was set."""
        return self.time

    def monotonic(self) -> float:
        """Unused here."""
        return 0.0


class Leases:
    """One lease, whose holder may renew it just before each write."""

    def __init__(self, lease: Document | None, *, renewals: int = 0) -> None:
        self.lease = lease
        self.renewals = renewals

    async def read(self, _key: ObjectKey) -> Document | None:
        """Return it."""
        return self.lease

    async def write(self, key: ObjectKey, lease: Document) -> Document:
        """Take it, unless the holder was faster."""
        if self.renewals:
            self.renewals -= 1
            raise ConflictError(f"{key} is newer", code=409, reason="Conflict")
        self.lease = lease
        return lease


def registrar(writer: MemoryRegistrationWriter) -> Registrar:
    """A registrar of one rule."""
    return Registrar(
        writer=writer,
        settings=RegistrationSettings(),
        namespace="lictor-system",
        classes=(FailureClass(),),
        rules={("open", Phase.VALIDATE): ((RULE,),)},
    )


def upkeep(
    writer: MemoryRegistrationWriter,
    clock: SetClock | None = None,
    *,
    leads: bool = True,
    wake: asyncio.Event | None = None,
) -> Upkeep:
    """An upkeep of one replica."""
    keeper = CertificateKeeper(writer, SECRET, hosts=["127.0.0.1"], clock=clock or SetClock())
    return Upkeep(
        keeper,
        registrar(writer),
        context=server_context(),
        leads=lambda: leads,
        wake=wake or asyncio.Event(),
    )


async def test_first_makes_the_leader_serve_before_it_registers() -> None:
    """Nobody is sent to a gate that does not serve yet."""
    writer = MemoryRegistrationWriter()

    await upkeep(writer).first()

    assert writer.changes() == [("create", "secrets")]


async def test_first_lets_the_others_wait_for_the_leader() -> None:
    """A replica that does not lead waits until the Secret is there."""
    writer = MemoryRegistrationWriter()
    wake = asyncio.Event()
    waiting = upkeep(writer, leads=False, wake=wake)

    async with asyncio.TaskGroup() as group:
        task = group.create_task(waiting.first())
        await asyncio.sleep(0.05)
        assert not task.done()
        await upkeep(writer).first()
        wake.set()

    assert writer.changes() == [("create", "secrets")]


async def test_first_gives_up_where_it_may_not() -> None:
    """Missing rights do not mend themselves: the program ends with an exit code of its own."""
    writer = MemoryRegistrationWriter(failure=ForbiddenError("no", code=403, reason="Forbidden"))

    with pytest.raises(ForbiddenError, match="no"):
        await upkeep(writer).first()


async def test_renew_registers_and_reloads_only_what_changed() -> None:
    """A pass in which nothing changed writes nothing and loads nothing."""
    writer, clock = MemoryRegistrationWriter(), SetClock()
    keeping = upkeep(writer, clock)

    with capture_logs() as lines:
        await keeping.renew()
        await keeping.renew()
        clock.time += SERVING_LIFE * 0.7
        await keeping.renew()

    assert [line["event"] for line in lines].count("certificate.served") == 2
    assert writer.changes() == [
        ("create", "secrets"),
        ("create", "validatingwebhookconfigurations"),
        ("update", "secrets"),
    ]


async def test_renew_leaves_the_registration_to_the_leader() -> None:
    """Replicas that do not lead read the Secret and nothing else."""
    writer = MemoryRegistrationWriter()
    await upkeep(writer).renew()
    writer.changes()

    await upkeep(writer, leads=False).renew()

    assert writer.log == [("read", "secrets")]


async def test_run_goes_on_after_the_api_server_failed() -> None:
    """An API server that is away ends no gate: what is served stays served."""
    writer = MemoryRegistrationWriter(failure=UnavailableError("away"))
    wake = asyncio.Event()
    keeping = upkeep(writer, wake=wake)

    with capture_logs() as lines:
        task = asyncio.ensure_future(keeping.run())
        await asyncio.sleep(0.01)
        writer.failure = None
        wake.set()
        await asyncio.sleep(0.05)
        task.cancel()

    assert [line["event"] for line in lines][:1] == ["upkeep.failed"]
    assert ("create", "validatingwebhookconfigurations") in writer.changes()


async def test_seize_takes_the_lease_from_its_holder() -> None:
    """A gate that still runs does not lead for a minute, so it does not register itself again."""
    clock = SetClock()
    leases = Leases(
        Document.of(
            {
                "metadata": {"name": "lictor-gate", "resourceVersion": "7"},
                "spec": {"holderIdentity": "gate-0", "leaseTransitions": 3},
            }
        ),
        renewals=2,
    )

    assert await seize(leases, LEASE, clock=clock)

    assert leases.lease is not None
    spec = leases.lease.tree["spec"]
    assert isinstance(spec, dict)
    assert (spec["holderIdentity"], spec["leaseTransitions"]) == (IDENTITY, 4)
    assert spec["leaseDurationSeconds"] == HELD_SECONDS
    assert leases.lease.resource_version == "7"
    renewed = datetime.strptime(str(spec["renewTime"]), "%Y-%m-%dT%H:%M:%S.%f%z")
    assert abs(renewed - clock.time) < timedelta(milliseconds=1)


async def test_seize_has_nothing_to_take_where_no_gate_ran() -> None:
    """Without a lease nobody leads."""
    assert not await seize(Leases(None), LEASE, clock=SetClock())


async def test_seize_gives_up_on_a_lease_that_never_rests() -> None:
    """Every retry has a limit."""
    with pytest.raises(ApiError, match="renewed too often"):
        await seize(Leases(Document(b"{}"), renewals=99), LEASE, clock=SetClock())


async def test_uninstall_removes_configurations_before_the_secret() -> None:
    """Nothing may point at a gate whose certificate is gone."""
    writer = MemoryRegistrationWriter()
    await upkeep(writer).renew()
    writer.changes()

    await uninstall(
        registrar(writer),
        Leases(Document(b"{}")),
        lease=LEASE,
        secret=SECRET,
        settle_seconds=0.0,
        clock=SetClock(),
    )

    configurations = [
        ("remove", "validatingwebhookconfigurations"),
        ("remove", "mutatingwebhookconfigurations"),
    ]
    # Twice: a leader that did not know yet may have put them back.
    assert writer.changes() == [*configurations, *configurations, ("remove", "secrets")]
    assert writer.objects == {}
