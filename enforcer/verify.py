"""Reads an object again after a write: only the next read says what became of it."""

from collections.abc import Callable
from dataclasses import dataclass

from lictor.errors import ApiError
from lictor.model.document import Document
from lictor.model.names import BoundPolicyId, Digest
from lictor.model.plan import Plan, WriteResult
from lictor.ports.reader import Reader


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What the read after the write showed.

    Attributes:
        document: the state that was read; None where the object is gone or nothing was read.
        verified: it is at or after the write, and none of the plan's policies is violated.
    """

    result: WriteResult
    document: Document | None = None
    verified: bool = False


class Verifier:
    """Re-reads from the API server, never from a cache.

    A read without a resourceVersion is answered from a quorum (Kubernetes API concepts), so it
    is never older than a write that was answered before.
    """

    def __init__(
        self,
        reader: Reader,
        *,
        attest: Callable[[Document], Digest],
    ) -> None:
        self._reader = reader
        self._attest = attest

    async def verify(
        self,
        plan: Plan,
        *,
        result: WriteResult,
        judge: Callable[[Document], frozenset[BoundPolicyId]],
    ) -> Verification:
        """Say what the object is now, and whether an unknown write took effect.

        Of a write without an answer: the planned state is there, so it took effect; the object is
        gone; or nothing is known, since it may still be on its way. A late one fails its
        precondition or is identical.
        """
        try:
            document = await self._reader.get(plan.target.key)
        except ApiError:
            return Verification(result=result)
        if document is None or document.uid != plan.target.uid:
            gone = plan.after == ""
            return Verification(result=result if gone else _gone(result))
        if result is WriteResult.UNKNOWN and self._attest(document) == plan.after:
            result = WriteResult.APPLIED
        repaired = not judge(document) & frozenset(plan.policies)
        return Verification(
            result=result,
            document=document,
            verified=repaired and result is WriteResult.APPLIED,
        )


def _gone(result: WriteResult) -> WriteResult:
    # What was answered stays: an object that was repaired and then deleted was repaired.
    return WriteResult.GONE if result is WriteResult.UNKNOWN else result
