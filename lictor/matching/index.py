"""From (group, resource, operation) to the bound policies that may apply."""

from collections.abc import Iterable, Mapping
from typing import Final, TypeAlias

from lictor.matching.rules import WILDCARD, mismatch
from lictor.model.policy import BoundPolicy, Existing, ResourceRule
from lictor.model.request import Operation, Origin, Phase, Request

_Key: TypeAlias = tuple[str, str, Operation]
_Bucket: TypeAlias = tuple[BoundPolicy, ...]

_ALL_OPERATIONS: Final = tuple(Operation)


class Index:
    """Finds the candidates for a request without looking at every policy."""

    __slots__ = ("_phases",)

    def __init__(self, policies: Iterable[BoundPolicy]) -> None:
        """Index `policies`; the order in which they come does not matter."""
        ordered = sorted(policies, key=lambda bound: bound.id)
        self._phases = {
            Phase.VALIDATE: _Buckets(bound for bound in ordered if bound.policy.validations),
            Phase.MUTATE: _Buckets(bound for bound in ordered if bound.policy.mutations),
        }

    def candidates(self, request: Request) -> tuple[BoundPolicy, ...]:
        """Return what may apply, by the request alone, in the order of the ids.

        A policy without rules for the request's phase, of another failure class, or switched off
        for existing objects is none. What is deleted cannot be completed: DELETE has no
        candidates in the phase MUTATE.
        """
        if request.phase is Phase.MUTATE and request.operation is Operation.DELETE:
            return ()
        return tuple(
            bound
            for bound in self._phases[request.phase].of(request)
            if _is_asked(bound, request) and mismatch(bound.policy.match, request) is None
        )


def _is_asked(bound: BoundPolicy, request: Request) -> bool:
    enforcement = bound.policy.enforcement
    if request.origin is Origin.EXISTING and enforcement.existing is Existing.OFF:
        return False
    return request.failure_class in ("", enforcement.failure_class)


class _Buckets:
    """The policies of one phase. Those with a wildcard stand in every bucket."""

    __slots__ = ("_exact", "_wide")

    def __init__(self, policies: Iterable[BoundPolicy]) -> None:
        exact: dict[_Key, dict[str, BoundPolicy]] = {}
        wide: dict[str, BoundPolicy] = {}
        for bound in policies:
            for rule in bound.policy.match.resource_rules:
                keys = _keys(rule)
                if keys is None:
                    wide[bound.id] = bound
                    continue
                for key in keys:
                    exact.setdefault(key, {})[bound.id] = bound
        self._wide: _Bucket = tuple(wide.values())
        self._exact: Mapping[_Key, _Bucket] = {
            key: _in_order({**found, **wide}) for key, found in exact.items()
        }

    def of(self, request: Request) -> _Bucket:
        resource = request.resource
        key = (resource.group, resource.resource, request.operation)
        return self._exact.get(key, self._wide)


def _in_order(found: Mapping[str, BoundPolicy]) -> _Bucket:
    return tuple(found[bound_id] for bound_id in sorted(found))


def _keys(rule: ResourceRule) -> list[_Key] | None:
    """Return the exact keys of a rule; None where a wildcard makes them endless."""
    resources = [entry.partition("/")[0] for entry in rule.resources]
    if WILDCARD in rule.api_groups or WILDCARD in resources:
        return None
    return [
        (group, resource, operation)
        for group in rule.api_groups
        for resource in resources
        for operation in operations_of(rule)
    ]


def operations_of(rule: ResourceRule) -> tuple[Operation, ...]:
    """Return the operations of a rule, `*` written out."""
    if WILDCARD in rule.operations:
        return _ALL_OPERATIONS
    return tuple(operation for operation in _ALL_OPERATIONS if operation.value in rule.operations)
