"""The enforcer as a program: `lictor enforcer run`."""

import argparse
import asyncio
import gc
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from enforcer.act import Actor
from enforcer.evaluate import Evaluator
from enforcer.gates import Switches
from enforcer.loop import (
    Budgets,
    Episodes,
    Heats,
    Limits,
    Loop,
    Memory,
    Pace,
    Stages,
    Surroundings,
)
from enforcer.record import Recovery, Scribe
from enforcer.verify import Verifier
from enforcer.watch import AUTOSCALERS, BUDGETS, NAMESPACES, PAUSES, Watch
from enforcer.workqueue import WorkQueue
from lictor.audit import Digester
from lictor.cli import exits
from lictor.cli.parser import add_settings_flags, read_settings
from lictor.cli.program import (
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
from lictor.errors import ObjectNotFoundError, SettingsError, UnavailableError
from lictor.kube.cached_reader import CachedReader
from lictor.kube.client import KubeClient, open_client
from lictor.kube.discovery import Discovery
from lictor.kube.election import Elector
from lictor.kube.event_writer import ApiEventWriter
from lictor.kube.informer import Informer
from lictor.kube.lease_writer import ApiLeaseWriter
from lictor.kube.object_writer import ApiObjectWriter
from lictor.kube.paths import collection_path
from lictor.kube.reader import ApiReader
from lictor.ledger.reader import LedgerReader
from lictor.ledger.sequencer import Sequencer, open_ledger
from lictor.model.names import Gvk, Gvr
from lictor.model.policy import Existing
from lictor.policy import Snapshot
from lictor.ports.clock import Clock
from lictor.ports.reader import Reader
from lictor.stores.sqlite import Stores, open_stores
from lictor.system import SystemClock, host_identity, random_hex
from lictor.telemetry import metrics
from lictor.telemetry.logs import logger
from lictor.telemetry.server import serve_metrics

if TYPE_CHECKING:
    from lictor.cli.parser import Subparsers

_SURROUNDINGS: Final = (NAMESPACES, AUTOSCALERS, BUDGETS, PAUSES)
_RECORD_SECONDS: Final = 10.0
"""Nobody waits for an answer of ours: better a slow intent than no repair."""

_RETRY_SECONDS: Final = 2.0

_GC_THRESHOLD: Final = 50_000
"""Objects that are decoded are many and short-lived, and have no cycles; CPython's 700 is low."""

_ID_BYTES: Final = 8
_RANDOM_BYTES: Final = 4

_LOG = logger(__name__)


def add_commands(subparsers: "Subparsers") -> None:
    """Add `enforcer` with its subcommands to the command line."""
    parser = subparsers.add_parser("enforcer", help="the reconcile loop")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    run = commands.add_parser(
        "run",
        help="find violations of existing objects, and repair them, until SIGTERM",
        description="Watch what the policies name, judge it by the same law as the gate, and "
        "repair what policies in mode `enforce` find, behind the brakes. Stops on SIGTERM or "
        "SIGINT: what has begun is finished and recorded, the ledger is flushed and the lease is "
        "released.",
        epilog=exits.EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_settings_flags(run)
    run.set_defaults(run=run_enforcer)


def run_enforcer(arguments: argparse.Namespace) -> int:
    """Run until a signal comes; return the exit code.

    Raises:
        LictorError: the enforcer cannot go on; `lictor.cli.main` says so and gives the exit code.
    """
    return run_program(read_settings(arguments), _run)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Base:
    """What stays open as long as the process runs."""

    settings: Settings
    law: Snapshot
    client: KubeClient
    discovery: Discovery
    elector: Elector
    ledger: Sequencer
    stores: Stores
    clock: Clock
    digester: Digester


async def _run(settings: Settings, stop: Stop) -> None:
    clock = SystemClock()
    law = load_law(settings)
    digester = load_digester(settings)
    audit = replace(
        settings.audit, mode=AuditMode.BLOCKING_STRICT, wait_budget_seconds=_RECORD_SECONDS
    )
    enforcer = settings.enforcer
    async with (
        serve_metrics(enforcer.metrics_host, enforcer.metrics_port) as port,
        open_client(settings.cluster) as client,
        # The Lease has connections of its own: a storm of repairs must not cost the leadership.
        open_client(settings.cluster, connections=2) as lease_client,
        open_ledger(
            audit, cluster=await cluster_uid(ApiReader(client)), version=own_version(), clock=clock
        ) as ledger,
    ):
        _LOG.info("metrics.listening", host=enforcer.metrics_host, port=port)
        with open_stores(_state_file(settings)) as stores:
            base = _Base(
                settings=settings,
                law=law,
                client=client,
                discovery=Discovery(client),
                elector=_elector(lease_client, settings, clock),
                ledger=ledger,
                stores=stores,
                clock=clock,
                digester=digester,
            )
            await _work(base, stop)
            await base.elector.release()
    _LOG.info("enforcer.stopped")


async def _work(base: _Base, stop: Stop) -> None:
    governed = await _informers(base, _named(base.law), keep_overtaken=True)
    around = await _informers(base, [one for one in _SURROUNDINGS if one not in governed])
    informers = [*governed.values(), *around.values()]
    loop = _loop(base, list(governed.values()), around=list(around.values()))
    async with background() as start:
        for informer in informers:
            start(f"informer-{informer.resource.resource}", informer.run())
        start("ledger", end_with(base.ledger))
        for informer in informers:
            await informer.wait_synced()
        gc.collect()
        gc.freeze()
        gc.set_threshold(_GC_THRESHOLD, 20, 20)
        # Who does not see everything yet does not stand for election.
        start("election", base.elector.run())
        _LOG.info("enforcer.watching", count=len(governed), digest=base.law.digest)
        async with asyncio.TaskGroup() as work:
            running = work.create_task(loop.run(), name="loop")
            leading = work.create_task(_lead(loop, base), name="lead")
            await stop.wait()
            leading.cancel()
            try:
                async with asyncio.timeout(base.settings.enforcer.drain_seconds):
                    await loop.drain()
            except TimeoutError:
                metrics.LIMIT_HITS.labels(limit="drain-seconds").inc()
                running.cancel()


async def _lead(loop: Loop, base: _Base) -> None:
    """Resolve what another life of this process left open, then look at everything as leader."""
    await base.elector.wait_leader()
    reader = LedgerReader(Path(base.settings.audit.path))
    await loop.lead(Recovery(reader, base.stores.states, boot=base.ledger.boot))


def _loop(base: _Base, governed: Sequence[Informer], *, around: Sequence[Informer]) -> Loop:
    enforcer, clock = base.settings.enforcer, base.clock
    watch = Watch(governed, around, clock=clock)
    loop = Loop(
        _stages(base, watch, governed=governed, around=around),
        limits_of(base.settings),
        queue=WorkQueue(clock, limit=enforcer.queue_keys),
        policies=base.law.policies,
        pace=Pace(workers=enforcer.workers, resync_seconds=enforcer.resync_seconds, random=_random),
    )
    watch.start(loop.notice)
    return loop


def _stages(
    base: _Base, watch: Watch, *, governed: Sequence[Informer], around: Sequence[Informer]
) -> Stages:
    live: Reader = ApiReader(base.client)
    digester = base.digester
    return Stages(
        watch=watch,
        evaluator=Evaluator(
            base.law,
            CachedReader([*governed, *around], live),
            baselines=base.stores.baselines,
            digester=digester,
        ),
        actor=Actor(
            ApiObjectWriter(base.client),
            ApiEventWriter(base.client, instance=host_identity(), clock=base.clock),
        ),
        verifier=Verifier(live, attest=digester.attest),
        scribe=Scribe(base.ledger, digester, engine=own_version()),
        surroundings=Surroundings(watch, live, base.discovery),
        memory=_memory(base),
        live=live,
        unjudged={one.resource: one for one in governed},
        kinds={one.resource: one.kind for one in governed},
        digester=digester,
        clock=base.clock,
        fence=base.elector.fresh,
        new_id=lambda: random_hex(_ID_BYTES),
    )


def _memory(base: _Base) -> Memory:
    states = base.stores.states
    window = base.settings.enforcer.budget.window_seconds
    memory = Memory(
        episodes=Episodes(states),
        heats=Heats(states),
        budgets=Budgets(states, window_seconds=window),
    )
    memory.load()
    return memory


def limits_of(settings: Settings) -> Limits:
    """Return the settings that brake the loop."""
    enforcer = settings.enforcer
    return Limits(
        mode=enforcer.mode,
        switches=Switches(
            own_namespace=settings.cluster.namespace,
            protected_namespaces=enforcer.protected_namespaces,
            fight_heat=enforcer.fight_heat,
            fight_delay_heat=enforcer.fight_delay_heat,
        ),
        policy_objects=enforcer.budget.policy_objects,
        policy_share=enforcer.budget.policy_share,
        cluster_writes=enforcer.budget.cluster_writes,
    )


def _named(law: Snapshot) -> Sequence[Gvr]:
    """Return the resources that policies for existing objects name, each in one version.

    A rule with `*` names nothing that could be watched; it is judged at the gate alone, and said.
    """
    found: dict[tuple[str, str], Gvr] = {}
    for bound in law.policies:
        if bound.policy.enforcement.existing is Existing.OFF:
            continue
        for rule in bound.policy.match.resource_rules:
            for group in rule.api_groups:
                for resource in rule.resources:
                    if "*" in {group, resource, *rule.api_versions}:
                        _LOG.warning("not-watched", policy=bound.id, resource=resource, reason="*")
                    elif "/" not in resource:
                        gvr = Gvr(group, rule.api_versions[0], resource)
                        found.setdefault((group, resource), gvr)
    return sorted(found.values())


async def _informers(
    base: _Base, resources: Sequence[Gvr], *, keep_overtaken: bool = False
) -> dict[Gvr, Informer]:
    """Make an informer for each resource that the API server serves; say which it does not.

    Raises:
        ForbiddenError: one may not be listed: better to end than to watch less than the law says.
    """
    informers = {}
    for resource in resources:
        kind = await _watchable(base, resource)
        if kind is None:
            _LOG.warning("not-watched", resource=resource.resource, reason="it is not served")
        else:
            informers[resource] = Informer(
                base.client, resource, kind, keep_overtaken=keep_overtaken
            )
    return informers


async def _watchable(base: _Base, resource: Gvr) -> Gvk | None:
    """Return the kind of a resource that we may list; None where it is not served.

    A program that starts before the API server waits for it.
    """
    while True:
        try:
            kind = await base.discovery.kind_of(resource)
            if kind is not None:
                await base.client.request("GET", collection_path(resource), query={"limit": "1"})
        except ObjectNotFoundError:
            return None
        except UnavailableError as err:
            _LOG.warning("cluster.unavailable", error=str(err))
        else:
            return kind
        await asyncio.sleep(_RETRY_SECONDS)


def _elector(client: KubeClient, settings: Settings, clock: Clock) -> Elector:
    lease = settings.enforcer.lease
    return Elector(
        ApiLeaseWriter(client),
        lease,
        namespace=settings.cluster.namespace,
        identity=lease.identity or host_identity(),
        clock=clock,
    )


def _state_file(settings: Settings) -> Path:
    if not settings.enforcer.state:
        raise SettingsError("enforcer.state: must be set: a file on a durable volume")
    return Path(settings.enforcer.state)


def _random() -> float:
    return int(random_hex(_RANDOM_BYTES), 16) / 2.0 ** (8 * _RANDOM_BYTES)
