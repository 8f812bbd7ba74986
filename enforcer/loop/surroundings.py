"""What the gates ask about an object beyond itself: owners, pauses, scaling, the namespace."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from enforcer.gates import Pause, Scaling, is_paused, pause_of, paused_until
from enforcer.watch import Watch
from lictor.errors import ForbiddenError, InputError, ObjectNotFoundError
from lictor.jsontypes import Json, JsonObject
from lictor.model.document import Document, OwnerReference
from lictor.model.names import Gvk, Gvr, ObjectKey, ObjectRef, PolicyName
from lictor.model.plan import Plan
from lictor.ports.reader import Reader

_MAX_CLIMB: Final = 8
"""Pod, ReplicaSet, Deployment, and what operators put on top."""


class Kinds(Protocol):
    """Knows which resource serves a kind."""

    async def resource_for(self, kind: Gvk) -> Gvr | None:
        """Return the resource of a kind; None where it is not served.

        Raises:
            ApiError: the API server refused (404 where the group is not there) or can't answer.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Around:
    """What surrounds one object at one moment.

    Attributes:
        owner: the top controller owner that exists; None where nobody controls the object.
        paused_by: the place of the annotation that pauses it; "" where there is none.
        terminating: the object or its namespace is being deleted.
    """

    owner: ObjectKey | None = None
    paused_by: str = ""
    terminating: bool = False


class Surroundings:
    """Answers from the caches where it can, and from the API server where it must."""

    def __init__(self, watch: Watch, reader: Reader, kinds: Kinds) -> None:
        self._watch = watch
        self._reader = reader
        self._kinds = kinds
        self._pauses: dict[tuple[str, str], Pause | None] = {}

    async def around(self, document: Document, target: ObjectRef) -> Around:
        """Look around one object.

        Raises:
            ApiError: an owner could not be read; then nothing may be assumed about it.
        """
        owners = await self._owners(document, target.key.namespace)
        namespace = self._watch.namespace(target.key.namespace)
        paused_by = ""
        if is_paused(document):
            paused_by = "the object"
        elif any(is_paused(owner) for _, owner in owners):
            paused_by = "its owner"
        elif namespace is not None and is_paused(namespace):
            paused_by = "its namespace"
        return Around(
            owner=owners[-1][0] if owners else None,
            paused_by=paused_by,
            terminating=_is_terminating(document) or _is_terminating(namespace),
        )

    def paused_seconds(self, namespace: str, policy: PolicyName, now: datetime) -> float:
        """Return how long `Pause` objects still cover a policy in a namespace; 0 for not at all."""
        until = paused_until(self._active(), now, namespace=namespace, policy=policy)
        return (until - now).total_seconds() if until is not None else 0.0

    def scaling(self, document: Document, plan: Plan, *, minimum: int) -> Scaling:
        """Return what decides whether the plan may change the replicas."""
        if plan.replicas is None:
            return Scaling()
        disruption = self._watch.disruption(plan.target.key.namespace, _pod_labels(document.tree))
        return Scaling(
            autoscaled=self._watch.autoscaled(plan.target),
            ready=_ready_replicas(document.tree),
            disruptions_allowed=disruption.allowed,
            minimum=max(minimum, disruption.minimum),
        )

    async def _owners(
        self, document: Document, namespace: str
    ) -> Sequence[tuple[ObjectKey, Document]]:
        """Climb from owner to owner, as far as each is there with the uid that is named."""
        chain: list[tuple[ObjectKey, Document]] = []
        reference = _controller(document)
        while reference is not None and len(chain) < _MAX_CLIMB:
            found = await self._find(reference, namespace)
            # An owner that is not there is a claim of whoever wrote the object.
            if found is None:
                break
            chain.append(found)
            reference = _controller(found[1])
        return chain

    async def _find(
        self, reference: OwnerReference, namespace: str
    ) -> tuple[ObjectKey, Document] | None:
        group, _, version = reference.api_version.rpartition("/")
        try:
            resource = await self._kinds.resource_for(Gvk(group, version, reference.kind))
        except ObjectNotFoundError:
            return None
        if resource is None:
            return None
        # The owner of a namespaced object is in its namespace or in none.
        for place in dict.fromkeys((namespace, "")):
            key = ObjectKey(resource, place, reference.name)
            owner = await self._read(key, reference.uid)
            if owner is not None:
                return key, owner
        return None

    async def _read(self, key: ObjectKey, uid: str) -> Document | None:
        owner = self._watch.latest(key)
        if owner is None or owner.uid != uid:
            try:
                owner = await self._reader.get(key)
            except ForbiddenError:
                # A kind that we may not read shields nothing, or any reference to one would.
                return None
        return owner if owner is not None and owner.uid == uid else None

    def _active(self) -> list[Pause]:
        fresh: dict[tuple[str, str], Pause | None] = {}
        for document in self._watch.pauses():
            mark = (document.meta.name, document.resource_version)
            fresh[mark] = self._pauses[mark] if mark in self._pauses else _pause(document)
        self._pauses = fresh
        return [pause for pause in fresh.values() if pause is not None]


def _pause(document: Document) -> Pause | None:
    try:
        return pause_of(document)
    except InputError:
        # Its CRD refuses such an object; one that is there all the same pauses nothing.
        return None


def _controller(document: Document) -> OwnerReference | None:
    references = document.meta.owner_references or []
    return next((one for one in references if one.controller), None)


def _is_terminating(document: Document | None) -> bool:
    return document is not None and document.meta.deletion_timestamp is not None


def _mapping(value: Json) -> JsonObject:
    return value if isinstance(value, dict) else {}


def _ready_replicas(tree: JsonObject) -> int:
    ready = _mapping(tree.get("status")).get("readyReplicas")
    return ready if isinstance(ready, int) else 0


def _pod_labels(tree: JsonObject) -> dict[str, str]:
    template = _mapping(_mapping(tree.get("spec")).get("template"))
    labels = _mapping(_mapping(template.get("metadata")).get("labels"))
    return {key: value for key, value in labels.items() if isinstance(value, str)}
