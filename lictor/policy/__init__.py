"""From bytes to a validated, compiled, immutable snapshot with a digest, all or nothing."""

from lictor.policy.compiled import (
    CompiledCel,
    CompiledCondition,
    CompiledMutation,
    CompiledPolicy,
    CompiledSchema,
    CompiledValidation,
)
from lictor.policy.faults import Fault, PolicyLoadError
from lictor.policy.overrides import Overrides
from lictor.policy.snapshot import Snapshot, load

__all__ = [
    "CompiledCel",
    "CompiledCondition",
    "CompiledMutation",
    "CompiledPolicy",
    "CompiledSchema",
    "CompiledValidation",
    "Fault",
    "Overrides",
    "PolicyLoadError",
    "Snapshot",
    "load",
]
