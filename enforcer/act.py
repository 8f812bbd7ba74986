"""Carries out one plan: server dry run, judgement of its result, then the write.

The only stage that holds an ObjectWriter.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

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
from lictor.model.names import BoundPolicyId, ObjectRef
from lictor.model.plan import Plan, WriteResult
from lictor.model.policy import ActionKind
from lictor.ports.event_writer import EventWriter, Notice
from lictor.ports.object_writer import ObjectWriter

Judge: TypeAlias = Callable[[Document], frozenset[BoundPolicyId]]
"""Gives the bound policies that a state violates, or that fail to evaluate on it."""

Fence: TypeAlias = Callable[[], bool]
"""Says whether this process is the leader at this moment."""

_ACTION: Final = "Enforce"
"""`action` of our Events (events.k8s.io/v1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """How far a plan came.

    Attributes:
        http: status of the last call; 0 where no answer came.
        text: for people: what went wrong.
        written: the object as the API server answered.
        terminal: to try the same again cannot help.
        fenced: the leadership was lost before the write was sent.
        retry_after_seconds: what the API server asked to wait.
    """

    result: WriteResult
    http: int = 0
    text: str = ""
    written: Document | None = None
    terminal: bool = False
    fenced: bool = False
    retry_after_seconds: float | None = None


class Actor:
    """Writes to governed objects, and Events beside them."""

    def __init__(self, writer: ObjectWriter, events: EventWriter) -> None:
        self._writer = writer
        self._events = events

    async def carry_out(
        self, plan: Plan, *, before: frozenset[BoundPolicyId], judge: Judge, fence: Fence
    ) -> Execution:
        """Rehearse the plan and write it.

        `before` is what the live state fails. Every failure of the API is part of the answer; a
        write that got no answer has the result `unknown`, and a re-read decides.
        """
        refused = await self.rehearse(plan, before=before, judge=judge)
        if refused is not None:
            return refused
        # Between the last look at the Lease and the request nothing may wait.
        if not fence():
            text = "the leadership was lost before the write"
            return Execution(result=WriteResult.DENIED, text=text, fenced=True)
        try:
            written = await self._send(plan, dry_run=False)
        except ApiError as err:
            return _failed(err, sent=True)
        return Execution(result=WriteResult.APPLIED, http=200, written=written)

    async def rehearse(
        self, plan: Plan, *, before: frozenset[BoundPolicyId], judge: Judge
    ) -> Execution | None:
        """Let the API server do everything but persist; None where the result is as planned."""
        try:
            result = await self._send(plan, dry_run=True)
        except ApiError as err:
            return _failed(err, sent=False)
        if result is None:
            return None
        after = judge(result)
        unmended = sorted(after & frozenset(plan.policies))
        added = sorted(after - before)
        if not unmended and not added:
            return None
        fault = f"would not mend {unmended}" if unmended else f"would break {added}"
        return Execution(
            result=WriteResult.DENIED, http=200, text=f"the dry run {fault}", terminal=True
        )

    async def notify(self, about: ObjectRef, *, reason: str, note: str) -> WriteResult:
        """Create an Event; that it fails costs no evidence, since the ledger has the record."""
        notice = Notice(about=about, reason=reason, action=_ACTION, note=note, warning=True)
        try:
            await self._events.emit(notice)
        except ApiError as err:
            return _failed(err, sent=True).result
        return WriteResult.APPLIED

    async def _send(self, plan: Plan, *, dry_run: bool) -> Document | None:
        if plan.kind is ActionKind.DELETE:
            await self._writer.delete(
                plan.target, resource_version=plan.resource_version, dry_run=dry_run
            )
            return None
        return await self._writer.patch(
            plan.target,
            resource_version=plan.resource_version,
            operations=plan.patch,
            dry_run=dry_run,
        )


def _failed(err: ApiError, *, sent: bool) -> Execution:
    text = str(err)
    match err:
        case ConflictError():
            return Execution(result=WriteResult.CONFLICT, http=409, text=text)
        case ObjectNotFoundError():
            return Execution(result=WriteResult.GONE, http=404, text=text)
        case ThrottledError():
            wait = err.retry_after_seconds
            return Execution(
                result=WriteResult.ERROR, http=429, text=text, retry_after_seconds=wait
            )
        case InvalidError() | ForbiddenError():
            return Execution(result=WriteResult.DENIED, http=err.code, text=text, terminal=True)
        case UnavailableError() if sent:
            return Execution(result=WriteResult.UNKNOWN, http=err.code, text=text)
        case _:
            return Execution(result=WriteResult.ERROR, http=err.code, text=text)
