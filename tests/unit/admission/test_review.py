import asyncio
import gc
import json
from typing import Any

import pytest
from typing_extensions import override

from admission.emit import Emitter
from admission.parse import Fault, MalformedReviewError
from admission.review import Call, Gate, Reply
from lictor.audit import Digester, digest
from lictor.errors import UnavailableError
from lictor.model.audit_record import AuditRecord
from lictor.model.document import Document
from lictor.model.names import ObjectKey, RequestUid
from lictor.model.request import Phase
from lictor.policy import Snapshot, load
from lictor.ports.audit_sink import Receipt
from lictor.ports.policy_source import PolicyFile
from lictor.system import SystemClock
from testkit.simulators.audit_sink import MemoryAuditSink

UID = RequestUid("705ab4f5")
HEADER = "apiVersion: lictor.dev/v1alpha1\nkind: Policy\n"
RULE = '{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [configmaps]}'
NO_BAD = f"""{HEADER}metadata: {{name: no-bad}}
spec:
  title: Nothing is bad
  severity: high
  match: {{resourceRules: [{RULE}]}}
  validations:
    - cel: {{expression: "object.data.key != 'bad'", message: be better}}
"""
LABELLED = f"""{HEADER}metadata: {{name: labelled}}
spec:
  title: Everything is labelled
  severity: low
  match: {{resourceRules: [{RULE}]}}
  matchConditions: [{{name: has-none, expression: "!has(object.metadata.labels)"}}]
  mutations:
    - jsonPatch: [{{op: add, path: /metadata/labels, value: {{a: b}}}}]
"""
SELECTED = f"""{HEADER}metadata: {{name: selected}}
spec:
  title: Chosen namespaces are empty
  severity: low
  match:
    resourceRules: [{RULE}]
    namespaceSelector: {{matchLabels: {{empty: "yes"}}}}
  validations:
    - cel: {{expression: "false", message: go elsewhere}}
"""


class Namespaces:
    """A reader of one namespace, which may fail."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.failure = failure

    async def get(self, key: ObjectKey) -> Document | None:
        """Return the namespace, with its label."""
        if self.failure:
            raise self.failure
        return Document.of(
            {
                "apiVersion": "v1",
                "kind": "Namespace",
                "metadata": {"name": key.name, "labels": {"empty": "yes"}},
            }
        )


def law(*policies: str) -> Snapshot:
    """A snapshot of policies in YAML."""
    return load([PolicyFile(f"{n}.yaml", text.encode()) for n, text in enumerate(policies)])


def gate(
    snapshot: Snapshot | None = None,
    sink: MemoryAuditSink | None = None,
    reader: Namespaces | None = None,
) -> Gate:
    """A gate on simulators."""
    return Gate(
        snapshot=snapshot or law(NO_BAD, LABELLED),
        reader=reader or Namespaces(),
        sink=sink or MemoryAuditSink(),
        emitter=Emitter(Digester("e1", b"k" * 32), engine="1"),
        clock=SystemClock(),
        max_depth=100,
        record_seconds=0.25,
    )


def call(phase: Phase = Phase.VALIDATE, timeout_seconds: float = 5.0) -> Call:
    """A call that has just begun."""
    return Call(
        phase=phase,
        failure_class="open",
        started=SystemClock().monotonic(),
        timeout_seconds=timeout_seconds,
    )


def review(value: str = "good", **changes: Any) -> bytes:  # noqa: ANN401
    """The review of a ConfigMap."""
    request: dict[str, Any] = {
        "uid": UID,
        "kind": {"group": "", "version": "v1", "kind": "ConfigMap"},
        "resource": {"group": "", "version": "v1", "resource": "configmaps"},
        "name": "a",
        "namespace": "shop",
        "operation": "CREATE",
        "userInfo": {"username": "ann"},
        "object": {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "a"},
            "data": {"key": value},
        },
        **changes,
    }
    return json.dumps(
        {"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": request}
    ).encode()


def response(reply: Reply) -> dict[str, Any]:
    """The response in a reply of status 200."""
    assert reply.status == 200
    found: dict[str, Any] = json.loads(reply.body)["response"]
    assert found["uid"] == UID
    return found


def only(sink: MemoryAuditSink) -> AuditRecord:
    """The one record."""
    (record,) = sink.records
    return record


async def test_judge_denies_and_records() -> None:
    """A violation is denied; the answer names its record, the record digests the answer."""
    sink = MemoryAuditSink()

    found = response(await gate(sink=sink).judge(review("bad"), call()))

    assert found["allowed"] is False
    assert "be better" in found["status"]["message"]
    record = only(sink)
    assert record.dec is not None
    assert record.req is not None
    assert (record.dec.allowed, record.dec.cause) == (False, "policy")
    assert record.req.body == digest(review("bad"))
    assert found["auditAnnotations"].pop("rec") == "w0/00000000000000b0/0"
    assert found["auditAnnotations"].pop("leaf")
    unsealed = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": found}
    assert record.dec.resp == digest(json.dumps(unsealed, separators=(",", ":")).encode())


class _Looking(MemoryAuditSink):
    """Notes how many documents with a word in them are alive while a record is awaited."""

    def __init__(self, word: bytes) -> None:
        super().__init__()
        self.word = word
        self.alive: list[int] = []

    @override
    async def append(self, draft: AuditRecord) -> Receipt:
        """Look, and take the record."""
        documents = (each for each in gc.get_objects() if isinstance(each, Document))
        self.alive.append(sum(self.word in document.raw for document in documents))
        return await super().append(draft)


async def test_judge_holds_no_decoded_review_while_it_waits_for_the_record() -> None:
    """The budget of the bodies bounds the memory only where what is decoded from them is gone."""
    sink = _Looking(b"needle-in-the-hay")

    await gate(sink=sink).judge(review("needle-in-the-hay"), call())

    assert sink.alive == [0]


async def test_judge_admits_and_records() -> None:
    """Every decision of validation is recorded, not the denials alone."""
    sink = MemoryAuditSink()

    found = response(await gate(sink=sink).judge(review(), call()))

    assert found["allowed"] is True
    assert "status" not in found
    assert len(sink.records) == 1


async def test_judge_admits_what_no_policy_is_about() -> None:
    """Where no policy matches nothing forbids it; that is recorded, too."""
    sink = MemoryAuditSink()

    found = response(await gate(law(), sink=sink).judge(review("bad"), call()))

    assert found["allowed"] is True
    record = only(sink)
    assert record.pol is not None
    assert record.pol.evaluated == 0


async def test_judge_completes_and_records_only_what_it_changes() -> None:
    """A patch is recorded; the second call, which finds nothing to do, is not."""
    sink = MemoryAuditSink()
    whole = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "a", "labels": {"a": "b"}},
    }

    first = response(await gate(sink=sink).judge(review(), call(Phase.MUTATE)))
    second = response(await gate(sink=sink).judge(review(object=whole), call(Phase.MUTATE)))

    assert first["patchType"] == "JSONPatch"
    assert "rec" in first["auditAnnotations"]
    assert second["allowed"] is True
    assert "patch" not in second
    assert "rec" not in second["auditAnnotations"]
    assert len(sink.records) == 1


async def test_judge_denies_where_the_namespace_cannot_be_read() -> None:
    """A fact that is missing is an error of the policy that needs it, which denies by default."""
    sink = MemoryAuditSink()
    away = Namespaces(UnavailableError("away"))

    found = response(await gate(law(SELECTED, NO_BAD), sink, away).judge(review(), call()))

    assert found["allowed"] is False
    assert found["auditAnnotations"]["errors"] == "selected"
    record = only(sink)
    assert record.dec is not None
    assert record.dec.cause == "error"


async def test_judge_reads_the_namespace_within_the_time_that_is_left() -> None:
    """The answer comes before the API server gives up, however long the cluster takes."""

    class Slow(Namespaces):
        async def get(self, key: ObjectKey) -> Document | None:
            await asyncio.sleep(60)
            return await super().get(key)

    began = SystemClock().monotonic()

    found = response(
        await gate(law(SELECTED), None, Slow()).judge(review(), call(timeout_seconds=0.5))
    )

    assert found["allowed"] is False
    assert SystemClock().monotonic() - began < 2


async def test_judge_denies_what_it_cannot_read() -> None:
    """A malformed review is denied with its uid, and recorded."""
    sink = MemoryAuditSink()

    found = response(await gate(sink=sink).judge(review() + b"x", call()))

    assert found["allowed"] is False
    assert found["status"]["code"] == 400
    assert only(sink).detail == {"fault": "not-json"}


async def test_judge_has_no_answer_without_a_uid() -> None:
    """Nothing is allowed or recorded where there is no uid to answer with."""
    sink = MemoryAuditSink()

    reply = await gate(sink=sink).judge(b"{}", call())

    assert reply.status == 400
    assert b"allowed" not in reply.body
    assert sink.records == []


async def test_judge_denies_when_something_unforeseen_fails() -> None:
    """An error of our own is a denial that says so, not a dropped connection."""
    sink = MemoryAuditSink()
    broken = Namespaces(ZeroDivisionError("a bug"))

    found = response(await gate(law(SELECTED), sink, broken).judge(review(), call()))

    assert found["allowed"] is False
    assert found["status"]["code"] == 500
    assert "a bug" not in json.dumps(found)
    assert only(sink).detail == {"fault": "internal"}


@pytest.mark.parametrize("value", ["good", "bad"])
async def test_judge_leaves_it_to_the_failure_policy_what_cannot_be_recorded(value: str) -> None:
    """In `blocking-strict` no decision is given without its record."""
    reply = await gate(sink=MemoryAuditSink(failing=True)).judge(review(value), call())

    assert reply.status == 500
    assert b"allowed" not in reply.body


async def test_judge_answers_in_blocking_mode_though_the_record_is_lost() -> None:
    """In `blocking` the answer comes first; the gap is counted by the ledger."""
    sink = MemoryAuditSink(failing=True, strict=False)

    found = response(await gate(sink=sink).judge(review("bad"), call()))

    assert found["allowed"] is False
    assert sink.lost == 1


async def test_refuse_records_what_was_not_read() -> None:
    """A body that was refused unread is a decision as well."""
    sink = MemoryAuditSink()
    error = MalformedReviewError("the review is large", fault=Fault.TOO_LARGE, uid=UID)

    found = response(await gate(sink=sink).refuse(error, call(), bytes_read=4096))

    assert found["status"]["code"] == 413
    record = only(sink)
    assert record.req is not None
    assert (record.req.bytes, record.req.body) == (4096, "")
