import base64
import json
from typing import Any

import pytest

from admission.parse import Fault, MalformedReviewError
from admission.respond import limit_warnings, refuse, render, seal
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
    StatusReason,
)
from lictor.model.request import Operation, Origin, Phase, Request
from lictor.model.verdict import Decision, Outcome, Verdict, Violation
from lictor.ports.audit_sink import Receipt

UID = RequestUid("705ab4f5")
RECEIPT = Receipt(rec="w0/00ff/7", wseq=7, leaf="AAAA", durable=True)
DIGEST = Digest("sha256:00")


def request(kind: str = "Deployment") -> Request:
    """A CREATE."""
    gvk = Gvk("", "v1", kind)
    gvr = Gvr("", "v1", kind.lower() + "s")
    return Request(
        uid=UID,
        origin=Origin.ADMISSION,
        phase=Phase.VALIDATE,
        operation=Operation.CREATE,
        kind=gvk,
        resource=gvr,
        request_kind=gvk,
        request_resource=gvr,
    )


def verdict(name: str = "no-privileged", message: str = "privileged", **values: Any) -> Verdict:  # noqa: ANN401
    """A violation of one policy."""
    policy = Policy(
        name=PolicyName(name),
        title=name,
        severity=Severity.HIGH,
        match=Match(resource_rules=()),
        enforcement=Enforcement(admission=values.pop("action", AdmissionAction.DENY)),
        source=Source(name="test"),
        digest=DIGEST,
    )
    found = {
        "outcome": Outcome.VIOLATED,
        "violations": (Violation(rule="validations[0]", message=message),),
        **values,
    }
    return Verdict(bound=BoundPolicy(id=BoundPolicyId(name), policy=policy), **found)


def decision(**values: Any) -> Decision:  # noqa: ANN401
    """A decision; a denial where nothing else is said."""
    return Decision(policy_set=DIGEST, facts=DIGEST, **values)


def answer(of: Decision, kind: str = "Deployment") -> dict[str, Any]:
    """The response, as the API server reads it."""
    review = json.loads(render(request(kind), of).encode())
    assert (review["apiVersion"], review["kind"]) == ("admission.k8s.io/v1", "AdmissionReview")
    response: dict[str, Any] = review["response"]
    return response


def test_render_denies_where_nothing_is_said() -> None:
    """Deny is the zero value of a decision, and of an answer."""
    response = answer(decision())

    assert response["allowed"] is False
    assert response["uid"] == UID
    assert response["status"]["code"] == 403


def test_render_names_code_reason_and_message_of_a_denial() -> None:
    """A denial says what, and with which status."""
    response = answer(
        decision(code=422, reason=StatusReason.INVALID, message="no-privileged: spec.x: mend it")
    )

    assert response["status"] == {
        "status": "Failure",
        "message": "no-privileged: spec.x: mend it",
        "reason": "Invalid",
        "code": 422,
    }


def test_render_sends_a_patch_with_what_is_admitted() -> None:
    """The patch is base64 of a JSON Patch, with its type beside it."""
    patch = (PatchOperation(op=PatchOp.ADD, path="/metadata/labels", value={"a": "b"}),)

    response = answer(decision(allowed=True, code=200, patch=patch))

    assert response["patchType"] == "JSONPatch"
    assert json.loads(base64.b64decode(response["patch"])) == [
        {"op": "add", "path": "/metadata/labels", "value": {"a": "b"}}
    ]
    assert "status" not in response


def test_render_sends_no_patch_with_a_denial() -> None:
    """What is denied is not changed."""
    patch = (PatchOperation(op=PatchOp.REMOVE, path="/metadata/labels"),)

    response = answer(decision(patch=patch))

    assert "patch" not in response
    assert "patchType" not in response


def test_render_annotates_owner_violations_and_errors() -> None:
    """The API server's audit log shows what was found, also where it only was counted."""
    found = decision(
        allowed=True,
        verdicts=(
            verdict(action=AdmissionAction.AUDIT, message="two\nlines"),
            verdict("broken", outcome=Outcome.ERROR, violations=(), error="no such key"),
        ),
        owner=Owner(name="team-7", found_by=FoundBy.LABEL, known=True),
    )

    annotations = answer(found)["auditAnnotations"]

    assert annotations["owner"] == "team-7"
    assert annotations["errors"] == "broken"
    assert json.loads(annotations["violations"]) == [
        {
            "policy": "no-privileged",
            "rule": "validations[0]",
            "action": "audit",
            "message": "two lines",
        }
    ]


def test_render_annotates_no_message_about_a_secret() -> None:
    """A message may quote what it is about, and the API server's audit log is no place for it."""
    annotations = answer(decision(verdicts=(verdict(message="hunter2"),)), "Secret")[
        "auditAnnotations"
    ]

    assert "hunter2" not in json.dumps(annotations)
    assert "no-privileged" in annotations["violations"]


def test_render_bounds_what_it_says() -> None:
    """Neither a message nor the annotations grow with what is denied."""
    many = tuple(verdict(f"p-{number}", "y" * 9999) for number in range(200))

    owner = Owner(name="o\n" * 100_000, found_by=FoundBy.LABEL)

    response = answer(decision(message="x" * 1_000_000, verdicts=many, owner=owner))

    assert len(response["status"]["message"]) == 16 * 1024
    assert len(json.loads(response["auditAnnotations"]["violations"])) == 50
    assert len(response["auditAnnotations"]["owner"]) == 256
    assert len(json.dumps(response)) < 64 * 1024


def test_seal_adds_the_receipt_and_nothing_else() -> None:
    """Without `rec` and `leaf` a sealed answer is, byte for byte, what its record digests."""
    rendered = render(request(), decision(message="no", warnings=("careful",)))

    sealed = json.loads(seal(rendered, RECEIPT))

    annotations = sealed["response"]["auditAnnotations"]
    assert (annotations.pop("rec"), annotations.pop("leaf")) == ("w0/00ff/7", "AAAA")
    assert json.dumps(sealed, separators=(",", ":")).encode() == rendered.encode()


def test_refuse_denies_with_the_status_of_the_fault() -> None:
    """A review that cannot be judged is denied, and the client is told why."""
    error = MalformedReviewError("the review has 7 bytes", fault=Fault.TOO_LARGE, uid=UID)

    response = json.loads(refuse(error, UID).encode())["response"]

    assert (response["uid"], response["allowed"]) == (UID, False)
    assert response["status"]["code"] == 413
    assert "the review has 7 bytes" in response["status"]["message"]


@pytest.mark.parametrize(
    ("warnings", "expected"),
    [
        pytest.param(["a", "a", "", "b"], ("a", "b"), id="each once"),
        pytest.param(["a\nb\tc\x7f"], ("a b c",), id="no control characters"),
        pytest.param(["x" * 4000], ("x" * 4000,), id="long but alone"),
        pytest.param(
            ["x" * 4000, "y" * 97], ("x" * 255 + "…", "y" * 97), id="over the total: each cut"
        ),
    ],
)
def test_limit_warnings_keeps_within_what_the_api_server_passes_on(
    warnings: list[str], expected: tuple[str, ...]
) -> None:
    """Beyond 4096 characters in total the API server cuts each to 256 and drops the rest."""
    assert limit_warnings(warnings) == expected


def test_limit_warnings_says_how_many_are_missing() -> None:
    """What does not fit is counted, not dropped in silence."""
    found = limit_warnings([f"{number}" + "x" * 300 for number in range(100)])

    assert len(found) == 16
    assert found[-1] == "85 more warnings of lictor are not shown"
    assert sum(map(len, found)) <= 4096
