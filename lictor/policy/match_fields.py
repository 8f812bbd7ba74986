"""The fields of `spec.match`: MatchResources of admissionregistration.k8s.io/v1."""

import re
from collections.abc import Callable
from typing import Final

from lictor.matching import is_never_judged
from lictor.model.policy import (
    LabelSelector,
    Match,
    ResourceRule,
    Scope,
    SelectorOperator,
    SelectorRequirement,
)
from lictor.model.request import Operation
from lictor.policy.faults import nearest
from lictor.policy.fields import Fields, shown

_WILDCARD: Final = "*"
_MAX_RULES: Final = 64

_GROUP: Final = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_VERSION: Final = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
_RESOURCE: Final = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?(/([a-z]{1,63}|\*))?")
_LABEL_KEY: Final = re.compile(
    r"([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
)
_LABEL_VALUE: Final = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")

_COMMON_RESOURCES: Final = (
    "configmaps",
    "cronjobs",
    "daemonsets",
    "deployments",
    "deployments/scale",
    "horizontalpodautoscalers",
    "ingresses",
    "jobs",
    "namespaces",
    "networkpolicies",
    "persistentvolumeclaims",
    "pods",
    "pods/attach",
    "pods/ephemeralcontainers",
    "pods/exec",
    "replicasets",
    "secrets",
    "serviceaccounts",
    "services",
    "statefulsets",
    "statefulsets/scale",
)
"""Only for hints: any resource may be named."""


def read_match(spec: Fields) -> Match:
    """Read `match` of a policy's spec; a faulty one is returned as far as it could be read."""
    match = spec.child("match", required=True)
    if match is None:
        return Match(resource_rules=())
    found = Match(
        resource_rules=tuple(
            _rule(rule, wildcards=False)
            for rule in match.children("resourceRules", required=True, max_items=_MAX_RULES)
        ),
        exclude_resource_rules=tuple(
            _rule(rule, wildcards=True)
            for rule in match.children("excludeResourceRules", max_items=_MAX_RULES)
        ),
        namespace_selector=_selector(match, "namespaceSelector"),
        object_selector=_selector(match, "objectSelector"),
    )
    match.among("matchPolicy", ("Equivalent",), default="Equivalent")
    match.close()
    return found


def _rule(rule: Fields, *, wildcards: bool) -> ResourceRule:
    operations = (*(operation.value for operation in Operation), _WILDCARD)
    found = ResourceRule(
        api_groups=_names(rule, "apiGroups", _group_fault, wildcards=wildcards),
        api_versions=_names(rule, "apiVersions", _version_fault, wildcards=wildcards),
        operations=rule.texts("operations", required=True),
        resources=_names(rule, "resources", _resource_fault, wildcards=wildcards),
        scope=rule.choice("scope", Scope.ANY),
        resource_names=rule.texts("resourceNames"),
    )
    for number, operation in enumerate(found.operations):
        if operation not in operations:
            rule.faults.add(
                rule.at(f"operations[{number}]"),
                f"it is {shown(operation)}",
                expected="one of " + ", ".join(operations),
                nearest=nearest(operation, operations),
            )
    _refuse_never_judged(rule, found)
    rule.close()
    return found


def _names(
    rule: Fields, name: str, fault: Callable[[str], str], *, wildcards: bool
) -> tuple[str, ...]:
    found = rule.texts(name, required=True)
    for number, item in enumerate(found):
        is_wide = item.partition("/")[0] == _WILDCARD
        if is_wide and wildcards:
            continue
        expected = (
            "each one by its name: nothing expands a wildcard yet" if is_wide else fault(item)
        )
        if expected:
            rule.faults.add(
                rule.at(f"{name}[{number}]"),
                f"it is {shown(item)}",
                expected=expected,
                nearest=_near_resource(item) if name == "resources" and not is_wide else "",
            )
    return found


def _near_resource(item: str) -> str:
    return nearest(item if item.lower().endswith("s") else f"{item}s", _COMMON_RESOURCES)


def _group_fault(item: str) -> str:
    # The core group is the empty text.
    if not item or _GROUP.fullmatch(item):
        return ""
    return "an API group without its version, as apps"


def _version_fault(item: str) -> str:
    return "" if _VERSION.fullmatch(item) else "a version without its group, as v1"


def _resource_fault(item: str) -> str:
    if _RESOURCE.fullmatch(item):
        return ""
    return "a resource as in a URL: plural, in lower case, as pods or pods/exec"


def _refuse_never_judged(rule: Fields, found: ResourceRule) -> None:
    for number, item in enumerate(found.resources):
        resource = item.partition("/")[0]
        if any(is_never_judged(group, resource) for group in found.api_groups):
            rule.faults.add(
                rule.at(f"resources[{number}]"),
                f"policies are never asked about {resource}",
                expected="another resource",
            )


def _selector(match: Fields, name: str) -> LabelSelector:
    selector = match.child(name)
    if selector is None:
        return LabelSelector()
    requirements = [
        SelectorRequirement(key=key, operator=SelectorOperator.IN, values=(value,))
        for key, value in selector.pairs("matchLabels")
    ]
    for requirement in requirements:
        where = selector.at(f"matchLabels.{requirement.key}")
        _check_label(selector, where, requirement)
    for expression in selector.children("matchExpressions"):
        requirement = SelectorRequirement(
            key=expression.text("key", required=True),
            operator=expression.choice("operator", SelectorOperator.IN, required=True),
            values=expression.texts("values"),
        )
        _check_label(expression, expression.path, requirement)
        _check_values(expression, requirement)
        expression.close()
        requirements.append(requirement)
    selector.close()
    return LabelSelector(requirements=tuple(requirements))


def _check_label(fields: Fields, where: str, requirement: SelectorRequirement) -> None:
    if requirement.key and not _LABEL_KEY.fullmatch(requirement.key):
        fields.faults.add(where, f"the key is {shown(requirement.key)}", expected="a label key")
    for value in requirement.values:
        if not _LABEL_VALUE.fullmatch(value):
            fields.faults.add(where, f"the value is {shown(value)}", expected="a label value")


def _check_values(expression: Fields, requirement: SelectorRequirement) -> None:
    takes_values = requirement.operator in {SelectorOperator.IN, SelectorOperator.NOT_IN}
    if takes_values and not requirement.values:
        expression.faults.add(
            expression.at("values"),
            "it is empty",
            expected=f"at least one value for {requirement.operator.value}",
        )
    if not takes_values and requirement.values:
        expression.faults.add(
            expression.at("values"),
            f"{requirement.operator.value} compares no values",
            expected="it left out",
        )
