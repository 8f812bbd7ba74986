"""Builders of policies, reviews and facts for tests of the law."""

from collections.abc import Mapping
from typing import Final

import msgspec

from lictor.decide import decide
from lictor.jsontypes import Json, JsonObject
from lictor.model.document import Document
from lictor.model.facts import Facts
from lictor.model.names import Gvk, Gvr, RequestUid
from lictor.model.request import Operation, Origin, Phase, Request, UserInfo
from lictor.model.verdict import Decision
from lictor.policy import Overrides, Snapshot, load
from lictor.ports.policy_source import PolicyFile

PODS: Final[JsonObject] = {
    "apiGroups": [""],
    "apiVersions": ["v1"],
    "operations": ["CREATE", "UPDATE", "DELETE"],
    "resources": ["pods"],
}
NAMESPACE: Final = "shop"
POD: Final = Gvk("", "v1", "Pod")


def policy(name: str, **spec: Json) -> PolicyFile:
    """Return a policy about Pods; `spec` adds to its spec, or replaces what is there."""
    document = {
        "apiVersion": "lictor.dev/v1alpha1",
        "kind": "Policy",
        "metadata": {"name": name},
        "spec": {
            "title": f"Rule of {name}",
            "severity": "high",
            "match": {"resourceRules": [PODS]},
            **spec,
        },
    }
    return PolicyFile(f"{name}.yaml", msgspec.json.encode(document))


def cel(expression: str, **fields: Json) -> list[Json]:
    """Return `validations` with one CEL rule."""
    return [{"cel": {"expression": expression, **fields}}]


def law(*files: PolicyFile, overrides: Overrides | None = None) -> Snapshot:
    """Return the snapshot of these policies."""
    return load(files, overrides)


def pod(name: str = "web", **fields: Json) -> JsonObject:
    """Return a Pod; `fields` stand beside its metadata."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": NAMESPACE},
        **fields,
    }


def review(tree: JsonObject | Document | None, **changes: object) -> Request:
    """Return the review of a write of `tree` by alice; `changes` replace fields of it."""
    document = Document.of(tree) if isinstance(tree, dict) else tree
    resource = changes.get("resource", Gvr("", "v1", "pods"))
    fields: dict[str, object] = {
        "uid": RequestUid("review-1"),
        "origin": Origin.ADMISSION,
        "phase": Phase.VALIDATE,
        "operation": Operation.CREATE,
        "kind": POD,
        "resource": resource,
        "request_kind": POD,
        "request_resource": resource,
        "namespace": NAMESPACE,
        "name": document.meta.name if document else "web",
        "user": UserInfo(username="alice", groups=("system:authenticated",)),
        "object": document,
    }
    return Request(**{**fields, **changes})  # type: ignore[arg-type]  # a table of fields


def facts(labels: Mapping[str, str] | None = None, name: str = NAMESPACE) -> Facts:
    """Return facts that hold one namespace with these labels."""
    namespace: JsonObject = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": name, "labels": dict(labels or {})},
    }
    return Facts(namespaces={name: Document.of(namespace)})


def decided(request: Request, snapshot: Snapshot, known: Facts | None = None) -> Decision:
    """Return the decision on `request`, with a namespace without labels unless told otherwise.

    Raises:
        TypeError: facts are missing.
    """
    decision = decide(request, snapshot, facts() if known is None else known)
    if not isinstance(decision, Decision):
        raise TypeError(f"not decided: {decision}")
    return decision
