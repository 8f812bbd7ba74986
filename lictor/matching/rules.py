"""Resource rules, by the semantics of the API server's own matcher (webhook/predicates/rules)."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Final, assert_never

from lictor.matching.selectors import NAMESPACES, matches_object
from lictor.model.policy import Match, ResourceRule, Scope
from lictor.model.request import Request

WILDCARD: Final = "*"

_NEVER_JUDGED: Final = {
    "admissionregistration.k8s.io": frozenset(
        {
            "mutatingadmissionpolicies",
            "mutatingadmissionpolicybindings",
            "mutatingwebhookconfigurations",
            "validatingadmissionpolicies",
            "validatingadmissionpolicybindings",
            "validatingwebhookconfigurations",
        }
    ),
    "authentication.k8s.io": frozenset({"selfsubjectreviews", "tokenreviews"}),
    "authorization.k8s.io": frozenset(
        {
            "localsubjectaccessreviews",
            "selfsubjectaccessreviews",
            "selfsubjectrulesreviews",
            "subjectaccessreviews",
        }
    ),
}


class Clause(StrEnum):
    """The clause of a match that keeps a policy from applying."""

    NEVER_JUDGED = "neverJudged"
    RESOURCE_RULES = "resourceRules"
    EXCLUDE_RESOURCE_RULES = "excludeResourceRules"
    OBJECT_SELECTOR = "objectSelector"
    NAMESPACE_SELECTOR = "namespaceSelector"


def is_never_judged(group: str, resource: str) -> bool:
    """Return whether policies never see that resource.

    The API server exempts admission configuration, since a policy could lock itself in, and
    the reviews that answer who may do what (KEP-3488, KEP-5793).
    """
    return resource in _NEVER_JUDGED.get(group, ())


def mismatch(match: Match, request: Request) -> Clause | None:
    """Return the clause that keeps `match` from applying, by what the request alone shows.

    The namespace selector needs a fact and is not looked at here.
    """
    if is_never_judged(request.resource.group, request.resource.resource):
        return Clause.NEVER_JUDGED
    if not any(matches_rule(rule, request) for rule in match.resource_rules):
        return Clause.RESOURCE_RULES
    if any(matches_rule(rule, request) for rule in match.exclude_resource_rules):
        return Clause.EXCLUDE_RESOURCE_RULES
    if not matches_object(match.object_selector, request):
        return Clause.OBJECT_SELECTOR
    return None


def matches_rule(rule: ResourceRule, request: Request) -> bool:
    """Return whether one rule names the request.

    A non-empty list of resource names never matches a request without a name (generateName).
    """
    return (
        _in(rule.operations, request.operation.value)
        and _in(rule.api_groups, request.resource.group)
        and _in(rule.api_versions, request.resource.version)
        and any(_names(entry, request) for entry in rule.resources)
        and (not rule.resource_names or request.name in rule.resource_names)
        and _in_scope(rule.scope, request)
    )


def _in(items: Sequence[str], wanted: str) -> bool:
    return WILDCARD in items or wanted in items


def _names(entry: str, request: Request) -> bool:
    # As in the API server, `pods/*` is also the Pods themselves: `*` equals no subresource too.
    resource, _, sub_resource = entry.partition("/")
    return resource in (WILDCARD, request.resource.resource) and sub_resource in (
        WILDCARD,
        request.sub_resource,
    )


def _in_scope(scope: Scope, request: Request) -> bool:
    # A request for a Namespace carries its own name as the namespace, and is cluster-scoped.
    namespaced = bool(request.namespace) and request.resource != NAMESPACES
    match scope:
        case Scope.ANY:
            return True
        case Scope.NAMESPACED:
            return namespaced
        case Scope.CLUSTER:
            return not namespaced
    assert_never(scope)
