"""What the settings say about policies, over what the policies say themselves."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta

from lictor.model.policy import ActionKind, Enforcement, Existing, Policy
from lictor.model.request import Operation
from lictor.policy.faults import Fault, Faults, nearest
from lictor.policy.native import LONGEST_SETTLE, ParsedPolicy

_SETTINGS = "settings"


@dataclass(frozen=True, slots=True, kw_only=True)
class Overrides:
    """Settings that change how policies are enforced.

    Attributes:
        existing: by policy name, over `enforcement.existing`.
        settle_seconds: by policy name, over `enforcement.settle`.
        failure_classes: the classes that the gate serves; a policy of another one would be asked
            by nobody, so it is refused.
    """

    existing: Mapping[str, Existing] = field(default_factory=dict)
    settle_seconds: Mapping[str, float] = field(default_factory=dict)
    failure_classes: tuple[str, ...] = ("open", "closed")


def override(policy: Policy, overrides: Overrides) -> Policy:
    """Return `policy` as it is enforced."""
    enforcement = policy.enforcement
    seconds = overrides.settle_seconds.get(policy.name, enforcement.settle.total_seconds())
    return replace(
        policy,
        enforcement=replace(
            enforcement,
            existing=overrides.existing.get(policy.name, enforcement.existing),
            settle=timedelta(seconds=seconds),
        ),
    )


def faults_of_settings(overrides: Overrides, names: Iterable[str]) -> tuple[Fault, ...]:
    """Return a fault for each override of a policy that does not exist, or by a bad number."""
    known = set(names)
    given = (("existing", overrides.existing), ("settleSeconds", overrides.settle_seconds))
    unknown = [
        Fault(
            file=_SETTINGS,
            field=f"policies.{key}.{name}",
            what="there is no such policy",
            nearest=nearest(name, known),
        )
        for key, values in given
        for name in sorted(set(values) - known)
    ]
    longest = LONGEST_SETTLE.total_seconds()
    wrong = [
        Fault(
            file=_SETTINGS,
            field=f"policies.settleSeconds.{name}",
            what=f"it is {seconds}",
            expected=f"0 to {longest:.0f}",
        )
        for name, seconds in sorted(overrides.settle_seconds.items())
        # Written so that NaN is wrong too.
        if not 0 <= seconds <= longest
    ]
    return (*unknown, *wrong)


def check_enforcement(parsed: ParsedPolicy, overrides: Overrides, *, faults: Faults) -> None:
    """Add a fault for what cannot be enforced as it is asked."""
    policy = parsed.policy
    found = policy.enforcement
    where = "spec.enforcement"
    if found.failure_class not in overrides.failure_classes:
        faults.add(
            f"{where}.class",
            f'the gate serves no class "{found.failure_class}"',
            expected="one of " + ", ".join(overrides.failure_classes),
            nearest=nearest(found.failure_class, overrides.failure_classes),
        )
    if found.action is ActionKind.PATCH and not policy.mutations:
        faults.add(f"{where}.action", "there are no mutations to patch by", expected="mutations")
    why_not = _not_on_existing(policy, found)
    if why_not:
        faults.add(
            f"{where}.existing",
            f"{found.existing.value} is asked for, but {why_not}",
            expected="inform or off",
        )


def _not_on_existing(policy: Policy, enforcement: Enforcement) -> str:
    """Return why a policy cannot be enforced on existing objects; "" where it can."""
    if enforcement.existing not in {Existing.ENFORCE, Existing.DRY_RUN}:
        return ""
    if not policy.validations:
        return "without validations nothing is ever found"
    operations = {name for rule in policy.match.resource_rules for name in rule.operations}
    if operations.isdisjoint({Operation.CREATE.value, "*"}):
        return "an existing object is reviewed as a CREATE, which no rule names"
    return ""
