"""The gates, in their order. Each takes everything that is known and returns a hold, or None."""

from collections.abc import Callable
from typing import Final, TypeAlias, assert_never

from enforcer.gates.values import GateInput, Hold, PolicyState, Reason
from lictor.model.plan import Plan, Risk
from lictor.model.policy import ActionKind, Existing

Gate: TypeAlias = Callable[[GateInput], Hold | None]

_CONFIRMING_READS: Final = 2
_SECOND_READ_SECONDS: Final = 1.0
_PAUSE_RECHECK_SECONDS: Final = 60.0
_REPLICAS: Final = "/spec/replicas"


def check(given: GateInput) -> Hold | None:
    """Return the hold of the first gate that fails; None where the plan may be carried out."""
    return next((hold for gate in GATES if (hold := gate(given)) is not None), None)


def hold_of_policy(state: PolicyState) -> Hold | None:
    """Return what holds the plan for this policy alone, whatever the object.

    A policy that is held by itself is left out of a plan that others may carry out.
    """
    parts = (_mode, _pause, _settle, _policy_budget)
    return next((hold for part in parts if (hold := part(state)) is not None), None)


def fence(given: GateInput) -> Hold | None:
    """G0: only the leader acts; the next leader plans again."""
    if given.leader:
        return None
    return Hold(reason=Reason.NOT_LEADER, text="another process holds the Lease")


def mode(given: GateInput) -> Hold | None:
    """G3: the stricter of all switches decides."""
    return _first(given, _mode)


def never_touch(given: GateInput) -> Hold | None:
    """G4: what is never written, whatever a policy says."""
    target = given.plan.target
    # A Namespace object is protected by its own name.
    place = target.key.namespace or (
        target.key.name if target.key.resource.resource == "namespaces" else ""
    )
    if place and place == given.switches.own_namespace:
        return Hold(reason=Reason.OWN_NAMESPACE, text=f"{place} is our own namespace")
    if place in given.switches.protected_namespaces:
        return Hold(reason=Reason.PROTECTED_NAMESPACE, text=f"{place} is never written")
    if target.kind.group == "admissionregistration.k8s.io":
        text = "webhook configurations and admission policies are never written"
        return Hold(reason=Reason.WEBHOOK_CONFIGURATION, text=text)
    if given.terminating:
        return Hold(reason=Reason.TERMINATING, text="the object or its namespace is being deleted")
    return None


def paused(given: GateInput) -> Hold | None:
    """G5: a pause blocks what we do; a scaling event goes on."""
    if is_scaling_event(given.plan):
        return None
    if given.paused_by:
        text = f"annotation lictor.dev/paused on {given.paused_by}"
        return Hold(reason=Reason.PAUSED, text=text, recheck_seconds=_PAUSE_RECHECK_SECONDS)
    return _first(given, _pause)


def scaling(given: GateInput) -> Hold | None:
    """G7: an autoscaler's replicas are its own; scaling down must be safe."""
    if given.plan.replicas is None:
        return None
    if given.scaling.autoscaled:
        return Hold(reason=Reason.AUTOSCALED, text="an autoscaler owns spec.replicas")
    before, after = given.plan.replicas
    return _scale_down(given, before=before, after=after) if after < before else None


def ownership(given: GateInput) -> Hold | None:
    """G8: a controller would undo the write; its owner is where the change belongs."""
    if given.owner is None:
        return None
    if given.owner_governed:
        text = f"controlled by {given.owner}, which is looked at instead"
        return Hold(reason=Reason.OWNED, text=text, delegate=given.owner)
    return Hold(reason=Reason.OWNED, text=f"controlled by {given.owner}, which no policy names")


def settle(given: GateInput) -> Hold | None:
    """G9: what passes by itself within the settling time is left alone."""
    return None if is_scaling_event(given.plan) else _first(given, _settle)


def fight(given: GateInput) -> Hold | None:
    """G10: somebody writes it back each time.

    The heat is cooled up to the moment when this drift began: the wait that we impose ourselves
    is no peace, else a fight that is slowed down would never be found out.
    """
    if given.quarantined or given.heat >= given.switches.fight_heat:
        text = f"the object was written back each time (heat {given.heat:.1f})"
        return Hold(reason=Reason.QUARANTINED, text=text)
    wait = given.switches.fight_wait_seconds - given.drift_age_seconds
    if given.heat >= given.switches.fight_delay_heat and wait > 0:
        text = f"written often (heat {given.heat:.1f}); waits {wait:.0f} s"
        return Hold(reason=Reason.FIGHT_DELAY, text=text, recheck_seconds=wait)
    return None


def escalation(given: GateInput) -> Hold | None:
    """The API server refused this repair for good: a person is needed, not a hot loop."""
    if given.escalated_seconds <= 0:
        return None
    text = "the API server refused the repair; tried again later"
    return Hold(
        reason=Reason.ESCALATED, text=text, recheck_seconds=max(1.0, given.escalated_seconds)
    )


def budget(given: GateInput) -> Hold | None:
    """G12: so much and no more within a window, for each policy and for the cluster."""
    held = _first(given, _policy_budget)
    if held is not None:
        return held
    if given.cluster_spent < given.cluster_allowance:
        return None
    text = f"{given.cluster_spent} writes within a minute; at most {given.cluster_allowance}"
    return Hold(
        reason=Reason.BUDGET_CLUSTER,
        text=text,
        recheck_seconds=max(0.5, given.cluster_room_seconds),
    )


def approval(given: GateInput) -> Hold | None:
    """G14: what cannot be taken back is for a person to approve."""
    if given.plan.risk is not Risk.HIGH:
        return None
    text = f"{given.plan.kind} of {given.plan.target.key} is of high risk and needs an approval"
    return Hold(reason=Reason.APPROVAL_NEEDED, text=text)


GATES: Final[tuple[Gate, ...]] = (
    fence,
    mode,
    never_touch,
    paused,
    scaling,
    ownership,
    settle,
    fight,
    escalation,
    budget,
    approval,
)


def is_scaling_event(plan: Plan) -> bool:
    """Return whether the plan changes the number of replicas and nothing else."""
    if plan.replicas is None or plan.kind is ActionKind.DELETE:
        return False
    return all(operation.path == _REPLICAS for operation in plan.patch)


def _first(given: GateInput, part: Callable[[PolicyState], Hold | None]) -> Hold | None:
    holds = (part(state) for state in given.policies)
    return next((hold for hold in holds if hold is not None), None)


def _mode(state: PolicyState) -> Hold | None:
    text = f"{state.id} is in mode {state.mode}"
    match state.mode:
        case Existing.ENFORCE:
            return None
        case Existing.DRY_RUN:
            return Hold(reason=Reason.MODE_DRY_RUN, text=text)
        case Existing.INFORM:
            return Hold(reason=Reason.MODE_INFORM, text=text)
        case Existing.OFF:
            return Hold(reason=Reason.MODE_OFF, text=text)
        case _:
            assert_never(state.mode)


def _pause(state: PolicyState) -> Hold | None:
    if state.paused_seconds <= 0:
        return None
    return Hold(
        reason=Reason.PAUSED,
        text=f"{state.id} is paused for {state.paused_seconds:.0f} s",
        recheck_seconds=min(state.paused_seconds, _PAUSE_RECHECK_SECONDS),
    )


def _settle(state: PolicyState) -> Hold | None:
    if state.settle_seconds <= 0:
        return None
    remaining = state.settle_seconds - state.age_seconds
    if remaining <= 0 and state.reads >= _CONFIRMING_READS:
        return None
    return Hold(
        reason=Reason.SETTLING,
        text=f"{state.id}: seen for {state.age_seconds:.1f} s of {state.settle_seconds:.1f} s",
        recheck_seconds=remaining if remaining > 0 else _SECOND_READ_SECONDS,
    )


def _policy_budget(state: PolicyState) -> Hold | None:
    if state.spent < state.allowance:
        return None
    return Hold(
        reason=Reason.BUDGET_POLICY,
        text=f"{state.id}: {state.spent} writes within its window; at most {state.allowance}",
        recheck_seconds=max(0.5, state.room_seconds),
    )


def _scale_down(given: GateInput, *, before: int, after: int) -> Hold | None:
    facts = given.scaling
    if after < facts.minimum:
        text = f"{after} replicas are fewer than the {facts.minimum} that are demanded"
        return Hold(reason=Reason.SCALE_DOWN_MINIMUM, text=text)
    if facts.disruptions_allowed is not None and before - after > facts.disruptions_allowed:
        text = f"disruption budgets allow {facts.disruptions_allowed} fewer, not {before - after}"
        return Hold(reason=Reason.SCALE_DOWN_DISRUPTION, text=text, recheck_seconds=30.0)
    if facts.ready < after:
        text = f"{facts.ready} replicas are ready; scaling down to {after} is not safe"
        return Hold(reason=Reason.SCALE_DOWN_UNREADY, text=text, recheck_seconds=30.0)
    return None
