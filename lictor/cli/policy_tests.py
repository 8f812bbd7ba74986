"""The test files beside policies: read them, run them, compare."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

import msgspec
import yaml

from lictor.decide import decide
from lictor.errors import InputError
from lictor.jsontypes import Json, JsonObject
from lictor.matching import NAMESPACES
from lictor.model.document import Document
from lictor.model.facts import Facts, Needs
from lictor.model.names import Gvk, Gvr, RequestUid
from lictor.model.patch import apply_patch, operations_from_json, operations_to_json
from lictor.model.request import Operation, Origin, Phase, Request, UserInfo
from lictor.model.verdict import Decision, Outcome
from lictor.policy import Fault, PolicyLoadError, Snapshot
from lictor.policy.faults import Faults
from lictor.policy.fields import Fields
from lictor.policy.yamltree import Node, YamlError, read_documents

API_VERSION: Final = "lictor.dev/v1alpha1"
KIND: Final = "PolicyTest"
MAX_CASES: Final = 1000
"""In one file."""

_DEFAULT_NAMESPACE: Final = "default"
_CLUSTER_SCOPED: Final = frozenset(
    {
        "APIService",
        "ClusterRole",
        "ClusterRoleBinding",
        "CustomResourceDefinition",
        "IngressClass",
        "Namespace",
        "Node",
        "PersistentVolume",
        "PriorityClass",
        "RuntimeClass",
        "StorageClass",
    }
)
_IRREGULAR: Final[Mapping[str, str]] = {"Endpoints": "endpoints"}


class Expected(StrEnum):
    """What may be expected of the policies of a folder, all together."""

    PASSED = "passed"
    VIOLATED = "violated"
    SKIPPED = "skipped"
    ERROR = "error"
    UNMATCHED = "unmatched"


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """What a case expects; None says nothing about that part."""

    outcome: Expected | None = None
    allowed: bool | None = None
    violations: tuple[JsonObject, ...] | None = None
    errors: tuple[str, ...] | None = None
    warnings: tuple[str, ...] | None = None
    patch: list[Json] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One review and what is expected of it."""

    name: str
    line: int
    request: Request
    facts: Facts
    expect: Expectation


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How a case went: `diff` is empty where everything is as expected."""

    case: Case
    diff: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Return whether everything is as expected."""
        return not self.diff


def read_cases(path: Path, data: bytes) -> tuple[Case, ...]:
    """Read one test file.

    Raises:
        PolicyLoadError: something is wrong with it; names each fault.
    """
    faults = Faults(str(path))
    try:
        documents = read_documents(data)
    except YamlError as err:
        fault = Fault(file=faults.file, line=err.line, what=str(err))
        raise PolicyLoadError((fault,)) from err
    cases = [case for document in documents for case in _cases(document, faults)]
    if not cases and not faults.found:
        faults.add("cases", "there are none", expected="at least one case")
    if faults.found:
        raise PolicyLoadError(faults.found)
    return tuple(cases)


def run_case(case: Case, snapshot: Snapshot) -> Result:
    """Decide the review of `case` by `snapshot` and compare."""
    decision = decide(case.request, snapshot, case.facts)
    if isinstance(decision, Needs):
        return Result(case=case, diff=(f"! lacks the namespaces {sorted(decision.namespaces)}",))
    expected, got = _comparison(case, decision)
    if expected == got:
        return Result(case=case, diff=())
    lines = difflib.ndiff(_lines(expected), _lines(got))
    return Result(case=case, diff=tuple(line for line in lines if not line.startswith("?")))


def _lines(value: JsonObject) -> list[str]:
    text = yaml.safe_dump(value, sort_keys=True, allow_unicode=True, width=1000)
    return str(text).splitlines()


def _comparison(case: Case, decision: Decision) -> tuple[JsonObject, JsonObject]:
    """Return what was expected and what came, of the parts that the case speaks of."""
    expect = case.expect
    expected: JsonObject = {}
    got: JsonObject = {}
    if expect.outcome is not None:
        expected["outcome"] = expect.outcome.value
        got["outcome"] = _outcome(decision).value
    if expect.allowed is not None:
        expected["allowed"], got["allowed"] = expect.allowed, decision.allowed
    if expect.violations is not None:
        found = _violations(decision)
        expected["violations"] = list(expect.violations)
        got["violations"] = _as_asked(found, expect.violations)
    if expect.errors is not None:
        errors = [verdict.error for verdict in decision.of(Outcome.ERROR)]
        expected["errors"], got["errors"] = list(expect.errors), _shortened(errors, expect.errors)
    if expect.warnings is not None:
        expected["warnings"], got["warnings"] = list(expect.warnings), list(decision.warnings)
    if expect.patch is not None:
        expected["patch"], got["patch"] = _patches(case, expect.patch, decision)
    return expected, got


def _outcome(decision: Decision) -> Expected:
    """Return the worst outcome: an error, then a violation, then what passed."""
    found = {verdict.outcome for verdict in decision.verdicts}
    for outcome in (Outcome.ERROR, Outcome.VIOLATED, Outcome.PASSED, Outcome.SKIPPED):
        if outcome in found:
            return Expected(outcome.value)
    return Expected.UNMATCHED


def _violations(decision: Decision) -> list[JsonObject]:
    return [
        {
            "policy": verdict.bound.policy.name,
            "rule": violation.rule,
            "message": violation.message,
            "path": violation.field_path,
        }
        for verdict in decision.verdicts
        for violation in verdict.violations
    ]


def _as_asked(found: Sequence[JsonObject], asked: Sequence[JsonObject]) -> list[Json]:
    """Return the violations that came with the parts that were asked for; the rest whole."""
    return [
        {key: violation[key] for key in asked[number]} if number < len(asked) else violation
        for number, violation in enumerate(found)
    ]


def _shortened(errors: Sequence[str], asked: Sequence[str]) -> list[Json]:
    """Return each error as the part that was asked for, where it holds that part."""
    return [
        asked[number] if number < len(asked) and asked[number] in error else error
        for number, error in enumerate(errors)
    ]


def _patches(case: Case, patch: list[Json], decision: Decision) -> tuple[Json, Json]:
    """Compare patches by what they make of the object: many ways lead there."""
    got: Json = operations_to_json(decision.patch)
    if case.request.object is None:
        return patch, got
    tree = case.request.object.tree
    try:
        if apply_patch(tree, operations_from_json(patch)) == apply_patch(tree, decision.patch):
            return patch, patch
    except InputError as err:
        return f"{patch} does not apply: {err}", got
    return patch, got


def _cases(document: Node, faults: Faults) -> list[Case]:
    root = Fields(document, path="", faults=faults)
    for field, value in (("apiVersion", API_VERSION), ("kind", KIND)):
        if root.node(field, required=True) is not None:
            root.among(field, (value,), default=value)
    found = [_case(fields) for fields in root.children("cases", required=True, max_items=MAX_CASES)]
    root.close()
    return [case for case in found if case is not None]


def _case(fields: Fields) -> Case | None:
    known = len(fields.faults.found)
    name = fields.text("name", required=True, one_line=True)
    expect = _expectation(fields)
    now, before = _document(fields, "object"), _document(fields, "oldObject")
    subject = now or before
    if subject is None:
        fields.faults.add(fields.path, "there is nothing to judge", expected="object or oldObject")
    operation = fields.choice("operation", _operation(now, before))
    namespace = _namespace(fields, subject)
    existing = fields.choice("origin", Origin.ADMISSION)
    resource, sub_resource = _resource(fields, subject)
    user = _user(fields)
    dry_run = fields.flag("dryRun", default=False)
    fields.close()
    if subject is None or len(fields.faults.found) != known:
        return None
    is_namespace = resource == NAMESPACES
    request = Request(
        uid=RequestUid(""),
        origin=existing,
        phase=Phase.VALIDATE if expect.patch is None else Phase.MUTATE,
        operation=operation,
        kind=subject.kind,
        resource=resource,
        sub_resource=sub_resource,
        request_kind=subject.kind,
        request_resource=resource,
        request_sub_resource=sub_resource,
        namespace=subject.meta.name if is_namespace else namespace.meta.name if namespace else "",
        name=subject.meta.name,
        user=None if existing is Origin.EXISTING else user,
        object=now,
        old_object=before,
        dry_run=dry_run,
    )
    facts = Facts(namespaces={namespace.meta.name: namespace} if namespace else {})
    return Case(
        name=name,
        line=fields.faults.line_of(fields.path),
        request=request,
        facts=facts,
        expect=expect,
    )


def _operation(now: Document | None, before: Document | None) -> Operation:
    if before is None:
        return Operation.CREATE
    return Operation.DELETE if now is None else Operation.UPDATE


def _document(fields: Fields, name: str) -> Document | None:
    node = fields.node(name)
    if node is None:
        return None
    try:
        document = Document(msgspec.json.encode(node.value))
    except InputError as err:
        fields.faults.add(fields.at(name), str(err), expected="a Kubernetes object")
        return None
    if not document.kind.kind or not document.kind.version:
        fields.faults.add(
            fields.at(name), "it has no apiVersion or no kind", expected="a Kubernetes object"
        )
    return document


def _namespace(fields: Fields, subject: Document | None) -> Document | None:
    """Return the Namespace around the object; None in cluster scope."""
    given = fields.child("namespace")
    own = subject.meta.namespace if subject else ""
    name = own or _DEFAULT_NAMESPACE
    metadata: JsonObject = {}
    if given is not None:
        name = given.text("name", default=name)
        metadata["labels"] = dict(given.pairs("labels"))
        metadata["annotations"] = dict(given.pairs("annotations"))
        given.close()
    elif subject is not None and not own and subject.kind.kind in _CLUSTER_SCOPED:
        return None
    if own and name != own:
        fields.faults.add(
            fields.at("namespace.name"), f"it is {name}", expected=f"{own}, as the object says"
        )
    return Document.of(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, **metadata}}
    )


def _resource(fields: Fields, subject: Document | None) -> tuple[Gvr, str]:
    kind = subject.kind if subject else Gvk("", "v1", "")
    given = fields.child("resource")
    plural = _plural(kind.kind)
    if given is None:
        return Gvr(kind.group, kind.version, plural), ""
    group = given.text("group", default=kind.group)
    version = given.text("version", default=kind.version)
    resource = given.text("resource", default=plural)
    sub_resource = given.text("subResource")
    given.close()
    return Gvr(group, version, resource), sub_resource


def _plural(kind: str) -> str:
    """Return the resource of a kind by the rule of API conventions; `resource` says otherwise."""
    if kind in _IRREGULAR:
        return _IRREGULAR[kind]
    name = kind.lower()
    if name.endswith(("s", "x", "ch", "sh")):
        return f"{name}es"
    if name.endswith("y") and not name.endswith(("ay", "ey", "oy", "uy")):
        return f"{name[:-1]}ies"
    return f"{name}s"


def _user(fields: Fields) -> UserInfo:
    given = fields.child("user")
    if given is None:
        return UserInfo(username="alice", groups=("system:authenticated",))
    user = UserInfo(
        username=given.text("username", required=True),
        uid=given.text("uid"),
        groups=given.texts("groups"),
    )
    given.close()
    return user


def _expectation(fields: Fields) -> Expectation:
    expect = fields.child("expect", required=True)
    if expect is None:
        return Expectation()
    violations = None
    if expect.node("violations") is not None:
        violations = tuple(_violation(item) for item in expect.children("violations"))
    has_outcome = expect.node("outcome") is not None
    patch = expect.value("patch")
    if patch is not None and not isinstance(patch, list):
        expect.faults.add(expect.at("patch"), "it is no list", expected="a JSON Patch (RFC 6902)")
        patch = None
    found = Expectation(
        outcome=expect.choice("outcome", Expected.PASSED) if has_outcome else None,
        allowed=expect.flag("allowed", default=False) if expect.node("allowed") else None,
        violations=violations,
        errors=expect.texts("errors") if expect.node("errors") else None,
        warnings=expect.texts("warnings") if expect.node("warnings") else None,
        patch=patch,
    )
    expect.close()
    if found == Expectation():
        expect.faults.add(expect.path, "it says nothing", expected="outcome, allowed or violations")
    return found


def _violation(fields: Fields) -> JsonObject:
    found: JsonObject = {}
    for name in ("policy", "rule", "message", "path"):
        if fields.node(name) is not None:
            found[name] = fields.text(name)
    fields.close()
    return found
