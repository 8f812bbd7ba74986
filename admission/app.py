"""The gate as a program: `lictor gate run` and `lictor gate uninstall`."""

import argparse
import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from admission.certs import CertificateKeeper, server_context
from admission.emit import Emitter
from admission.registration import Registrar, Rules
from admission.review import Gate
from admission.server import GateServer, Limits
from admission.uninstall import uninstall
from admission.upkeep import Upkeep
from lictor.cli import exits
from lictor.cli.parser import add_settings_flags, read_settings
from lictor.cli.program import (
    NAMESPACES,
    Stop,
    background,
    cluster_uid,
    end_with,
    load_digester,
    load_law,
    own_version,
    run_program,
)
from lictor.config.settings import AuditMode, Settings
from lictor.errors import InputError, SettingsError
from lictor.kube.cached_reader import CachedReader
from lictor.kube.client import KubeClient, open_client
from lictor.kube.election import LEASES, Elector, LeaseLostError
from lictor.kube.informer import Informer
from lictor.kube.lease_writer import ApiLeaseWriter
from lictor.kube.reader import ApiReader
from lictor.kube.registration_writer import ApiRegistrationWriter
from lictor.ledger.sequencer import Sequencer, open_ledger
from lictor.matching import registration_rules
from lictor.model.names import Gvk, Gvr, ObjectKey
from lictor.model.request import Phase
from lictor.policy import Snapshot
from lictor.ports.clock import Clock
from lictor.ports.reader import Reader
from lictor.system import SystemClock, host_identity
from lictor.telemetry.logs import configure, logger
from lictor.telemetry.server import serve_metrics

if TYPE_CHECKING:
    from lictor.cli.parser import Subparsers

LEASE: Final = "lictor-gate"

_SECRETS: Final = Gvr("", "v1", "secrets")
_LAME_SECONDS: Final = 5.0
"""As long as it takes, as a rule, until every node knows that an endpoint is gone."""

_LOG = logger(__name__)


def add_commands(subparsers: "Subparsers") -> None:
    """Add `gate` with its subcommands to the command line."""
    parser = subparsers.add_parser("gate", help="the admission webhook")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    run = commands.add_parser(
        "run",
        help="serve the webhook until SIGTERM",
        description="Serve the webhook: judge every write that the API server sends, answer, and "
        "record. Stops on SIGTERM or SIGINT: readiness goes first, then what has begun is "
        "answered, the ledger is flushed and the lease is released.",
        epilog=exits.EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_settings_flags(run)
    run.set_defaults(run=run_gate)
    uninstall = commands.add_parser(
        "uninstall",
        help="remove the webhook configurations, so that the gate can be stopped",
        description="Remove what makes the API server call the gate: both webhook configurations "
        "first, then the Secret with the certificate. Do this before the gate is stopped: while a "
        "fail-closed webhook is registered and nobody serves it, writes are refused. A gate that "
        "still runs registers itself again after a minute; stop it within that time. "
        "Exit codes: 0 removed, 1 failed, 2 configuration wrong, 5 refused by the API server.",
    )
    add_settings_flags(uninstall)
    uninstall.set_defaults(run=run_uninstall)


def run_gate(arguments: argparse.Namespace) -> int:
    """Serve until a signal comes; return the exit code.

    Raises:
        LictorError: the gate cannot go on; `lictor.cli.main` says so and gives the exit code.
    """
    return run_program(read_settings(arguments), _serve)


def run_uninstall(arguments: argparse.Namespace) -> int:
    """Remove the registration; return the exit code.

    Raises:
        LictorError: it could not be removed.
    """
    settings = read_settings(arguments)
    configure(settings.log)
    asyncio.run(_uninstall(settings))
    return exits.OK


async def _serve(settings: Settings, stop: Stop) -> None:
    clock = SystemClock()
    gate, law = settings.gate, load_law(settings)
    rules = rules_of(law, settings)
    emitter = Emitter(load_digester(settings), engine=own_version())
    wake = asyncio.Event()
    async with (
        serve_metrics(gate.host, gate.metrics_port) as metrics_port,
        open_client(settings.cluster) as client,
        open_ledger(
            settings.audit,
            cluster=await cluster_uid(ApiReader(client)),
            version=own_version(),
            clock=clock,
        ) as ledger,
        _candidate(settings, clock, changed=wake.set) as elector,
        background() as start,
    ):
        _LOG.info("metrics.listening", host=gate.host, port=metrics_port)
        namespaces = Informer(client, NAMESPACES, Gvk("", "v1", "Namespace"))
        reader = CachedReader([namespaces], ApiReader(client))
        context = server_context()
        upkeep = Upkeep(
            _keeper(client, settings, clock),
            _registrar(client, settings, rules) if gate.registration.enabled else None,
            context=context,
            leads=elector.fresh,
            wake=wake,
        )
        start("namespaces", namespaces.run())
        start("election", _stand(elector))
        await upkeep.first()
        server = GateServer(
            _gate(settings, law, reader=reader, sink=ledger, emitter=emitter, clock=clock),
            lambda: _problems(namespaces),
            limits=Limits(
                review_bytes=gate.review_bytes,
                in_flight_bytes=gate.in_flight_bytes,
                keepalive_seconds=gate.keepalive_seconds,
            ),
            timeouts={part.name: float(part.timeout_seconds) for part in gate.classes},
            clock=clock,
        )
        async with server.listen(
            gate.host, gate.port, context=context, drain_seconds=gate.drain_seconds
        ) as port:
            _LOG.info("gate.listening", host=gate.host, port=port, digest=law.digest)
            start("upkeep", upkeep.run())
            if settings.audit.mode is AuditMode.BLOCKING_STRICT:
                start("ledger", end_with(ledger))
            await stop.wait()
            server.drain()
            await asyncio.sleep(_lame_seconds(settings))
    _LOG.info("gate.stopped")


def rules_of(law: Snapshot, settings: Settings) -> Rules:
    """Return what is to be registered, by failure class and phase.

    Raises:
        SettingsError: a policy cannot be registered.
    """
    try:
        return {
            (part.name, phase): registration_rules(
                law.policies, failure_class=part.name, phase=phase
            )
            for part in settings.gate.classes
            for phase in Phase
        }
    except InputError as err:
        raise SettingsError(str(err)) from err


def hosts_of(settings: Settings) -> tuple[str, ...]:
    """Return the names and addresses that the serving certificate is for."""
    registration = settings.gate.registration
    service = f"{registration.service}.{settings.cluster.namespace}.svc"
    host = urlsplit(registration.url).hostname
    return (service, host) if host else (service,)


def _gate(
    settings: Settings,
    law: Snapshot,
    *,
    reader: Reader,
    sink: Sequencer,
    emitter: Emitter,
    clock: Clock,
) -> Gate:
    return Gate(
        snapshot=law,
        reader=reader,
        sink=sink,
        emitter=emitter,
        clock=clock,
        max_depth=settings.gate.depth,
        record_seconds=settings.audit.wait_budget_seconds,
    )


def _keeper(client: KubeClient, settings: Settings, clock: Clock) -> CertificateKeeper:
    return CertificateKeeper(
        ApiRegistrationWriter(client), _secret(settings), hosts=hosts_of(settings), clock=clock
    )


def _registrar(client: KubeClient, settings: Settings, rules: Rules) -> Registrar:
    return Registrar(
        writer=ApiRegistrationWriter(client),
        settings=settings.gate.registration,
        namespace=settings.cluster.namespace,
        classes=settings.gate.classes,
        rules=rules,
    )


def _secret(settings: Settings) -> ObjectKey:
    return ObjectKey(_SECRETS, settings.cluster.namespace, settings.gate.registration.secret)


def _problems(namespaces: Informer) -> Sequence[str]:
    """Say what the gate waits for; law, ledger and certificate are there once it listens."""
    return () if namespaces.synced() else ("the namespaces are not read yet",)


def _lame_seconds(settings: Settings) -> float:
    """Return how long to go on after readiness is gone, until no new connection comes.

    Behind a Service the other replicas take over as soon as that is known everywhere; behind a URL
    there is nobody else.
    """
    if settings.gate.registration.url:
        return 0.0
    return min(_LAME_SECONDS, settings.gate.drain_seconds / 2)


@asynccontextmanager
async def _candidate(
    settings: Settings, clock: Clock, *, changed: Callable[[], None]
) -> AsyncIterator[Elector]:
    """Give a candidate for the lease, on a connection of its own; released at the end."""
    # Both programs have client-go's durations; a lease of our own keeps them apart.
    lease = replace(settings.enforcer.lease, name=LEASE)
    async with open_client(settings.cluster, connections=1) as client:
        elector = Elector(
            ApiLeaseWriter(client),
            lease,
            namespace=settings.cluster.namespace,
            identity=lease.identity or host_identity(),
            clock=clock,
            changed=changed,
        )
        try:
            yield elector
        finally:
            await elector.release()


async def _stand(elector: Elector) -> None:
    """Stand for election for ever: who has lost the lease serves on, and stands again.

    A pass of the upkeep that is on its way then does no harm: it writes by resourceVersion.
    """
    while True:
        try:
            await elector.run()
        except LeaseLostError as err:
            _LOG.warning("lease.lost", error=str(err))


async def _uninstall(settings: Settings) -> None:
    async with open_client(settings.cluster) as client:
        await uninstall(
            _registrar(client, settings, {}),
            ApiLeaseWriter(client),
            lease=ObjectKey(LEASES, settings.cluster.namespace, LEASE),
            secret=_secret(settings),
            settle_seconds=settings.enforcer.lease.renew_deadline_seconds,
            clock=SystemClock(),
        )
