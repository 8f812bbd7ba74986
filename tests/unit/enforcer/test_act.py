"""Acting and verifying: what each answer of the API server leads to."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from typing_extensions import override

from enforcer.act import Actor
from enforcer.verify import Verifier
from lictor.errors import (
    ApiError,
    ConflictError,
    ForbiddenError,
    InvalidError,
    ObjectNotFoundError,
    ThrottledError,
    UnavailableError,
)
from lictor.model.document import Document
from lictor.model.names import BoundPolicyId, ObjectKey, ObjectRef, ResourceVersion
from lictor.model.patch import PatchOp, PatchOperation, apply_patch
from lictor.model.plan import Plan, Risk, WriteResult
from lictor.model.policy import ActionKind
from lictor.ports.event_writer import EventWriter, Notice
from lictor.ports.object_writer import ObjectWriter
from lictor.ports.reader import Reader
from testkit.enforcing import DIGESTER, deployment, target_of

_BAD = BoundPolicyId("bad")
_BEFORE = deployment(labels={"app": "web", "x": "bad"})
_AFTER = deployment(labels={"app": "web"}, resourceVersion="11")
_PATCH = (PatchOperation(op=PatchOp.REMOVE, path="/metadata/labels/x"),)


def _plan(kind: ActionKind = ActionKind.REVERT) -> Plan:
    return Plan(
        kind=kind,
        target=target_of(_BEFORE),
        policies=(_BAD,),
        resource_version=ResourceVersion("10"),
        patch=_PATCH if kind is ActionKind.REVERT else (),
        risk=Risk.LOW,
        before=DIGESTER.attest(Document.of(_BEFORE)),
        after=DIGESTER.attest(Document.of(_AFTER)),
        digest=DIGESTER.raw(b"", sensitive=False),
    )


def _judge(document: Document) -> frozenset[BoundPolicyId]:
    return frozenset({_BAD}) if "x" in (document.meta.labels or {}) else frozenset()


@dataclass(slots=True, kw_only=True)
class _Writer(ObjectWriter):
    """Applies patches to one object; raises what it is told to, in a dry run or after it."""

    dry_error: ApiError | None = None
    error: ApiError | None = None
    stubborn: bool = False
    calls: list[tuple[str, bool]] = field(default_factory=list)

    @override
    async def patch(
        self,
        target: ObjectRef,
        *,
        resource_version: ResourceVersion,
        operations: Sequence[PatchOperation],
        dry_run: bool,
    ) -> Document:
        self._note("patch", dry_run=dry_run)
        assert resource_version == "10"
        tree = dict(_BEFORE) if self.stubborn else apply_patch(_BEFORE, operations)
        return Document.of(tree)

    @override
    async def delete(
        self, target: ObjectRef, *, resource_version: ResourceVersion, dry_run: bool
    ) -> None:
        self._note("delete", dry_run=dry_run)

    def _note(self, verb: str, *, dry_run: bool) -> None:
        self.calls.append((verb, dry_run))
        error = self.dry_error if dry_run else self.error
        if error is not None:
            raise error


@dataclass(slots=True)
class _Events(EventWriter):
    error: ApiError | None = None
    notices: list[Notice] = field(default_factory=list)

    @override
    async def emit(self, notice: Notice) -> None:
        if self.error is not None:
            raise self.error
        self.notices.append(notice)


@dataclass(slots=True)
class _Reader(Reader):
    answer: Document | ApiError | None

    @override
    async def get(self, key: ObjectKey) -> Document | None:
        if isinstance(self.answer, ApiError):
            raise self.answer
        return self.answer


_FAILURES = [
    pytest.param(ConflictError("x", code=409), WriteResult.CONFLICT, 409, False, id="conflict"),
    pytest.param(ObjectNotFoundError("x", code=404), WriteResult.GONE, 404, False, id="gone"),
    pytest.param(InvalidError("x", code=422), WriteResult.DENIED, 422, True, id="invalid"),
    pytest.param(ForbiddenError("x", code=403), WriteResult.DENIED, 403, True, id="forbidden"),
    pytest.param(ThrottledError("x"), WriteResult.ERROR, 429, False, id="throttled"),
    pytest.param(ApiError("x", code=418), WriteResult.ERROR, 418, False, id="other"),
]


async def test_act_rehearses_and_then_writes() -> None:
    """A server dry run comes before the write, and the write's answer is returned."""
    writer = _Writer()

    done = await Actor(writer, _Events()).carry_out(
        _plan(), before=frozenset({_BAD}), judge=_judge, fence=lambda: True
    )

    assert writer.calls == [("patch", True), ("patch", False)]
    assert (done.result, done.http) == (WriteResult.APPLIED, 200)
    assert done.written is not None


async def test_act_deletes_with_a_rehearsal_too() -> None:
    """A deletion is rehearsed as well."""
    writer = _Writer()

    done = await Actor(writer, _Events()).carry_out(
        _plan(ActionKind.DELETE), before=frozenset({_BAD}), judge=_judge, fence=lambda: True
    )

    assert writer.calls == [("delete", True), ("delete", False)]
    assert done.result is WriteResult.APPLIED


async def test_act_does_not_write_without_the_lease() -> None:
    """A leadership lost during the dry run stops the write."""
    writer = _Writer()

    done = await Actor(writer, _Events()).carry_out(
        _plan(), before=frozenset({_BAD}), judge=_judge, fence=lambda: False
    )

    assert writer.calls == [("patch", True)]
    assert (done.result, done.fenced) == (WriteResult.DENIED, True)


@pytest.mark.parametrize(("error", "result", "http", "terminal"), _FAILURES)
@pytest.mark.parametrize("dry", [True, False], ids=["dry run", "write"])
async def test_act_names_each_failure(
    error: ApiError, result: WriteResult, http: int, *, terminal: bool, dry: bool
) -> None:
    """Each answer of the API server has its result, and what is final is said to be."""
    writer = _Writer(dry_error=error) if dry else _Writer(error=error)

    done = await Actor(writer, _Events()).carry_out(
        _plan(), before=frozenset({_BAD}), judge=_judge, fence=lambda: True
    )

    assert (done.result, done.http, done.terminal) == (result, http, terminal)
    assert len(writer.calls) == (1 if dry else 2)


@pytest.mark.parametrize(
    ("writer", "result"),
    [
        pytest.param(_Writer(dry_error=UnavailableError("x")), WriteResult.ERROR, id="dry run"),
        pytest.param(_Writer(error=UnavailableError("x")), WriteResult.UNKNOWN, id="write"),
    ],
)
async def test_act_without_an_answer_is_unknown_only_after_a_write(
    writer: _Writer, result: WriteResult
) -> None:
    """Of a write without an answer nobody knows; a dry run without one changed nothing."""
    done = await Actor(writer, _Events()).carry_out(
        _plan(), before=frozenset({_BAD}), judge=_judge, fence=lambda: True
    )

    assert done.result is result


async def test_act_keeps_the_wait_that_the_server_asks_for() -> None:
    """Retry-After is handed on."""
    writer = _Writer(dry_error=ThrottledError("x", retry_after_seconds=7.0))

    done = await Actor(writer, _Events()).carry_out(
        _plan(), before=frozenset({_BAD}), judge=_judge, fence=lambda: True
    )

    assert done.retry_after_seconds == 7.0


async def test_act_does_not_write_what_would_not_mend() -> None:
    """A dry run whose result still violates stops the write for good."""
    writer = _Writer(stubborn=True)

    done = await Actor(writer, _Events()).carry_out(
        _plan(), before=frozenset({_BAD}), judge=_judge, fence=lambda: True
    )

    assert writer.calls == [("patch", True)]
    assert (done.result, done.terminal) == (WriteResult.DENIED, True)
    assert "would not mend" in done.text


async def test_act_does_not_write_what_would_break() -> None:
    """A dry run whose result violates another policy stops the write for good."""
    writer = _Writer()

    done = await Actor(writer, _Events()).carry_out(
        _plan(),
        before=frozenset({_BAD}),
        judge=lambda _: frozenset({BoundPolicyId("other")}),
        fence=lambda: True,
    )

    assert writer.calls == [("patch", True)]
    assert "would break ['other']" in done.text


async def test_act_notifies_or_says_that_it_could_not() -> None:
    """A notice that cannot be delivered is a result, not an error."""
    events, about = _Events(), target_of(_BEFORE)

    assert await Actor(_Writer(), events).notify(about, reason="R", note="n") is WriteResult.APPLIED
    (notice,) = events.notices
    assert (notice.about, notice.reason, notice.note, notice.warning) == (about, "R", "n", True)
    forbidden = Actor(_Writer(), _Events(error=ForbiddenError("x", code=403)))
    assert await forbidden.notify(about, reason="R", note="n") is WriteResult.DENIED


_OTHER = deployment(uid="another")


@pytest.mark.parametrize(
    ("result", "answer", "expected", "verified"),
    [
        pytest.param("applied", _AFTER, "applied", True, id="applied and there"),
        pytest.param("applied", _BEFORE, "applied", False, id="applied and undone"),
        pytest.param("applied", None, "applied", False, id="applied and deleted"),
        pytest.param("unknown", _AFTER, "applied", True, id="unknown and there"),
        pytest.param("unknown", _BEFORE, "unknown", False, id="unknown and not there"),
        pytest.param("unknown", None, "gone", False, id="unknown and deleted"),
        pytest.param("unknown", _OTHER, "gone", False, id="unknown and replaced"),
        pytest.param("unknown", UnavailableError("x"), "unknown", False, id="not readable"),
    ],
)
async def test_verify_believes_only_what_it_reads(
    result: str, answer: object, expected: str, *, verified: bool
) -> None:
    """The read after the write decides what became of it."""
    found = Document.of(answer) if isinstance(answer, dict) else answer
    reader = _Reader(found if isinstance(found, (Document, ApiError)) else None)

    seen = await Verifier(reader, attest=DIGESTER.attest).verify(
        _plan(), result=WriteResult(result), judge=_judge
    )

    assert (seen.result.value, seen.verified) == (expected, verified)
