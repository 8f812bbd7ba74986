"""The loader of the native format, `lictor.dev/v1alpha1 Policy`."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from lictor.audit import canonical, digest
from lictor.model.names import PolicyName
from lictor.model.patch import PatchOp, PatchOperation
from lictor.model.policy import (
    ActionKind,
    CelMutation,
    CelRule,
    Enforcement,
    Mutation,
    NamedExpression,
    PatchMutation,
    Policy,
    Rule,
    ScaleBounds,
    SchemaRule,
    Severity,
    Source,
    StatusReason,
    Validation,
)
from lictor.policy.faults import Faults
from lictor.policy.fields import Fields, shown
from lictor.policy.match_fields import read_match
from lictor.policy.yamltree import Node

API_VERSION: Final = "lictor.dev/v1alpha1"
KIND: Final = "Policy"

MAX_MESSAGE_BYTES: Final = 5 * 1024
"""The API server's own limit for a message (KEP-3488)."""

LONGEST_SETTLE: Final = timedelta(hours=24)
"""Of `enforcement.settle`: what waits longer than a day is not enforced."""

_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_IDENTIFIER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
_CONDITION: Final = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_./]{0,61}[A-Za-z0-9])?")
_POINTER: Final = re.compile(r"(/([^~/]|~[01])*)*")

_LATER_SPEC: Final = frozenset(
    {"parameters", "paramKind", "rollout", "exemptions", "owner", "runbook", "auditAnnotations"}
)
_LATER_RULE: Final = frozenset({"rego"})
_LATER_MUTATION: Final = frozenset({"applyConfiguration", "rego"})
_LATER_ENFORCEMENT: Final = frozenset(
    {"interval", "cooldown", "wait", "ignorePaths", "budget", "attested", "sensitive"}
)


@dataclass(frozen=True, slots=True)
class ParsedPolicy:
    """A policy as read, and the line of each of its fields, for what compiling finds."""

    policy: Policy
    lines: Mapping[str, int]


def read_policy(document: Node, file: str, *, faults: Faults) -> ParsedPolicy | None:
    """Read one document; None where it has faults, which are added to `faults`."""
    known = len(faults.found)
    own = Faults(file)
    policy = _policy(document, own)
    faults.found.extend(own.found)
    if policy is None or len(faults.found) != known:
        return None
    return ParsedPolicy(policy, own.lines)


def _policy(document: Node, faults: Faults) -> Policy | None:
    root = Fields(document, path="", faults=faults)
    for field, value in (("apiVersion", API_VERSION), ("kind", KIND)):
        if root.node(field, required=True) is not None:
            root.among(field, (value,), default=value)
    if faults.found:
        return None
    name = _metadata(root)
    spec = root.child("spec", required=True)
    root.close()
    if spec is None:
        return None
    policy = Policy(
        name=PolicyName(name),
        title=spec.text("title", required=True, one_line=True, max_bytes=MAX_MESSAGE_BYTES),
        severity=spec.choice("severity", Severity.MEDIUM, required=True),
        match=read_match(spec),
        match_conditions=_named(spec, "matchConditions", _CONDITION),
        variables=_named(spec, "variables", _IDENTIFIER),
        validations=tuple(_validation(fields) for fields in spec.children("validations")),
        mutations=tuple(_mutation(fields) for fields in spec.children("mutations")),
        enforcement=_enforcement(spec),
        source=Source(name=faults.file, line=document.line),
        digest=digest(canonical(document.value)),
    )
    spec.close(later=_LATER_SPEC)
    if not policy.validations and not policy.mutations:
        faults.add("spec", "it says nothing", expected="validations or mutations")
    return policy


def _metadata(root: Fields) -> str:
    metadata = root.child("metadata", required=True)
    if metadata is None:
        return ""
    name = metadata.text("name", required=True)
    if name and not _NAME.fullmatch(name):
        metadata.faults.add(
            metadata.at("name"),
            f"it is {shown(name)}",
            expected="at most 63 lower case letters, digits and -",
            nearest=re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:63].strip("-"),
        )
    metadata.pairs("labels")
    metadata.pairs("annotations")
    metadata.close()
    return name


def _named(spec: Fields, name: str, pattern: re.Pattern[str]) -> tuple[NamedExpression, ...]:
    found: list[NamedExpression] = []
    # 64 match conditions are the API server's own limit (KEP-3716).
    for fields in spec.children(name, max_items=64):
        label = fields.text("name", required=True)
        if label and not pattern.fullmatch(label):
            expected = "an identifier" if pattern is _IDENTIFIER else "a short name"
            fields.faults.add(fields.at("name"), f"it is {shown(label)}", expected=expected)
        if label in {other.name for other in found}:
            fields.faults.add(fields.at("name"), f"{shown(label)} is there twice")
        expression = fields.text("expression", required=True)
        fields.close()
        found.append(NamedExpression(name=label, expression=expression))
    return tuple(found)


def _validation(validation: Fields) -> Validation:
    engine = _only_one(validation, ("cel", "jsonSchema"), later=_LATER_RULE)
    fields = validation.child(engine)
    if fields is None:
        return Validation(rule=CelRule(expression=""))
    rule = _cel_rule(fields) if engine == "cel" else _schema_rule(fields)
    found = Validation(
        rule=rule,
        message=fields.text("message", one_line=True, max_bytes=MAX_MESSAGE_BYTES),
        reason=fields.choice("reason", StatusReason.FORBIDDEN),
        field_path=_pointer(fields, "fieldPath"),
    )
    if isinstance(rule, CelRule) and "\n" in rule.expression.strip() and not found.message:
        fields.faults.add(
            fields.at("message"),
            "it is missing",
            expected="one line, since an expression of several lines cannot stand in for it",
        )
    fields.close()
    return found


def _cel_rule(fields: Fields) -> Rule:
    return CelRule(
        expression=fields.text("expression", required=True),
        message_expression=fields.text("messageExpression"),
    )


def _schema_rule(fields: Fields) -> Rule:
    schema = fields.node("schema", required=True)
    if schema is not None and not isinstance(schema.value, dict):
        fields.faults.add(
            fields.at("schema"), f"it is {shown(schema.value)}", expected="a JSON Schema"
        )
    value = schema.value if schema is not None and isinstance(schema.value, dict) else {}
    return SchemaRule(schema=value, path=_pointer(fields, "path"))


def _mutation(mutation: Fields) -> Mutation:
    if _only_one(mutation, ("cel", "jsonPatch"), later=_LATER_MUTATION) == "jsonPatch":
        operations = mutation.children("jsonPatch", required=True)
        return PatchMutation(operations=tuple(_operation(fields) for fields in operations))
    fields = mutation.child("cel")
    if fields is None:
        return CelMutation(expression="")
    found = CelMutation(expression=fields.text("expression", required=True))
    fields.close()
    return found


def _operation(fields: Fields) -> PatchOperation:
    op = fields.choice("op", PatchOp.ADD, required=True)
    path = _pointer(fields, "path", required=True)
    value = fields.value("value", required=op in {PatchOp.ADD, PatchOp.REPLACE, PatchOp.TEST})
    source = _pointer(fields, "from", required=op in {PatchOp.MOVE, PatchOp.COPY})
    fields.close()
    return PatchOperation(op=op, path=path, value=value, source=source)


def _pointer(fields: Fields, name: str, *, required: bool = False) -> str:
    text = fields.text(name, required=required)
    if _POINTER.fullmatch(text):
        return text
    dotted = "/" + re.sub(r"\[([0-9]+)\]", r"/\1", text.lstrip(".")).replace(".", "/")
    fields.faults.add(
        fields.at(name),
        f"it is {shown(text)}",
        expected="a JSON Pointer (RFC 6901), where / parts the names and ~1 stands for a /",
        nearest=dotted if _POINTER.fullmatch(dotted) and not text.startswith("/") else "",
    )
    return ""


def _only_one(fields: Fields, names: tuple[str, ...], *, later: Iterable[str]) -> str:
    """Return which of the names is there; a fault where none or several are."""
    present = [name for name in names if fields.node(name) is not None]
    fields.close(later=frozenset(later))
    if len(present) == 1:
        return present[0]
    what = f"it has {' and '.join(present)}" if present else "it says nothing"
    fields.faults.add(fields.path, what, expected="exactly one of " + ", ".join(names))
    return present[0] if present else names[0]


def _enforcement(spec: Fields) -> Enforcement:
    fields = spec.child("enforcement")
    default = Enforcement()
    if fields is None:
        return default
    found = Enforcement(
        admission=fields.choice("admission", default.admission),
        on_error=fields.choice("onError", default.on_error),
        failure_class=fields.text("class", default=default.failure_class),
        existing=fields.choice("existing", default.existing),
        action=fields.choice("action", default.action),
        settle=fields.duration("settle", default=default.settle, longest=LONGEST_SETTLE),
        scale=_scale(fields),
    )
    if (found.action is ActionKind.SCALE) != (found.scale is not None):
        fields.faults.add(
            fields.at("scale"),
            "it is missing" if found.scale is None else f"the action is {found.action.value}",
            expected="scale.maximum beside action: scale, and nowhere else",
        )
    fields.close(later=_LATER_ENFORCEMENT)
    return found


def _scale(enforcement: Fields) -> ScaleBounds | None:
    fields = enforcement.child("scale")
    if fields is None:
        return None
    minimum = fields.integer("minimum", default=0)
    maximum = fields.integer("maximum", default=minimum, required=True)
    if maximum < minimum:
        fields.faults.add(fields.at("maximum"), f"it is {maximum}", expected=f"at least {minimum}")
    fields.close()
    return ScaleBounds(minimum=minimum, maximum=maximum)
