"""The law as values: policies, what they match, what they say and how they are enforced."""

from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import TypeAlias

from lictor.jsontypes import JsonObject
from lictor.model.names import BoundPolicyId, Digest, PolicyName
from lictor.model.patch import PatchOperation


class Severity(StrEnum):
    """How much a violation matters; orders alerts and the wait before a repair."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


class AdmissionAction(StrEnum):
    """What a violation does at the gate."""

    DENY = "deny"
    WARN = "warn"
    AUDIT = "audit"


class OnError(StrEnum):
    """What a failed evaluation does at the gate; behind it, an error never causes a write."""

    DENY = "deny"
    ALLOW = "allow"


class Existing(StrEnum):
    """What a violation of an existing object does."""

    OFF = "off"
    INFORM = "inform"
    DRY_RUN = "dry-run"
    ENFORCE = "enforce"


class ActionKind(StrEnum):
    """What the enforcer writes to end a violation."""

    NOTIFY = "notify"
    REVERT = "revert"
    PATCH = "patch"
    SCALE = "scale"
    DELETE = "delete"


class StatusReason(StrEnum):
    """`metav1.StatusReason` of a denial, and with it the HTTP code."""

    FORBIDDEN = "Forbidden"
    INVALID = "Invalid"
    REQUEST_ENTITY_TOO_LARGE = "RequestEntityTooLarge"

    @property
    def code(self) -> int:
        """The HTTP status that the API server pairs with the reason."""
        codes = {
            StatusReason.FORBIDDEN: 403,
            StatusReason.INVALID: 422,
            StatusReason.REQUEST_ENTITY_TOO_LARGE: 413,
        }
        return codes[self]


class SelectorOperator(StrEnum):
    """`LabelSelectorRequirement.operator`."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectorRequirement:
    """`LabelSelector.matchExpressions[]`."""

    key: str
    operator: SelectorOperator
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelSelector:
    """`metav1.LabelSelector`; matchLabels are written as `In` requirements. Empty matches all."""

    requirements: tuple[SelectorRequirement, ...] = ()


class Scope(StrEnum):
    """`Rule.scope`."""

    ANY = "*"
    CLUSTER = "Cluster"
    NAMESPACED = "Namespaced"


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceRule:
    """`NamedRuleWithOperations` of admissionregistration.k8s.io/v1.

    `resources` may be `*`, `pods`, `pods/*`, `*/scale` or `*/*`; `operations` holds the names of
    `Operation` or `*`.
    """

    api_groups: tuple[str, ...]
    api_versions: tuple[str, ...]
    operations: tuple[str, ...]
    resources: tuple[str, ...]
    scope: Scope = Scope.ANY
    resource_names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """`MatchResources` of admissionregistration.k8s.io/v1: same fields, same meaning."""

    resource_rules: tuple[ResourceRule, ...]
    exclude_resource_rules: tuple[ResourceRule, ...] = ()
    namespace_selector: LabelSelector = field(default_factory=LabelSelector)
    object_selector: LabelSelector = field(default_factory=LabelSelector)


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedExpression:
    """A CEL expression with the name it is known by: a match condition or a variable."""

    name: str
    expression: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CelRule:
    """A CEL expression that is true when the object complies."""

    expression: str
    message_expression: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaRule:
    """A JSON Schema (draft 2020-12) that the object, or the value at `path`, satisfies.

    `path` is a JSON Pointer (RFC 6901) below the object; nothing there complies.
    """

    schema: JsonObject
    path: str = ""


Rule: TypeAlias = CelRule | SchemaRule


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """One rule and what it says when it is broken."""

    rule: Rule
    message: str = ""
    reason: StatusReason = StatusReason.FORBIDDEN
    field_path: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CelMutation:
    """A CEL expression that gives a list of `JSONPatch{op, path, value}`."""

    expression: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchMutation:
    """JSON Patch operations (RFC 6902) that are the same for every object."""

    operations: tuple[PatchOperation, ...]


Mutation: TypeAlias = CelMutation | PatchMutation


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleBounds:
    """Where `action: scale` brings `spec.replicas`: into [minimum, maximum]."""

    minimum: int = 0
    maximum: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Enforcement:
    """What is done about a violation, at the gate and behind it."""

    admission: AdmissionAction = AdmissionAction.DENY
    on_error: OnError = OnError.DENY
    failure_class: str = "open"
    existing: Existing = Existing.INFORM
    action: ActionKind = ActionKind.REVERT
    settle: timedelta = timedelta(seconds=5)
    scale: ScaleBounds | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where a policy was read: a file or an object, and the line it begins at."""

    name: str
    line: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """One policy of any format, validated."""

    name: PolicyName
    title: str
    severity: Severity
    match: Match
    match_conditions: tuple[NamedExpression, ...] = ()
    variables: tuple[NamedExpression, ...] = ()
    validations: tuple[Validation, ...] = ()
    mutations: tuple[Mutation, ...] = ()
    enforcement: Enforcement = field(default_factory=Enforcement)
    source: Source
    digest: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundPolicy:
    """Policy x binding x parameter: the unit of verdicts, records and metrics."""

    id: BoundPolicyId
    policy: Policy
    binding: str = ""
    parameters: JsonObject | None = None
