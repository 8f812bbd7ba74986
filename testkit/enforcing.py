"""Builders for tests of the enforcer: policies judged by Python functions, and workloads."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Final, TypeAlias

from enforcer.plan import Subject, Tools
from lictor.audit import Digester
from lictor.jsontypes import Json, JsonObject
from lictor.model.document import Document
from lictor.model.names import BoundPolicyId, Digest, Gvk, Gvr, ObjectKey, ObjectRef, PolicyName
from lictor.model.patch import PatchOperation
from lictor.model.policy import (
    ActionKind,
    BoundPolicy,
    Enforcement,
    Existing,
    Match,
    Policy,
    ScaleBounds,
    Severity,
    Source,
)

DEPLOYMENTS: Final = Gvr("apps", "v1", "deployments")
DEPLOYMENT: Final = Gvk("apps", "v1", "Deployment")
DIGESTER: Final = Digester("e1", b"k" * 32)

Complies: TypeAlias = Callable[[JsonObject], bool]


def bound(
    name: str,
    *,
    action: ActionKind = ActionKind.REVERT,
    scale: ScaleBounds | None = None,
    severity: Severity = Severity.HIGH,
    existing: Existing = Existing.ENFORCE,
) -> BoundPolicy:
    """Return a policy without rules: tests judge it by a function of their own."""
    enforcement = Enforcement(existing=existing, action=action, scale=scale, settle=timedelta(0))
    policy = Policy(
        name=PolicyName(name),
        title=name,
        severity=severity,
        match=Match(resource_rules=()),
        enforcement=enforcement,
        source=Source(name="test"),
        digest=Digest("sha256:00"),
    )
    return BoundPolicy(id=BoundPolicyId(name), policy=policy)


def deployment(
    *, name: str = "web", namespace: str = "shop", spec: JsonObject | None = None, **meta: Json
) -> JsonObject:
    """Return a Deployment as an API server would give it."""
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": f"uid-{name}",
            "resourceVersion": "10",
            "generation": 1,
            **meta,
        },
        "spec": spec if spec is not None else {"replicas": 2},
        "status": {"replicas": 2},
    }


def target_of(tree: JsonObject) -> ObjectRef:
    """Return the reference of a Deployment."""
    document = Document.of(tree)
    key = ObjectKey(DEPLOYMENTS, document.meta.namespace, document.meta.name)
    return ObjectRef(key, DEPLOYMENT, document.uid)


def judged_by(
    rules: Mapping[BoundPolicy, Complies] | list[tuple[BoundPolicy, Complies]],
) -> Callable[[Document], frozenset[BoundPolicyId]]:
    """Return a judge that fails each policy whose function says no."""
    pairs = list(rules.items()) if isinstance(rules, Mapping) else rules

    def judge(document: Document) -> frozenset[BoundPolicyId]:
        return frozenset(one.id for one, complies in pairs if not complies(document.tree))

    return judge


def subject_of(
    live: JsonObject,
    *,
    rules: list[tuple[BoundPolicy, Complies]],
    baseline: JsonObject | None = None,
    ignored: tuple[str, ...] = (),
) -> Subject:
    """Return the subject of a plan that repairs everything that fails."""
    document = Document.of(live)
    failing = judged_by(rules)(document)
    return Subject(
        live=document,
        target=target_of(live),
        failing=failing,
        repair=tuple(one for one, _ in rules if one.id in failing),
        baseline=Document.of(baseline) if baseline is not None else None,
        ignored=ignored,
    )


def tools_of(
    rules: list[tuple[BoundPolicy, Complies]],
    *,
    mutations: Mapping[str, tuple[PatchOperation, ...]] | None = None,
    evaluations: int = 200,
) -> Tools:
    """Return the functions that a plan calls back."""
    patches = {BoundPolicyId(name): patch for name, patch in (mutations or {}).items()}
    return Tools(
        judge=judged_by(rules),
        mutate=lambda _: patches,
        digester=DIGESTER,
        evaluations=evaluations,
    )
