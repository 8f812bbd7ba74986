from typing import Any

import msgspec
import pytest

from admission.emit import (
    Emitter,
    Exchange,
    count,
    count_refusal,
    needs_record,
    owner_label,
)
from admission.parse import Fault, MalformedReviewError
from lictor.audit import Digester, digest
from lictor.jsontypes import JsonObject
from lictor.model.audit_record import RecordType
from lictor.model.document import Document
from lictor.model.names import BoundPolicyId, Digest, Gvk, Gvr, PolicyName, RequestUid
from lictor.model.owner import FoundBy, Owner
from lictor.model.patch import PatchOp, PatchOperation
from lictor.model.policy import (
    AdmissionAction,
    BoundPolicy,
    Enforcement,
    Match,
    Policy,
    Severity,
    Source,
)
from lictor.model.request import Operation, Origin, Phase, Request, UserInfo
from lictor.model.verdict import Cause, Decision, Outcome, Verdict, Violation
from lictor.telemetry import metrics

UID = RequestUid("705ab4f5")
DIGEST = Digest("sha256:00")
DIGESTER = Digester("e1", b"k" * 32)
EMITTER = Emitter(DIGESTER, engine="1.2.3")
EXCHANGE = Exchange(body=b"{body}", bytes_read=6, answer=b"{answer}", microseconds=1843)
OLD: JsonObject = {
    "apiVersion": "v1",
    "kind": "Secret",
    "metadata": {"name": "web", "uid": "o-1", "resourceVersion": "881"},
    "data": {"password": "aHVudGVyMg=="},
}
NEW: JsonObject = {**OLD, "data": {"password": "aHVudGVyMw=="}, "status": {"a": 1}}


def request(kind: str = "Deployment", **values: Any) -> Request:  # noqa: ANN401
    """An UPDATE by ann."""
    gvk = Gvk("", "v1", kind)
    gvr = Gvr("", "v1", kind.lower() + "s")
    fields = {
        "phase": Phase.VALIDATE,
        "operation": Operation.UPDATE,
        "object": Document.of({**NEW, "kind": kind}),
        "old_object": Document.of({**OLD, "kind": kind}),
        "user": UserInfo(username="ann", groups=("ops",), extra={"k": ("v",)}),
        **values,
    }
    return Request(
        uid=UID,
        origin=Origin.ADMISSION,
        kind=gvk,
        resource=gvr,
        request_kind=gvk,
        request_resource=gvr,
        namespace="shop",
        name="web",
        **fields,
    )


def verdict(**values: Any) -> Verdict:  # noqa: ANN401
    """A violation of one policy."""
    policy = Policy(
        name=PolicyName("no-privileged"),
        title="t",
        severity=Severity.HIGH,
        match=Match(resource_rules=()),
        enforcement=Enforcement(admission=values.pop("action", AdmissionAction.DENY)),
        source=Source(name="test"),
        digest=DIGEST,
    )
    bound = BoundPolicy(id=BoundPolicyId("no-privileged"), policy=policy, binding="prod")
    violation = Violation(rule="validations[0]", message="hunter2", field_path="/spec")
    return Verdict(
        bound=bound,
        **{"outcome": Outcome.VIOLATED, "violations": (violation,), **values},
    )


def decision(**values: Any) -> Decision:  # noqa: ANN401
    """A decision; a denial where nothing else is said."""
    fields = {"verdicts": (verdict(),), "cause": Cause.POLICY, **values}
    return Decision(policy_set=DIGEST, facts=Digest("sha256:11"), **fields)


def sample(name: str, **labels: str) -> float:
    """The value of one metric."""
    return metrics.REGISTRY.get_sample_value(name, labels) or 0.0


def test_decided_records_request_law_and_decision() -> None:
    """A record says who asked what, by which law, and what was answered."""
    owner = Owner(name="team-7", found_by=FoundBy.NAMESPACE, known=True)

    record = EMITTER.decided(request(), decision(owner=owner), exchange=EXCHANGE)

    assert record.type is RecordType.ADMISSION_DECISION
    assert record.req is not None
    assert (record.req.uid, record.req.op, record.req.dry_run) == (UID, "UPDATE", False)
    assert (record.req.ns, record.req.name, record.req.obj_uid) == ("shop", "web", "o-1")
    assert (record.req.rv, record.req.bytes) == ("881", 6)
    assert record.req.gvk == ("", "v1", "Deployment")
    assert record.req.gvr == ("", "v1", "deployments")
    assert record.req.body == digest(b"{body}")
    assert record.req.user is not None
    assert (record.req.user.name, record.req.user.groups) == ("ann", ("ops",))
    assert record.req.user.extra == digest(b'{"k":["v"]}')
    assert record.pol is not None
    assert (record.pol.set, record.pol.inputs) == ("sha256:00", "sha256:11")
    assert (record.pol.engine, record.pol.evaluated) == ("1.2.3", 1)
    assert record.dec is not None
    assert (record.dec.allowed, record.dec.code, record.dec.us) == (False, 403, 1843)
    assert (record.dec.mode, record.dec.cause) == ("enforce", "policy")
    assert record.dec.resp == digest(b"{answer}")
    assert record.owner is not None
    assert (record.owner.name, record.owner.by) == ("team-7", "namespace")
    (violation,) = record.viol
    assert (violation.p, violation.b, violation.r) == ("no-privileged", "prod", "validations[0]")
    assert (violation.sev, violation.path, violation.msg) == ("high", "/spec", "hunter2")


def test_decided_attests_the_object_as_it_will_be_persisted() -> None:
    """`attest` is the digest by which the enforcer recognises an admitted state."""
    asked = request()
    assert asked.object is not None

    record = EMITTER.decided(asked, decision(), exchange=EXCHANGE)

    assert record.req is not None
    assert record.req.obj == DIGESTER.object(asked.object)
    assert record.req.attest == DIGESTER.attest(asked.object)
    assert record.req.attest != record.req.obj


def test_decided_attests_nothing_of_a_dry_run() -> None:
    """A dry run is recorded as one, and leaves no trace in the attestations."""
    record = EMITTER.decided(request(dry_run=True), decision(), exchange=EXCHANGE)

    assert record.req is not None
    assert record.req.dry_run is True
    assert record.req.attest == ""
    assert record.req.obj != ""


def test_decided_keys_every_digest_about_a_secret() -> None:
    """Digests of a Secret cannot be guessed, its messages not be read."""
    record = EMITTER.decided(
        request(
            "Secret",
            # What an object calls itself does not count: what it was sent as does.
            old_object=Document.of({**OLD, "kind": ""}),
            options=Document.of({"kind": "UpdateOptions", "fieldManager": "ann"}),
        ),
        decision(patch=(PatchOperation(op=PatchOp.REMOVE, path="/x"),)),
        exchange=Exchange(
            body=b"{body}", bytes_read=6, answer=b"{answer}", patch=b"[patch]", microseconds=1
        ),
    )

    assert record.req is not None
    assert record.dec is not None
    digests = [record.req.body, record.req.obj, record.req.old, record.req.attest]
    digests += [record.req.options, record.dec.resp, record.dec.patch, record.viol[0].msg]
    assert [text.split(":")[0] for text in digests] == ["hmac-sha256"] * 8
    text = msgspec.json.encode(record).decode()
    assert "hunter2" not in text
    assert "aHVudGVyMg" not in text


def test_decided_records_a_policy_that_failed_beside_what_it_found() -> None:
    """An error verdict names its policy; what that policy found before it failed counts, too."""
    failed = verdict(outcome=Outcome.ERROR, error="no such key: spec")

    record = EMITTER.decided(request(), decision(verdicts=(failed,)), exchange=EXCHANGE)

    assert [(one.r, one.msg) for one in record.viol] == [
        ("validations[0]", "hunter2"),
        ("error", "no such key: spec"),
    ]


@pytest.mark.parametrize(
    ("actions", "allowed", "mode"),
    [
        ((), True, "enforce"),
        ((AdmissionAction.AUDIT,), True, "audit"),
        ((AdmissionAction.AUDIT, AdmissionAction.WARN), True, "warn"),
        ((AdmissionAction.AUDIT,), False, "enforce"),
    ],
)
def test_decided_says_how_strict_it_was(
    actions: tuple[AdmissionAction, ...], *, allowed: bool, mode: str
) -> None:
    """The mode is the strictest action that a violated policy asked for."""
    verdicts = tuple(verdict(action=action) for action in actions)

    record = EMITTER.decided(
        request(), decision(allowed=allowed, verdicts=verdicts), exchange=EXCHANGE
    )

    assert record.dec is not None
    assert record.dec.mode == mode


def test_refused_records_the_fault_with_keyed_digests() -> None:
    """What could not be read may have been a Secret."""
    error = MalformedReviewError("too large", fault=Fault.TOO_LARGE, uid=UID)

    record = EMITTER.refused(UID, error, exchange=EXCHANGE)

    assert record.req is not None
    assert record.dec is not None
    assert (record.req.uid, record.req.bytes) == (UID, 6)
    assert record.req.body.startswith("hmac-sha256:e1:")
    assert (record.dec.allowed, record.dec.code, record.dec.cause) == (False, 413, "error")
    assert record.detail == {"fault": "too-large"}


@pytest.mark.parametrize(
    ("phase", "values", "needed"),
    [
        (Phase.VALIDATE, {"allowed": True}, True),
        (Phase.VALIDATE, {"allowed": False}, True),
        (Phase.MUTATE, {"allowed": True}, False),
        (Phase.MUTATE, {"allowed": False}, True),
        (
            Phase.MUTATE,
            {"allowed": True, "patch": (PatchOperation(op=PatchOp.REMOVE, path="/x"),)},
            True,
        ),
    ],
)
def test_needs_record_leaves_out_only_mutations_that_change_nothing(
    phase: Phase, values: dict[str, Any], *, needed: bool
) -> None:
    """Each decision has a record, but for an empty patch: validation comes after it."""
    assert needs_record(request(phase=phase), decision(**values)) is needed


def test_count_counts_violations_by_policy_severity_owner_and_action() -> None:
    """A violation is routed to its owner, by labels that are bounded."""
    owner = Owner(name="team-7", found_by=FoundBy.LABEL, known=True)
    labels = {
        "policy": "no-privileged",
        "severity": "high",
        "owner": "team-7",
        "action": "warn",
        "origin": "admission",
    }
    before = sample("lictor_violations_total", **labels)
    decisions = sample(
        "lictor_gate_decisions_total", phase="validate", decision="allow", operation="UPDATE"
    )
    found = decision(allowed=True, owner=owner, verdicts=(verdict(action=AdmissionAction.WARN),))

    count(request(), found, seconds=0.001)
    count(request(phase=Phase.MUTATE), found, seconds=0.001)

    assert sample("lictor_violations_total", **labels) == before + 1
    assert (
        sample(
            "lictor_gate_decisions_total", phase="validate", decision="allow", operation="UPDATE"
        )
        == decisions + 1
    )


def test_count_counts_errors_by_policy() -> None:
    """A policy that fails is seen before somebody asks."""
    labels = {"policy": "no-privileged", "origin": "admission"}
    before = sample("lictor_policy_errors_total", **labels)
    failed = verdict(outcome=Outcome.ERROR, violations=(), error="x")

    count(request(), decision(verdicts=(failed,)), seconds=0.001)

    assert sample("lictor_policy_errors_total", **labels) == before + 1


def test_count_refusal_counts_the_fault_whether_answered_or_not() -> None:
    """A review without uid gets no answer, but it counts."""
    before = sample("lictor_gate_malformed_reviews_total", fault="not-json")
    refused = sample(
        "lictor_gate_decisions_total", phase="mutate", decision="refuse", operation="unknown"
    )

    for uid in (UID, None):
        error = MalformedReviewError("x", fault=Fault.NOT_JSON, uid=uid)
        count_refusal(error, phase=Phase.MUTATE, seconds=0.001)

    assert sample("lictor_gate_malformed_reviews_total", fault="not-json") == before + 2
    assert (
        sample(
            "lictor_gate_decisions_total", phase="mutate", decision="refuse", operation="unknown"
        )
        == refused + 1
    )


def test_owner_label_shows_only_owners_of_the_registry() -> None:
    """Anybody can write a label, so only known owners become metric labels."""
    assert owner_label(Owner(name="team-7", found_by=FoundBy.LABEL, known=True)) == "team-7"
    assert owner_label(Owner(name="x9", found_by=FoundBy.LABEL, known=False)) == "unknown"
    assert owner_label(Owner()) == "unknown"
