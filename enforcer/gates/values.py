"""What the gates read, and what they say."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from lictor.model.names import BoundPolicyId, ObjectKey
from lictor.model.plan import Plan
from lictor.model.policy import Existing


class Reason(StrEnum):
    """Why a plan is held: a metric label, `gate` of a record, and the name of a runbook."""

    NOT_LEADER = "not-leader"
    MODE_OFF = "mode-off"
    MODE_INFORM = "mode-inform"
    MODE_DRY_RUN = "mode-dry-run"
    OWN_NAMESPACE = "own-namespace"
    PROTECTED_NAMESPACE = "protected-namespace"
    WEBHOOK_CONFIGURATION = "webhook-configuration"
    TERMINATING = "terminating"
    PAUSED = "paused"
    AUTOSCALED = "autoscaled"
    SCALE_DOWN_DISRUPTION = "scale-down-disruption"
    SCALE_DOWN_UNREADY = "scale-down-unready"
    SCALE_DOWN_MINIMUM = "scale-down-minimum"
    OWNED = "owned"
    SETTLING = "settling"
    FIGHT_DELAY = "fight-delay"
    QUARANTINED = "quarantined"
    ESCALATED = "escalated"
    BUDGET_POLICY = "budget-policy"
    BUDGET_CLUSTER = "budget-cluster"
    APPROVAL_NEEDED = "approval-needed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """One gate says no.

    Attributes:
        text: for people: what was found, and what releases it.
        recheck_seconds: when it may be over; None where an event, or the resync, ends it.
        delegate: the key that is to be looked at instead, where there is one.
    """

    reason: Reason
    text: str
    recheck_seconds: float | None = None
    delegate: ObjectKey | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyState:
    """One violated policy, as the brakes see it.

    Attributes:
        mode: the stricter of the policy's `existing` and the enforcer's mode.
        settle_seconds: how long the violation has to be there; 0 for a critical policy.
        age_seconds: how long it has been there.
        reads: how many reads in a row have shown it.
        paused_seconds: how long a `Pause` object still covers it; 0 where none does.
        spent, allowance: writes for this policy within its window, and how many it may have.
        room_seconds: until the window has room again.
    """

    id: BoundPolicyId
    mode: Existing
    settle_seconds: float = 0.0
    age_seconds: float = 0.0
    reads: int = 1
    paused_seconds: float = 0.0
    spent: int = 0
    allowance: int = 1
    room_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """What decides whether `spec.replicas` may be written.

    Attributes:
        autoscaled: an autoscaler targets the object.
        ready: `status.readyReplicas`.
        disruptions_allowed: the least of the disruption budgets that select its pods; None
            where there is none.
        minimum: the least that a policy or a disruption budget demands.
    """

    autoscaled: bool = False
    ready: int = 0
    disruptions_allowed: int | None = None
    minimum: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Switches:
    """The settings that gates read.

    Attributes:
        own_namespace: ours, which is never written.
        fight_wait_seconds: how long a hot object waits after its drift was seen.
    """

    own_namespace: str
    protected_namespaces: tuple[str, ...] = ()
    fight_heat: float = 5.0
    fight_delay_heat: float = 3.0
    fight_wait_seconds: float = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class GateInput:
    """Everything that the gates read about one plan; they read nothing else.

    Attributes:
        leader: this process holds the Lease and renewed it in time.
        policies: those that the plan acts for.
        terminating: the object or its namespace is being deleted.
        paused_by: the place of the annotation `lictor.dev/paused`; "" where there is none.
        owner: the top controller owner, where it exists; it is planned on instead.
        owner_governed: whether the owner's resource is watched.
        heat: of the object, cooled up to the moment when this drift began.
        drift_age_seconds: since this drift was first seen.
        quarantined: it fought before and has not been released.
        escalated_seconds: until the next try after a refusal that is final; 0 where none was.
        cluster_spent, cluster_allowance: writes of all policies within a minute.
        cluster_room_seconds: until the minute has room again.
    """

    plan: Plan
    now: datetime
    switches: Switches
    leader: bool
    policies: tuple[PolicyState, ...]
    terminating: bool = False
    paused_by: str = ""
    scaling: Scaling = field(default_factory=Scaling)
    owner: ObjectKey | None = None
    owner_governed: bool = False
    heat: float = 0.0
    drift_age_seconds: float = 0.0
    quarantined: bool = False
    escalated_seconds: float = 0.0
    cluster_spent: int = 0
    cluster_allowance: int = 1
    cluster_room_seconds: float = 0.0
