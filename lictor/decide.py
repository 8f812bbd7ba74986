"""Decides a request: match, match conditions, evaluate, combine.

Synchronous, deterministic and free of I/O: the same request, snapshot and facts give the same
decision. The gate, the enforcer, `lictor test` and replay all call it.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final, assert_never

from lictor.audit import canonical, digest, is_sensitive
from lictor.engines.cel import CelActivation, CelProgram
from lictor.errors import EvaluationError, InputError
from lictor.jsontypes import Json, JsonObject
from lictor.matching import labels_of, matches_selector, namespace_labels, namespace_to_read
from lictor.model.document import Document
from lictor.model.facts import Facts, Needs
from lictor.model.names import Digest
from lictor.model.owner import Owner
from lictor.model.patch import (
    MISSING,
    PatchOperation,
    PatchTestFailedError,
    apply_patch,
    make_patch,
    resolve,
)
from lictor.model.policy import AdmissionAction, CelRule, OnError, StatusReason, Validation
from lictor.model.request import Origin, Phase, Request
from lictor.model.review import request_variable, without_nulls
from lictor.model.verdict import Cause, Decision, Outcome, Verdict, Violation
from lictor.ownership import resolve_owner
from lictor.policy import (
    CompiledCel,
    CompiledMutation,
    CompiledPolicy,
    CompiledSchema,
    CompiledValidation,
    Snapshot,
)

MAX_MESSAGE_BYTES: Final = 5 * 1024
"""Of one message; a longer one from a messageExpression is not used (KEP-3488)."""

# A message may quote the object, and is shown in a terminal, one line a policy.
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")

_SHOWN_FAULTS: Final = 5
_ERROR_LENGTH: Final = 512


def decide(request: Request, snapshot: Snapshot, facts: Facts) -> Decision | Needs:
    """Return the decision on `request`, or the facts that are needed for it.

    A fact that `facts` holds, or says to have failed, is never needed again.
    """
    candidates = snapshot.index.candidates(request)
    namespace = _namespace(request, facts)
    if candidates and namespace is None:
        return Needs(namespaces=frozenset({namespace_to_read(request)}))
    inputs = _Inputs(request, snapshot, namespace or _Namespace())
    compiled = [snapshot.compiled[bound.id] for bound in candidates]
    if request.phase is Phase.MUTATE:
        verdicts = _complete(compiled, inputs)
    else:
        verdicts = [
            verdict for policy in compiled if (verdict := _judge(policy, inputs)) is not None
        ]
    return _combine(verdicts, inputs, facts=_facts_digest(request, facts))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Namespace:
    """The namespace of the request, or why it is not there."""

    document: Document | None = None
    problem: str = ""


def _namespace(request: Request, facts: Facts) -> _Namespace | None:
    """Return the namespace as the facts know it; None where it is still to be gathered."""
    name = namespace_to_read(request)
    if not name:
        return _Namespace()
    failure = facts.failures.get(f"namespace/{name}")
    if failure is not None:
        return _Namespace(problem=f"the namespace {name} could not be read: {failure}")
    if name not in facts.namespaces:
        return None
    document = facts.namespaces[name]
    if document is None:
        return _Namespace(problem=f"the namespace {name} does not exist")
    return _Namespace(document=document)


def _facts_digest(request: Request, facts: Facts) -> Digest:
    name = namespace_to_read(request)
    read: JsonObject = {}
    if name in facts.namespaces:
        document = facts.namespaces[name]
        read["namespaces"] = {name: None if document is None else digest(document.raw)}
    failure = facts.failures.get(f"namespace/{name}")
    if failure is not None:
        read["failures"] = {f"namespace/{name}": failure}
    return digest(canonical(read))


class _Inputs:
    """What all policies of one request read; made at the first use, once."""

    def __init__(self, request: Request, snapshot: Snapshot, namespace: _Namespace) -> None:
        self.request = request
        self.snapshot = snapshot
        self.namespace = namespace
        self._changed: JsonObject | None = None

    def changed(self, tree: JsonObject) -> "_Inputs":
        """Return the inputs with another object."""
        inputs = _Inputs(self.request, self.snapshot, self.namespace)
        inputs._changed = tree
        return inputs

    @property
    def tree(self) -> JsonObject:
        """The object of the request, or what policies made of it.

        Raises:
            EvaluationError: the request has none.
        """
        tree = self.values["object"]
        if not isinstance(tree, dict):
            raise EvaluationError("there is no object to complete")
        return tree

    @cached_property
    def problem(self) -> str:
        """Why the objects of the request cannot be read; "" where they can."""
        try:
            _ = self.values
        except InputError as err:
            return f"the object cannot be read: {err}"
        return ""

    @cached_property
    def values(self) -> Mapping[str, Json]:
        """The variables of an expression.

        Raises:
            InputError: an object cannot be decoded.
        """
        request = self.request
        tree = self._changed
        if tree is None and request.object is not None:
            tree = request.object.tree
        return {
            "object": tree,
            "oldObject": request.old_object.tree if request.old_object else None,
            "request": request_variable(request),
            "namespaceObject": self._namespace_object(),
        }

    @cached_property
    def activation(self) -> CelActivation:
        """The one activation that all expressions share."""
        return self.snapshot.environment.activation(self.values)

    @cached_property
    def namespace_labels(self) -> Mapping[str, str] | None:
        """What namespace selectors see; None where none applies."""
        return namespace_labels(self.request, self.namespace.document)

    @property
    def owner(self) -> Owner:
        """The owner of the object."""
        ownership = self.snapshot.ownership
        return resolve_owner(
            labels_of(self.request.object or self.request.old_object),
            self.namespace_labels or {},
            label_keys=ownership.label_keys,
            registry=ownership.registry,
        )

    def _namespace_object(self) -> Json:
        # As in the API server: null in cluster scope and for Namespaces, without the bookkeeping.
        document = self.namespace.document
        if document is None:
            return None
        tree = dict(document.tree)
        metadata = tree.get("metadata")
        if isinstance(metadata, dict):
            tree["metadata"] = {
                key: value
                for key, value in metadata.items()
                if key not in {"managedFields", "ownerReferences"}
            }
        return tree


def _judge(policy: CompiledPolicy, inputs: _Inputs) -> Verdict | None:
    """Return the verdict of one policy; None where the namespace is not one that it is for."""
    try:
        if not _is_selected(policy, inputs):
            return None
        if not _holds(policy, inputs):
            return Verdict(bound=policy.bound, outcome=Outcome.SKIPPED)
    except EvaluationError as err:
        return _error(policy, str(err))
    return _validate(policy, inputs)


def _is_selected(policy: CompiledPolicy, inputs: _Inputs) -> bool:
    selector = policy.bound.policy.match.namespace_selector
    labels = inputs.namespace_labels
    if not selector.requirements or labels is None:
        return True
    if inputs.namespace.problem:
        raise EvaluationError(inputs.namespace.problem)
    return matches_selector(selector, labels)


def _holds(policy: CompiledPolicy, inputs: _Inputs) -> bool:
    """Return whether every match condition is true: one that is false wins over errors."""
    if policy.reads_namespace and inputs.namespace.problem:
        raise EvaluationError(inputs.namespace.problem)
    if inputs.problem:
        raise EvaluationError(inputs.problem)
    problem = ""
    for condition in policy.conditions:
        try:
            if not condition.program.run_bool(inputs.activation):
                return False
        except EvaluationError as err:
            problem = problem or f"matchConditions {condition.name}: {err}"
    if problem:
        raise EvaluationError(problem)
    return True


def _error(policy: CompiledPolicy, error: str, violations: Sequence[Violation] = ()) -> Verdict:
    text = " ".join(error.split())
    return Verdict(
        bound=policy.bound,
        outcome=Outcome.ERROR,
        error=text if len(text) <= _ERROR_LENGTH else f"{text[: _ERROR_LENGTH - 1]}…",
        violations=tuple(violations),
    )


def _validate(policy: CompiledPolicy, inputs: _Inputs) -> Verdict:
    """Ask every rule: one that fails does not keep the others from being heard."""
    violations: list[Violation] = []
    errors: list[str] = []
    for number, validation in enumerate(policy.validations):
        name = f"validations[{number}]"
        try:
            violation = _check(validation, name, inputs)
        except EvaluationError as err:
            errors.append(f"{name}: {err}")
            continue
        if violation is not None:
            violations.append(violation)
    if errors:
        return _error(policy, "; ".join(errors), violations)
    return Verdict(
        bound=policy.bound,
        outcome=Outcome.VIOLATED if violations else Outcome.PASSED,
        violations=tuple(violations),
    )


def _check(validation: CompiledValidation, name: str, inputs: _Inputs) -> Violation | None:
    source, rule = validation.source, validation.rule
    match rule:
        case CompiledCel():
            if rule.program.run_bool(inputs.activation):
                return None
            message, path = _message(source, rule, inputs), ""
        case CompiledSchema():
            faults = _schema_faults(rule, inputs.values["object"])
            if not faults:
                return None
            message, path = source.message or "; ".join(faults), rule.path
        case _:
            assert_never(rule)
    return Violation(
        rule=name, message=message, field_path=source.field_path or path, reason=source.reason
    )


def _message(source: Validation, rule: CompiledCel, inputs: _Inputs) -> str:
    """Return what to say: messageExpression, else message, else the expression that failed.

    About a Secret only the policy's own words: an expression could quote a value, and the API
    server writes a denial's message to its audit log.
    """
    if rule.message is not None and not is_sensitive(inputs.request.kind):
        try:
            text = rule.message.run_string(inputs.activation).strip()
        except EvaluationError:
            text = ""
        if len(text.splitlines()) == 1 and len(text.encode()) <= MAX_MESSAGE_BYTES:
            return text
    if source.message:
        return source.message
    expression = source.rule.expression if isinstance(source.rule, CelRule) else ""
    return f"failed expression: {expression.strip()}"


def _schema_faults(rule: CompiledSchema, tree: Json) -> list[str]:
    """Say what the schema finds; nothing at the rule's path complies."""
    value = resolve(tree, rule.path)
    if value is None or value is MISSING:
        return []
    return [
        f"{rule.path}{fault.path}: {fault.message}" if fault.path else fault.message
        for fault in rule.program.run(without_nulls(value))[:_SHOWN_FAULTS]
    ]


def _complete(policies: Sequence[CompiledPolicy], inputs: _Inputs) -> list[Verdict]:
    """Let each policy complete the object; each sees what those before it made of it."""
    verdicts = []
    for policy in policies:
        verdict, inputs = _mutate(policy, inputs)
        if verdict is not None:
            verdicts.append(verdict)
    return verdicts


def _mutate(policy: CompiledPolicy, inputs: _Inputs) -> tuple[Verdict | None, _Inputs]:
    """Return the verdict of one policy, and the inputs that its patch leads to.

    A mutation that fails undoes those of its policy before it.
    """
    try:
        if not _is_selected(policy, inputs):
            return None, inputs
        if not _holds(policy, inputs):
            return Verdict(bound=policy.bound, outcome=Outcome.SKIPPED), inputs
        changed = inputs
        for number, mutation in enumerate(policy.mutations):
            changed = _apply(mutation, f"mutations[{number}]", changed)
    except EvaluationError as err:
        return _error(policy, str(err)), inputs
    patch: tuple[PatchOperation, ...] = ()
    if changed is not inputs:
        patch = make_patch(inputs.tree, changed.tree)
    return Verdict(bound=policy.bound, outcome=Outcome.PASSED, patch=patch), changed


def _apply(mutation: CompiledMutation, name: str, inputs: _Inputs) -> _Inputs:
    try:
        if isinstance(mutation, CelProgram):
            operations = mutation.run_patch(inputs.activation)
        else:
            operations = mutation
        if not operations:
            return inputs
        return inputs.changed(apply_patch(inputs.tree, operations))
    except PatchTestFailedError:
        # As in a MutatingAdmissionPolicy: the patch asks whether it applies, and it does not.
        return inputs
    except (EvaluationError, InputError) as err:
        raise EvaluationError(f"{name}: {err}") from err


def _combine(verdicts: Sequence[Verdict], inputs: _Inputs, *, facts: Digest) -> Decision:
    """Make one decision of all verdicts: any denial denies."""
    request, policy_set = inputs.request, inputs.snapshot.digest
    if not verdicts:
        # No policy applies: allowed because nothing forbids it, not because nothing was asked.
        return Decision(
            allowed=True, code=200, owner=inputs.owner, policy_set=policy_set, facts=facts
        )
    denials = [verdict for verdict in verdicts if _denies(verdict, request.origin)]
    shared = Decision(
        verdicts=tuple(verdicts),
        warnings=tuple(_line(verdict) for verdict in verdicts if _warns(verdict, request.origin)),
        patch=tuple(operation for verdict in verdicts for operation in verdict.patch),
        owner=inputs.owner,
        policy_set=policy_set,
        facts=facts,
    )
    if not denials:
        return replace(shared, allowed=True, code=200)
    reason = _reason(denials[0])
    is_violated = any(verdict.violations for verdict in denials)
    return replace(
        shared,
        code=reason.code,
        reason=reason,
        message="\n".join(map(_line, denials)),
        cause=Cause.POLICY if is_violated else Cause.ERROR,
    )


def _denies(verdict: Verdict, origin: Origin) -> bool:
    """Return whether a verdict forbids the request, or finds an existing object in breach.

    Behind the gate every violation counts, whatever it would do at the gate, and an error never
    does. At the gate both do what `admission` says, an error only if `onError` lets it.
    """
    if origin is Origin.EXISTING:
        return bool(verdict.violations)
    return _counts(verdict) and verdict.bound.policy.enforcement.admission is AdmissionAction.DENY


def _warns(verdict: Verdict, origin: Origin) -> bool:
    return (
        origin is Origin.ADMISSION
        and _counts(verdict)
        and verdict.bound.policy.enforcement.admission is AdmissionAction.WARN
    )


def _counts(verdict: Verdict) -> bool:
    match verdict.outcome:
        case Outcome.PASSED | Outcome.SKIPPED:
            return False
        case Outcome.VIOLATED:
            return True
        case Outcome.ERROR:
            on_error = verdict.bound.policy.enforcement.on_error
            return bool(verdict.violations) or on_error is OnError.DENY
    assert_never(verdict.outcome)


def _reason(denial: Verdict) -> StatusReason:
    return denial.violations[0].reason if denial.violations else StatusReason.FORBIDDEN


def _line(verdict: Verdict) -> str:
    """Write one line: which policy, what it wants, and for each rule how to mend it and where."""
    policy = verdict.bound.policy
    parts = [
        f"{violation.message} (at {violation.field_path})"
        if violation.field_path
        else violation.message
        for violation in verdict.violations
    ]
    if verdict.outcome is Outcome.ERROR:
        parts.append(f"it could not be evaluated: {verdict.error}")
    title = policy.title.rstrip(".")
    return _CONTROL.sub(" ", f"{verdict.bound.id}: {title}: {'; '.join(parts)}")
