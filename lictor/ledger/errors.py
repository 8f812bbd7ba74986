"""Why a ledger cannot be used."""

from lictor.errors import LictorError


class LedgerError(LictorError):
    """The ledger cannot be opened, so no record can be made; a program exits with code 4."""


class LedgerLockedError(LedgerError):
    """Another process writes this ledger."""


class LedgerDamagedError(LedgerError):
    """What the ledger holds is not what was signed; the key was not used."""
