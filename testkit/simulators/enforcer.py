"""An enforcer of one process in memory: real stages and real law, on simulated ports."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from typing_extensions import override

from enforcer.act import Actor
from enforcer.evaluate import Evaluator
from enforcer.gates import Switches
from enforcer.loop import (
    Budgets,
    Episodes,
    Heats,
    Limits,
    Memory,
    Next,
    Reconciler,
    Stages,
    Surroundings,
)
from enforcer.record import OpenIntent, Scribe, open_intents
from enforcer.verify import Verifier
from enforcer.watch import AUTOSCALERS, BUDGETS, NAMESPACES, PAUSES, Watch
from lictor.jsontypes import JsonObject
from lictor.model.audit_record import AuditRecord, RecordType
from lictor.model.document import Document
from lictor.model.names import Gvk, Gvr, ObjectKey
from lictor.model.policy import Existing
from lictor.policy import Snapshot
from lictor.ports.clock import Clock
from lictor.ports.record_reader import RecordReader, StoredRecord
from testkit.enforcing import DEPLOYMENT, DEPLOYMENTS, DIGESTER
from testkit.simulators.audit_sink import MemoryAuditSink
from testkit.simulators.baseline_store import MemoryBaselineStore
from testkit.simulators.cluster import (
    MemoryCluster,
    MemoryEventWriter,
    MemoryObjectCache,
    MemoryObjectWriter,
    MemoryReader,
)
from testkit.simulators.state_store import MemoryStateStore

SECRETS: Final = Gvr("", "v1", "secrets")
_SURROUNDINGS: Final = (NAMESPACES, AUTOSCALERS, BUDGETS, PAUSES)
_KINDS: Final = {DEPLOYMENTS: DEPLOYMENT, SECRETS: Gvk("", "v1", "Secret")}


@dataclass(slots=True)
class StoppedClock(Clock):
    """Stands still until it is moved."""

    seconds: float = 0.0

    @override
    def now(self) -> datetime:
        """Return the wall time."""
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.seconds)

    @override
    def monotonic(self) -> float:
        """Return the same, in seconds."""
        return self.seconds


class _Kinds:
    async def resource_for(self, kind: Gvk) -> Gvr | None:
        return next((gvr for gvr, known in _KINDS.items() if known == kind), None)


@dataclass(slots=True)
class _Log(RecordReader):
    sink: MemoryAuditSink

    @override
    def records(self, types: Sequence[RecordType], *, start: int = 0) -> Iterator[StoredRecord]:
        for index, record in enumerate(self.sink.records):
            if index >= start and record.type in types:
                yield StoredRecord(index, record)


@dataclass(slots=True, kw_only=True)
class SimulatedEnforcer:
    """One process: `restart` gives the next one, which has the same stores and ledger.

    Attributes:
        leads: whether it holds the Lease.
    """

    law: Snapshot
    limits: Limits = field(
        default_factory=lambda: Limits(
            mode=Existing.ENFORCE,
            switches=Switches(own_namespace="lictor-system"),
            policy_objects=10_000,
            cluster_writes=10_000,
        )
    )
    cluster: MemoryCluster = field(default_factory=MemoryCluster)
    sink: MemoryAuditSink = field(default_factory=MemoryAuditSink)
    baselines: MemoryBaselineStore = field(default_factory=MemoryBaselineStore)
    states: MemoryStateStore = field(default_factory=MemoryStateStore)
    clock: StoppedClock = field(default_factory=StoppedClock)
    leads: bool = True
    caches: dict[Gvr, MemoryObjectCache] = field(init=False)
    events: MemoryEventWriter = field(init=False)
    writer: MemoryObjectWriter = field(init=False)
    stages: Stages = field(init=False)
    reconciler: Reconciler = field(init=False)
    queued: list[ObjectKey] = field(default_factory=list)
    _ids: int = 0

    def __post_init__(self) -> None:
        """Begin the first life."""
        self.events = MemoryEventWriter(self.cluster)
        self.writer = MemoryObjectWriter(self.cluster)
        self._begin()

    def restart(self) -> None:
        """End this life as a SIGKILL does, and begin the next."""
        self.sink.boot = f"{int(self.sink.boot, 16) + 1:016x}"
        self._begin()

    def open_intents(self) -> tuple[OpenIntent, ...]:
        """Return the intents that have no outcome."""
        return open_intents(_Log(self.sink))[0]

    async def recover(self) -> None:
        """Resolve what an earlier life left open, as the loop does when it begins to lead."""
        for intent in self.open_intents():
            document = await self.stages.live.get(intent.key)
            result = intent.result(document, attest=DIGESTER.attest)
            await self.stages.scribe.recovered(intent.record, result=result, after=document)

    async def look(self, key: ObjectKey) -> Next:
        """Make one pass over a key."""
        return await self.reconciler.reconcile(key)

    def records(self, *types: RecordType) -> list[AuditRecord]:
        """Return the records of these types; all of them where none is named."""
        return [one for one in self.sink.records if not types or one.type in types]

    def outcomes(self) -> list[AuditRecord]:
        """Return the outcomes, holds among them."""
        return self.records(RecordType.REMEDIATION_OUTCOME)

    def writes(self) -> list[tuple[str, ObjectKey]]:
        """Return what was written, without the dry runs."""
        return [entry for entry in self.cluster.log if not entry[0].startswith("dry-")]

    def put(self, tree: JsonObject, *, resource: Gvr = DEPLOYMENTS) -> Document:
        """Create or replace an object, as anybody could."""
        document = Document.of(tree)
        key = ObjectKey(resource, document.meta.namespace, document.meta.name)
        if key in self.cluster.objects:
            return self.cluster.update(key, tree)
        return self.cluster.create(key, tree)

    def _begin(self) -> None:
        self.caches = {
            resource: MemoryObjectCache(self.cluster, resource)
            for resource in (*_KINDS, *_SURROUNDINGS)
        }
        governed = [self.caches[resource] for resource in _KINDS]
        watch = Watch(
            governed, [self.caches[resource] for resource in _SURROUNDINGS], clock=self.clock
        )
        watch.start(self.queued.append)
        live = MemoryReader(self.cluster)
        memory = Memory(
            episodes=Episodes(self.states),
            heats=Heats(self.states),
            budgets=Budgets(self.states, window_seconds=600.0),
        )
        memory.load()
        self.stages = Stages(
            watch=watch,
            evaluator=Evaluator(self.law, live, baselines=self.baselines, digester=DIGESTER),
            actor=Actor(self.writer, self.events),
            verifier=Verifier(live, attest=DIGESTER.attest),
            scribe=Scribe(self.sink, DIGESTER),
            surroundings=Surroundings(watch, live, _Kinds()),
            memory=memory,
            live=live,
            unjudged={resource: self.caches[resource] for resource in _KINDS},
            kinds=_KINDS,
            digester=DIGESTER,
            clock=self.clock,
            fence=lambda: self.leads,
            new_id=self._new_id,
        )
        self.reconciler = Reconciler(self.stages, self.limits)

    def _new_id(self) -> str:
        self._ids += 1
        return f"{self._ids:016x}"
