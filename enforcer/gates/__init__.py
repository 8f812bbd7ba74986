"""The brakes: pure functions over what is known of one plan; the first that fails decides."""

from enforcer.gates.checks import check, hold_of_policy
from enforcer.gates.pauses import PAUSED_ANNOTATION, Pause, is_paused, pause_of, paused_until
from enforcer.gates.values import GateInput, Hold, PolicyState, Reason, Scaling, Switches

__all__ = [
    "PAUSED_ANNOTATION",
    "GateInput",
    "Hold",
    "Pause",
    "PolicyState",
    "Reason",
    "Scaling",
    "Switches",
    "check",
    "hold_of_policy",
    "is_paused",
    "pause_of",
    "paused_until",
]
