"""What is watched: governed objects become keys, and what surrounds them can be asked for."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import msgspec

from lictor.matching import matches_selector
from lictor.model.document import Document
from lictor.model.names import Gvr, ObjectKey, ObjectRef, ResourceVersion
from lictor.model.policy import LabelSelector, SelectorOperator, SelectorRequirement
from lictor.ports.clock import Clock
from lictor.ports.object_cache import ObjectCache
from lictor.telemetry import metrics

NAMESPACES: Final = Gvr("", "v1", "namespaces")
AUTOSCALERS: Final = Gvr("autoscaling", "v2", "horizontalpodautoscalers")
BUDGETS: Final = Gvr("policy", "v1", "poddisruptionbudgets")
PAUSES: Final = Gvr("lictor.dev", "v1alpha1", "pauses")

_T = TypeVar("_T", bound=msgspec.Struct)

_DISTRUST_SECONDS: Final = 30.0
"""After a write its cache is ignored this long at most; a watch shows the write in milliseconds."""


class _TargetReference(msgspec.Struct, frozen=True, rename="camel"):
    kind: str = ""
    name: str = ""
    api_version: str = ""


class _AutoscalerSpec(msgspec.Struct, frozen=True, rename="camel"):
    scale_target_ref: _TargetReference = msgspec.field(default_factory=_TargetReference)


class _Autoscaler(msgspec.Struct, frozen=True):
    spec: _AutoscalerSpec = msgspec.field(default_factory=_AutoscalerSpec)


class _Requirement(msgspec.Struct, frozen=True):
    key: str
    operator: SelectorOperator
    values: tuple[str, ...] = ()


class _Selector(msgspec.Struct, frozen=True, rename="camel"):
    match_labels: dict[str, str] = msgspec.field(default_factory=dict)
    match_expressions: tuple[_Requirement, ...] = ()


class _BudgetSpec(msgspec.Struct, frozen=True, rename="camel"):
    selector: _Selector | None = None
    min_available: int | str | None = None


class _BudgetStatus(msgspec.Struct, frozen=True, rename="camel"):
    disruptions_allowed: int = 0


class _Budget(msgspec.Struct, frozen=True):
    spec: _BudgetSpec = msgspec.field(default_factory=_BudgetSpec)
    status: _BudgetStatus = msgspec.field(default_factory=_BudgetStatus)


@dataclass(frozen=True, slots=True, kw_only=True)
class Disruption:
    """What the disruption budgets that select some pods demand together.

    Attributes:
        allowed: the least `status.disruptionsAllowed`; None where no budget selects the pods.
        minimum: the largest `spec.minAvailable` that is a number.
    """

    allowed: int | None = None
    minimum: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Write:
    """A write that the cache may not show yet."""

    stale: frozenset[ResourceVersion]
    written: ResourceVersion
    until: float


class Watch:
    """The caches of governed objects, and those of what verdicts and gates depend on."""

    def __init__(
        self,
        governed: Sequence[ObjectCache],
        surroundings: Sequence[ObjectCache] = (),
        *,
        clock: Clock,
    ) -> None:
        self._governed: Mapping[Gvr, ObjectCache] = {one.resource: one for one in governed}
        self._around: Mapping[Gvr, ObjectCache] = {
            one.resource: one for one in (*governed, *surroundings)
        }
        self._enqueue: Callable[[ObjectKey], None] = _nobody
        self._clock = clock
        self._writes: dict[ObjectKey, _Write] = {}
        self._targets: dict[ObjectKey, tuple[str, str, str, str]] = {}
        self._stale_namespaces: set[str] = set()
        self._stale_all = False

    def start(self, enqueue: Callable[[ObjectKey], None]) -> None:
        """Follow all caches and hand every key that is to be looked at to `enqueue`; call once."""
        self._enqueue = enqueue
        for cache in self._governed.values():
            cache.subscribe(self._changed)
        if NAMESPACES in self._around:
            self._around[NAMESPACES].subscribe(self._namespace_changed)
        if PAUSES in self._around:
            self._around[PAUSES].subscribe(self._pause_changed)
        if AUTOSCALERS in self._around:
            self._around[AUTOSCALERS].subscribe(self._autoscaler_changed)

    def synced(self) -> bool:
        """Return whether every cache is complete: before that, nothing may be written."""
        return all(cache.synced() for cache in self._around.values())

    def governs(self, key: ObjectKey) -> bool:
        """Return whether objects of this resource are watched for violations."""
        return key.resource in self._governed

    def latest(self, key: ObjectKey) -> Document | None:
        """Return the newest state in the cache; None where the object is gone."""
        cache = self._governed.get(key.resource)
        return cache.latest(key) if cache is not None else None

    def wrote(self, key: ObjectKey, *, before: ResourceVersion, after: ResourceVersion) -> None:
        """Note a write of ours, so that the state before it is not judged again."""
        seen = self.latest(key)
        stale = {before} | ({seen.resource_version} if seen is not None else set())
        if seen is not None and seen.resource_version == after:
            return
        until = self._clock.monotonic() + _DISTRUST_SECONDS
        self._writes[key] = _Write(stale=frozenset(stale), written=after, until=until)

    def trusted(self, key: ObjectKey) -> bool:
        """Return whether the cache has caught up with our last write to the object.

        Versions are opaque, so any state but the ones known to be older counts as newer. That is
        safe: whatever is to be written is planned on a read from the API server.
        """
        write = self._writes.get(key)
        if write is None:
            return True
        seen = self.latest(key)
        behind = seen is not None and seen.resource_version in write.stale
        if behind and self._clock.monotonic() < write.until:
            return False
        del self._writes[key]
        return True

    def sweep(self) -> int:
        """Add every governed key and count them: the fallback behind the watches."""
        total = 0
        for resource, cache in self._governed.items():
            keys = cache.keys()
            metrics.GOVERNED.labels(kind=resource.resource).set(len(keys))
            total += len(keys)
            for key in keys:
                self._enqueue(key)
        return total

    def counts(self) -> Mapping[Gvr, int]:
        """Return how many objects of each governed resource there are."""
        return {resource: len(cache.keys()) for resource, cache in self._governed.items()}

    def flush(self) -> None:
        """Add the keys whose surroundings changed since the last call, in one pass."""
        namespaces, everything = self._stale_namespaces, self._stale_all
        if not namespaces and not everything:
            return
        self._stale_namespaces, self._stale_all = set(), False
        for cache in self._governed.values():
            keys = cache.keys()
            for key in keys:
                if everything or key.namespace in namespaces:
                    self._enqueue(key)

    def namespace(self, name: str) -> Document | None:
        """Return the namespace as the cache knows it."""
        cache = self._around.get(NAMESPACES)
        return cache.latest(ObjectKey(NAMESPACES, "", name)) if cache is not None else None

    def pauses(self) -> tuple[Document, ...]:
        """Return all `Pause` objects."""
        return tuple(self._documents(PAUSES, namespace=""))

    def autoscaled(self, target: ObjectRef) -> bool:
        """Return whether an autoscaler (autoscaling/v2) targets the object."""
        kind = target.kind
        wanted = (target.key.namespace, kind.group, kind.kind, target.key.name)
        return wanted in self._targets.values()

    def disruption(self, namespace: str, pod_labels: Mapping[str, str]) -> Disruption:
        """Return what the disruption budgets (policy/v1) that select such pods demand."""
        budgets = [
            budget
            for document in self._documents(BUDGETS, namespace=namespace)
            if (budget := _read(document, _Budget)) and _selects(budget, pod_labels)
        ]
        demanded = [one.spec.min_available for one in budgets]
        return Disruption(
            allowed=min((one.status.disruptions_allowed for one in budgets), default=None),
            minimum=max((number for number in demanded if isinstance(number, int)), default=0),
        )

    def _documents(self, resource: Gvr, *, namespace: str) -> list[Document]:
        cache = self._around.get(resource)
        if cache is None:
            return []
        keys = cache.keys()
        found = (cache.latest(key) for key in keys if key.namespace == namespace)
        return [document for document in found if document is not None]

    def _changed(self, key: ObjectKey) -> None:
        write = self._writes.get(key)
        if write is not None:
            seen = self.latest(key)
            # Of all states only this one proves that the cache has caught up.
            if seen is None or seen.resource_version == write.written:
                del self._writes[key]
        self._enqueue(key)

    def _namespace_changed(self, key: ObjectKey) -> None:
        # While the first list comes in, each namespace is new and every key is queued anyway.
        if self.synced():
            self._stale_namespaces.add(key.name)

    def _pause_changed(self, _key: ObjectKey) -> None:
        self._stale_all = True

    def _autoscaler_changed(self, key: ObjectKey) -> None:
        document = self._around[AUTOSCALERS].latest(key)
        target = _target(document, key.namespace) if document is not None else None
        # Its status changes every 15 s; only another target concerns us.
        if target == self._targets.get(key):
            return
        if target is None:
            self._targets.pop(key, None)
        else:
            self._targets[key] = target
        self._stale_namespaces.add(key.namespace)


def _nobody(_key: ObjectKey) -> None:
    """Takes keys before there is a queue."""


def _target(document: Document, namespace: str) -> tuple[str, str, str, str] | None:
    autoscaler = _read(document, _Autoscaler)
    if autoscaler is None:
        return None
    reference = autoscaler.spec.scale_target_ref
    group, _, _ = reference.api_version.rpartition("/")
    return namespace, group, reference.kind, reference.name


def _read(document: Document, shape: type[_T]) -> _T | None:
    try:
        return msgspec.json.decode(document.raw, type=shape)
    except msgspec.DecodeError:
        return None


def _selects(budget: _Budget, labels: Mapping[str, str]) -> bool:
    # policy/v1: a missing selector selects nothing, an empty one everything.
    selector = budget.spec.selector
    if selector is None:
        return False
    equal = tuple(
        SelectorRequirement(key=key, operator=SelectorOperator.IN, values=(value,))
        for key, value in selector.match_labels.items()
    )
    more = tuple(
        SelectorRequirement(key=one.key, operator=one.operator, values=one.values)
        for one in selector.match_expressions
    )
    return matches_selector(LabelSelector(requirements=equal + more), labels)
