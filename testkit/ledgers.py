"""Builds ledgers for tests: keys, settings and trust file in one folder."""

from dataclasses import dataclass, replace
from pathlib import Path

from lictor.audit import LogReport, VerifierKey, verify_log
from lictor.config.settings import AuditMode, AuditSettings
from lictor.ledger.keys import add_trust, create_digest_key, create_signing_key
from lictor.ledger.reader import LedgerReader
from lictor.model.audit_record import AuditRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerHome:
    """One ledger's files."""

    settings: AuditSettings
    trust: Path
    key: VerifierKey

    @property
    def path(self) -> Path:
        """The database."""
        return Path(self.settings.path)

    def strict(self) -> "LedgerHome":
        """Return it in mode `blocking-strict`."""
        settings = replace(self.settings, mode=AuditMode.BLOCKING_STRICT)
        return replace(self, settings=settings)

    def records(self) -> list[AuditRecord]:
        """Return all records."""
        return [stored.record for stored in LedgerReader(self.path).records(())]

    def verify(self) -> LogReport:
        """Verify it with its own key."""
        reader = LedgerReader(self.path)
        snapshot = reader.snapshot()
        leaves = reader.leaves(end=snapshot.size)
        return verify_log(leaves, snapshot.checkpoints, keys=[self.key])


def new_ledger(folder: Path, *, origin: str = "a.example/test/w0/1") -> LedgerHome:
    """Make the keys of a ledger in `folder`."""
    key = create_signing_key(folder / "key.pem", origin=origin)
    create_digest_key(folder / "digest.key")
    add_trust(folder / "trust", key)
    settings = AuditSettings(
        path=str(folder / "ledger.db"),
        origin=origin,
        key=str(folder / "key.pem"),
        digest_key=str(folder / "digest.key"),
        # Tests share their disk with others: a slow fsync must not look like a failure.
        wait_budget_seconds=5.0,
    )
    return LedgerHome(settings=settings, trust=folder / "trust", key=key)
