"""Makes the plan of one object: its violations merged into the smallest write that ends them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from enforcer.plan.minimise import minimise
from enforcer.plan.values import Draft, Obstacle, Subject, Tools
from lictor.audit import canonical
from lictor.errors import InputError
from lictor.jsontypes import Json, JsonObject
from lictor.model.difference import Difference, DifferenceKind, differences, revert
from lictor.model.document import Document
from lictor.model.names import BoundPolicyId, Digest
from lictor.model.patch import (
    PatchOperation,
    apply_patch,
    is_same,
    make_patch,
    operations_to_json,
    tokens,
)
from lictor.model.plan import Plan, Risk
from lictor.model.policy import ActionKind, BoundPolicy

_NEVER: Final = (
    "/status",
    "/metadata/resourceVersion",
    "/metadata/generation",
    "/metadata/managedFields",
    "/metadata/uid",
    "/metadata/creationTimestamp",
    "/metadata/deletionTimestamp",
    "/metadata/deletionGracePeriodSeconds",
    "/metadata/selfLink",
)
"""What the API server or a controller keeps: no state of it is ours to bring back."""

_LOW_RISK: Final = ("/metadata/labels", "/metadata/annotations")

_DATA_BEARING: Final = frozenset({"persistentvolumeclaims", "persistentvolumes"})

_ALIGNED_PIECES: Final = 64
"""Each piece costs a copy of the object; a plan has a few."""

_GROUP_DEPTH: Final = 2
"""`/spec/template`, `/metadata/labels`: what a person would call one part of an object."""


@dataclass(slots=True)
class _Progress:
    """The target as far as it is made, and what it cost."""

    tree: JsonObject
    fixed: tuple[BoundPolicy, ...] = ()
    obstacle: Obstacle | None = None
    evaluations: int = 0
    exhausted: bool = False


def make_plan(subject: Subject, tools: Tools) -> Draft:
    """Make one plan for all that is to be repaired.

    Reverts, patches and scalings are merged into one patch, since one write is safer than
    three; a step that would not help, or would break another policy, is left out. A deletion
    is planned only when nothing milder is left to do, and a notice only when nothing else is.
    Equal inputs give equal plans.
    """
    progress = _Progress(tree=subject.live.tree)
    for step in (_revert, _mutate, _scale):
        progress.obstacle = step(subject, tools, progress) or progress.obstacle
    patch = _aligned_patch(subject.live.tree, progress.tree)
    if patch:
        plan = _patch_plan(subject, tools, progress=progress, patch=patch)
    else:
        plan = _last_resort(subject, tools, obstacle=progress.obstacle)
    return Draft(plan=plan, evaluations=progress.evaluations, exhausted=progress.exhausted)


def _of(subject: Subject, kind: ActionKind) -> tuple[BoundPolicy, ...]:
    return tuple(one for one in subject.repair if one.policy.enforcement.action is kind)


def _sorted(policies: Sequence[BoundPolicy]) -> tuple[BoundPolicyId, ...]:
    return tuple(sorted(_ids(policies)))


def _ids(policies: Sequence[BoundPolicy]) -> frozenset[BoundPolicyId]:
    return frozenset(one.id for one in policies)


def _judge(tools: Tools, progress: _Progress, tree: JsonObject) -> frozenset[BoundPolicyId]:
    progress.evaluations += 1
    return tools.judge(Document.of(tree))


def _accept(
    subject: Subject,
    tools: Tools,
    progress: _Progress,
    *,
    tree: JsonObject,
    fixed: tuple[BoundPolicy, ...],
) -> Obstacle | None:
    """Take `tree` as the target when it mends `fixed`, keeps what is mended, and adds nothing."""
    failing = _judge(tools, progress, tree)
    if failing - subject.failing or failing & _ids(progress.fixed):
        return Obstacle.ADDS_VIOLATION
    if failing & _ids(fixed):
        return Obstacle.MUTATION_INSUFFICIENT
    progress.tree = tree
    progress.fixed += fixed
    return None


def _revert(subject: Subject, tools: Tools, progress: _Progress) -> Obstacle | None:
    wanted = _of(subject, ActionKind.REVERT)
    if not wanted:
        return None
    if subject.baseline is None:
        return subject.obstacle
    found = differences(subject.baseline.tree, progress.tree, ignored=_NEVER)
    ours = [one for one in found if not _below(one.path, subject.ignored)]
    still = _judge(tools, progress, revert(progress.tree, ours))
    fixed = tuple(one for one in wanted if one.id not in still)
    if not fixed:
        return _unrevertable(subject, tools, progress, found=found, ours=ours)
    tree = _smallest_revert(subject, tools, progress, found=ours, fixed=_ids(fixed), whole=still)
    return _accept(subject, tools, progress, tree=tree, fixed=fixed)


def _unrevertable(
    subject: Subject,
    tools: Tools,
    progress: _Progress,
    *,
    found: Sequence[Difference],
    ours: Sequence[Difference],
) -> Obstacle:
    if len(found) == len(ours):
        return Obstacle.BASELINE_VIOLATES
    still = _judge(tools, progress, revert(progress.tree, found))
    wanted = _ids(_of(subject, ActionKind.REVERT))
    return Obstacle.BASELINE_VIOLATES if wanted <= still else Obstacle.AUTOSCALED


def _smallest_revert(
    subject: Subject,
    tools: Tools,
    progress: _Progress,
    *,
    found: Sequence[Difference],
    fixed: frozenset[BoundPolicyId],
    whole: frozenset[BoundPolicyId],
) -> JsonObject:
    # Where the whole baseline breaks another policy, which is younger than it, a smaller part
    # of it may not; `_accept` has the last word.
    strict = not whole - subject.failing

    def holds(selected: tuple[Difference, ...]) -> bool:
        failing = tools.judge(Document.of(revert(progress.tree, selected)))
        return not failing & fixed and not (strict and failing - subject.failing)

    left = minimise(
        found, holds, group=_group, limit=max(0, tools.evaluations - progress.evaluations)
    )
    progress.evaluations += left.evaluations
    progress.exhausted = left.exhausted
    return revert(progress.tree, left.items)


def _mutate(subject: Subject, tools: Tools, progress: _Progress) -> Obstacle | None:
    obstacle: Obstacle | None = None
    for one in _of(subject, ActionKind.PATCH):
        patch = tools.mutate(Document.of(progress.tree)).get(one.id, ())
        try:
            tree = apply_patch(progress.tree, patch)
        except InputError:
            obstacle = Obstacle.MUTATION_INSUFFICIENT
        else:
            obstacle = _accept(subject, tools, progress, tree=tree, fixed=(one,)) or obstacle
    return obstacle


def _scale(subject: Subject, tools: Tools, progress: _Progress) -> Obstacle | None:
    obstacle: Obstacle | None = None
    for one in _of(subject, ActionKind.SCALE):
        bounds = one.policy.enforcement.scale
        if bounds is None:
            obstacle = Obstacle.NO_BOUNDS
            continue
        replicas = min(max(_replicas(progress.tree), bounds.minimum), bounds.maximum)
        spec = progress.tree.get("spec")
        tree: JsonObject = {
            **progress.tree,
            "spec": {**(spec if isinstance(spec, dict) else {}), "replicas": replicas},
        }
        obstacle = _accept(subject, tools, progress, tree=tree, fixed=(one,)) or obstacle
    return obstacle


def _aligned_patch(live: JsonObject, target: JsonObject) -> tuple[PatchOperation, ...]:
    """Make the patch piece by piece, so that it names what changes and nothing that only moves.

    A patch by places would rewrite every container behind one that was put in.
    """
    pieces = differences(target, live)
    if len(pieces) > _ALIGNED_PIECES:
        return make_patch(live, target)
    operations: list[PatchOperation] = []
    tree = live
    for piece in sorted(pieces, key=lambda one: one.kind is DifferenceKind.REORDERED):
        step = revert(tree, (piece,))
        operations.extend(make_patch(tree, step))
        tree = step
    return tuple(operations) if is_same(tree, target) else make_patch(live, target)


def _patch_plan(
    subject: Subject, tools: Tools, *, progress: _Progress, patch: tuple[PatchOperation, ...]
) -> Plan:
    before, after = _replicas(subject.live.tree), _replicas(progress.tree)
    replicas = (before, after) if before != after else None
    kinds = {one.policy.enforcement.action for one in progress.fixed}
    merged = (ActionKind.REVERT, ActionKind.PATCH, ActionKind.SCALE)
    kind = next(kind for kind in merged if kind in kinds)
    plan = Plan(
        kind=kind,
        target=subject.target,
        policies=_sorted(progress.fixed),
        resource_version=subject.live.resource_version,
        patch=patch,
        risk=_risk(subject, kind=kind, patch=patch, replicas=replicas),
        before=tools.digester.attest(subject.live),
        after=tools.digester.attest(Document.of(progress.tree)),
        replicas=replicas,
        digest=Digest(""),
    )
    return _sealed(plan, tools)


def _last_resort(subject: Subject, tools: Tools, *, obstacle: Obstacle | None) -> Plan:
    doomed = _of(subject, ActionKind.DELETE)
    kind = ActionKind.DELETE if doomed else ActionKind.NOTIFY
    before = tools.digester.attest(subject.live)
    plan = Plan(
        kind=kind,
        target=subject.target,
        policies=_sorted(doomed or subject.repair),
        resource_version=subject.live.resource_version,
        risk=_risk(subject, kind=kind),
        before=before,
        after=Digest("") if doomed else before,
        reason="" if doomed else obstacle or "",
        digest=Digest(""),
    )
    return _sealed(plan, tools)


def _sealed(plan: Plan, tools: Tools) -> Plan:
    """Fix the digest over all that the plan says; keyed for Secrets, as a patch has values."""
    content: JsonObject = {
        "kind": plan.kind.value,
        "object": str(plan.target.key),
        "uid": plan.target.uid,
        "resourceVersion": plan.resource_version,
        "policies": list[Json](plan.policies),
        "patch": operations_to_json(plan.patch),
        "risk": plan.risk.value,
        "before": plan.before,
        "after": plan.after,
        "reason": plan.reason,
    }
    sensitive = plan.target.kind.kind == "Secret"
    return replace(plan, digest=tools.digester.raw(canonical(content), sensitive=sensitive))


def _risk(
    subject: Subject,
    *,
    kind: ActionKind,
    patch: tuple[PatchOperation, ...] = (),
    replicas: tuple[int, int] | None = None,
) -> Risk:
    if kind is ActionKind.NOTIFY:
        return Risk.LOW
    key = subject.target.key
    to_zero = replicas is not None and replicas[1] == 0
    data_bearing = key.resource.resource in _DATA_BEARING
    if kind is ActionKind.DELETE or to_zero or not key.namespace or data_bearing:
        return Risk.HIGH
    low = all(_below(operation.path, _LOW_RISK) for operation in patch)
    return Risk.LOW if low else Risk.MEDIUM


def _replicas(tree: JsonObject) -> int:
    spec = tree.get("spec")
    replicas = spec.get("replicas") if isinstance(spec, dict) else None
    return replicas if isinstance(replicas, int) else 1


def _below(path: str, prefixes: Sequence[str]) -> bool:
    return any(path == prefix or path.startswith(prefix + "/") for prefix in prefixes)


def _group(difference: Difference) -> tuple[str, ...]:
    return tuple(tokens(difference.path)[:_GROUP_DEPTH])
