"""What the enforcer found, wants, held and did: records for the ledger."""

from enforcer.record.recovery import OpenIntent, Recovery, open_intents
from enforcer.record.scribe import Case, Ending, Scribe

__all__ = ["Case", "Ending", "OpenIntent", "Recovery", "Scribe", "open_intents"]
