"""The webhook rules that follow from the loaded policies."""

from collections.abc import Iterable, Iterator
from typing import TypeAlias

from lictor.errors import InputError
from lictor.matching.index import operations_of
from lictor.matching.rules import WILDCARD
from lictor.model.policy import BoundPolicy, ResourceRule, Scope
from lictor.model.request import Operation, Phase

_Place: TypeAlias = tuple[str, str, str, Scope]
"""Group, version, resource with subresource, scope."""


def registration_rules(
    policies: Iterable[BoundPolicy], *, failure_class: str, phase: Phase
) -> tuple[tuple[ResourceRule, ...], ...]:
    """Return the rules of each webhook to register; none where no policy needs one.

    Under `matchPolicy: Equivalent` the API server converts an object to the version that a webhook
    names, and sends it as it is where the webhook names that version too. So a webhook names one
    version of a resource: where policies name two, there are two webhooks, and a policy written for
    `v2` sees every `v1` object as `v2`.

    Raises:
        InputError: a policy names a group, version or resource by a wildcard. Then the API server
            would send each object as it was written, and policies for another version miss it.
    """
    operations: dict[_Place, set[Operation]] = {}
    for bound in policies:
        if not _takes_part(bound, failure_class=failure_class, phase=phase):
            continue
        for place, operation in _places(bound, phase=phase):
            operations.setdefault(place, set()).add(operation)
    versions: dict[tuple[str, str], set[str]] = {}
    for group, version, resource, _ in operations:
        versions.setdefault((group, resource.partition("/")[0]), set()).add(version)
    webhooks: list[dict[_Place, set[Operation]]] = []
    for place in sorted(operations):
        group, version, resource, _ = place
        number = sorted(versions[group, resource.partition("/")[0]]).index(version)
        webhooks.extend({} for _ in range(number + 1 - len(webhooks)))
        webhooks[number][place] = operations[place]
    return tuple(_merge(webhook) for webhook in webhooks)


def _takes_part(bound: BoundPolicy, *, failure_class: str, phase: Phase) -> bool:
    if bound.policy.enforcement.failure_class != failure_class:
        return False
    return bool(bound.policy.validations if phase is Phase.VALIDATE else bound.policy.mutations)


def _places(bound: BoundPolicy, *, phase: Phase) -> Iterator[tuple[_Place, Operation]]:
    for rule in bound.policy.match.resource_rules:
        resources = [entry.partition("/")[0] for entry in rule.resources]
        if WILDCARD in (*rule.api_groups, *rule.api_versions, *resources):
            raise InputError(
                f"{bound.id}: a wildcard in match.resourceRules cannot be registered; "
                "expected each group, version and resource by name"
            )
        for operation in operations_of(rule):
            if phase is Phase.MUTATE and operation is Operation.DELETE:
                continue
            for group in rule.api_groups:
                for version in rule.api_versions:
                    for resource in rule.resources:
                        yield (group, version, resource, rule.scope), operation


def _merge(webhook: dict[_Place, set[Operation]]) -> tuple[ResourceRule, ...]:
    """Join resources that have group, version, scope and operations in common."""
    resources: dict[tuple[str, str, Scope, tuple[str, ...]], list[str]] = {}
    for (group, version, resource, scope), operations in webhook.items():
        names = tuple(sorted(operation.value for operation in operations))
        resources.setdefault((group, version, scope, names), []).append(resource)
    return tuple(
        ResourceRule(
            api_groups=(group,),
            api_versions=(version,),
            operations=operations,
            resources=tuple(sorted(found)),
            scope=scope,
        )
        for (group, version, scope, operations), found in sorted(resources.items())
    )
