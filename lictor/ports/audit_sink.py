"""Takes records and says when they are durable."""

from dataclasses import dataclass
from typing import Protocol

from lictor.model.audit_record import AuditRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """Where a record stands.

    Attributes:
        rec: `<writer>/<boot>/<wseq>`.
        wseq: the last part of it.
        leaf: base64 of the RFC 6962 leaf hash.
        durable: committed under a signed checkpoint; False only in mode `blocking`, when the store
            failed or was too slow, and the gap was counted.
    """

    rec: str
    wseq: int
    leaf: str
    durable: bool


class AuditSink(Protocol):
    """One sequencer: gives each record its number, time and place in the tree."""

    async def append(self, draft: AuditRecord) -> Receipt:
        """Add `draft` and wait, within the budget of the mode, until it is durable.

        Raises:
            AuditUnavailableError: it is not durable, and the mode does not allow that.
        """
        ...
