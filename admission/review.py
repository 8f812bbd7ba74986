"""One review, from its bytes to the bytes of the answer: parse, decide, render, record, seal.

The deciding runs on the event loop. A pool of threads costs a fifth more CPU a review, and gives no
more reviews a second (`benchmarks/gate.py`, `executor` against `gate`): the CEL engine and the JSON
decoder hold the GIL from beginning to end. What must not wait for a slow neighbour is given
processes of its own.
"""

from dataclasses import dataclass

from admission.emit import Emitter, Exchange, count, count_refusal, needs_record
from admission.parse import Fault, MalformedReviewError, parse
from admission.respond import Answer, refuse, render, seal
from lictor.errors import AuditUnavailableError
from lictor.gather import gather
from lictor.model.audit_record import AuditRecord
from lictor.model.names import RequestUid
from lictor.model.request import Phase, Request
from lictor.model.verdict import Decision, Outcome
from lictor.policy import Snapshot
from lictor.ports.audit_sink import AuditSink
from lictor.ports.clock import Clock
from lictor.ports.reader import Reader
from lictor.telemetry.logs import logger

_LOG = logger(__name__)

_LEAST_SECONDS = 0.05
"""Even a review that arrived late is decided by what is at hand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call of a webhook.

    Attributes:
        started: monotonic time of its first byte.
        timeout_seconds: how long the API server waits for the answer, less our margin.
    """

    phase: Phase
    failure_class: str
    started: float
    timeout_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What goes back over HTTP; anything but 200 leaves it to the failure policy."""

    status: int = 200
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """Answers reviews by one snapshot of the law.

    Attributes:
        reader: gives the namespaces.
        max_depth: of an object.
        record_seconds: what the sink may take of the time that a call has.
    """

    snapshot: Snapshot
    reader: Reader
    sink: AuditSink
    emitter: Emitter
    clock: Clock
    max_depth: int
    record_seconds: float

    async def judge(self, body: bytes, call: Call) -> Reply:
        """Answer a review that was read to its end."""
        try:
            request = parse(
                body,
                phase=call.phase,
                failure_class=call.failure_class,
                max_depth=self.max_depth,
            )
        except MalformedReviewError as error:
            return await self.refuse(error, call, body=body, bytes_read=len(body))
        uid, operation = request.uid, request.operation
        try:
            decision = await self._decide(request, call)
            answer, draft = self._answer(request, decision, body=body, call=call)
            # Decoded, a review may take twenty times its bytes, which alone the budget counts: none
            # waits for its record.
            del request, decision
            if draft is None:
                return Reply(body=answer.encode())
            return await self._record(answer, draft, uid=uid)
        except Exception:  # noqa: BLE001 (the root of a request: log, and deny)
            _LOG.exception("review.failed", uid=uid, op=operation.value)
        internal = MalformedReviewError(
            "an internal error, which the log of the gate tells", fault=Fault.INTERNAL, uid=uid
        )
        return await self.refuse(internal, call, body=body, bytes_read=len(body))

    async def refuse(
        self,
        error: MalformedReviewError,
        call: Call,
        *,
        body: bytes | None = None,
        bytes_read: int,
    ) -> Reply:
        """Deny a review that cannot be judged; without its uid there is nothing to answer with."""
        seconds = self._elapsed(call)
        count_refusal(error, phase=call.phase, seconds=seconds)
        _LOG.warning(
            "review.refused",
            uid=error.uid,
            reason=error.fault.value,
            error=str(error),
            bytes=bytes_read,
        )
        if error.uid is None:
            return Reply(status=400, body=f"{error}\n".encode())
        answer = refuse(error, error.uid)
        exchange = Exchange(
            body=body,
            bytes_read=bytes_read,
            answer=answer.encode(),
            microseconds=_microseconds(seconds),
        )
        draft = self.emitter.refused(error.uid, error, exchange=exchange)
        return await self._record(answer, draft, uid=error.uid)

    async def _decide(self, request: Request, call: Call) -> Decision:
        left = call.timeout_seconds - self.record_seconds - self._elapsed(call)
        return await gather(
            request,
            self.snapshot,
            self.reader,
            timeout_seconds=max(_LEAST_SECONDS, left),
        )

    def _answer(
        self, request: Request, decision: Decision, *, body: bytes, call: Call
    ) -> tuple[Answer, AuditRecord | None]:
        """Return the answer and the draft of its record; None where none is kept."""
        answer = render(request, decision)
        plain = answer.encode()
        seconds = self._elapsed(call)
        count(request, decision, seconds=seconds)
        _log_decision(request, decision)
        if not needs_record(request, decision):
            return answer, None
        exchange = Exchange(
            body=body,
            bytes_read=len(body),
            answer=plain,
            patch=answer.patch,
            microseconds=_microseconds(seconds),
        )
        return answer, self.emitter.decided(request, decision, exchange=exchange)

    async def _record(self, answer: Answer, draft: AuditRecord, *, uid: RequestUid) -> Reply:
        try:
            receipt = await self.sink.append(draft)
        except AuditUnavailableError as err:
            _LOG.error("review.unrecorded", uid=uid, error=str(err))
            return Reply(status=500, body=b"the decision could not be recorded\n")
        return Reply(body=seal(answer, receipt))

    def _elapsed(self, call: Call) -> float:
        return self.clock.monotonic() - call.started


def _microseconds(seconds: float) -> int:
    return round(seconds * 1_000_000)


def _log_decision(request: Request, decision: Decision) -> None:
    if decision.allowed and not decision.of(Outcome.ERROR):
        return
    _LOG.info(
        "review.decided",
        uid=request.uid,
        decision="allow" if decision.allowed else "deny",
        policy=[
            verdict.bound.id
            for verdict in decision.verdicts
            if verdict.outcome in {Outcome.VIOLATED, Outcome.ERROR}
        ],
        gvk=f"{request.kind.api_version} {request.kind.kind}",
        namespace=request.namespace,
        name=request.name,
        op=request.operation.value,
        owner=decision.owner.name,
    )
