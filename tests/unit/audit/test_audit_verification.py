"""Verification of whole logs, and what tampering with each part of one does."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from lictor.audit import (
    Checkpoint,
    Frontier,
    LogReport,
    StoredCheckpoint,
    StoredLeaf,
    encode,
    leaf_hash,
    sign_note,
    verify_log,
)
from lictor.ledger.keys import Ed25519Signer, verifier_key
from lictor.model.audit_record import AuditRecord, RecordType, RequestSection, SourceSection

SIGNER = Ed25519Signer("a.example/log", Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
THIEF = Ed25519Signer("a.example/log", Ed25519PrivateKey.from_private_bytes(bytes(32)))


def record(wseq: int, **fields: object) -> bytes:
    """Build a leaf."""
    return encode(
        AuditRecord(
            v="audit/1",
            type=fields.pop("type", RecordType.ADMISSION_DECISION),  # type: ignore[arg-type]  # given so
            ts=f"2026-01-01T00:00:{wseq:02}.000000Z",
            src=SourceSection(writer="w0", boot="b0", wseq=wseq),
            req=RequestSection(name=f"web-{wseq}"),
            **fields,  # type: ignore[arg-type]  # real fields
        )
    )


@dataclass
class Log:
    """A log as a store would hold it, signed after each `every` leaves."""

    data: list[bytes]
    every: int = 4
    signer: Ed25519Signer = SIGNER
    origin: str = "a.example/log"
    leaves: list[StoredLeaf] = field(default_factory=list)
    checkpoints: list[StoredCheckpoint] = field(default_factory=list)

    def __post_init__(self) -> None:
        frontier = Frontier()
        for index, data in enumerate(self.data):
            self.leaves.append(StoredLeaf(index, data, leaf_hash(data)))
            frontier.append(leaf_hash(data))
            if (index + 1) % self.every == 0 or index + 1 == len(self.data):
                self.checkpoints.append(self._sign(frontier))

    def _sign(self, frontier: Frontier) -> StoredCheckpoint:
        text = Checkpoint(self.origin, frontier.size, frontier.root()).text
        return StoredCheckpoint(frontier.size, sign_note(text, self.signer), frontier.pack())

    def verify(self) -> LogReport:
        """Verify it with the key of SIGNER."""
        return verify_log(self.leaves, self.checkpoints, keys=[verifier_key(SIGNER)])


def small_log() -> Log:
    """Build ten records under three checkpoints."""
    return Log([record(wseq) for wseq in range(10)])


def flips(data: bytes) -> list[bytes]:
    """Return `data` with each byte changed in turn, by one bit and by all."""
    changed = []
    for position in range(len(data)):
        for mask in (1 << (position % 8), 0xFF):
            copy = bytearray(data)
            copy[position] ^= mask
            changed.append(bytes(copy))
    return changed


def test_verify_log_accepts_what_was_signed() -> None:
    """An untouched log is intact, without a warning, and its head is told."""
    report = small_log().verify()

    assert report.is_intact
    assert report.warnings == ()
    assert report.records == {"admission.decision": 10}
    assert report.head is not None
    assert (report.head.size, report.head.origin) == (10, "a.example/log")


def test_verify_log_tells_its_progress() -> None:
    """A long verification says how far it is."""
    log = Log([record(wseq % 60) for wseq in range(5001)], every=1000)
    seen: list[int] = []

    verify_log(log.leaves, log.checkpoints, keys=[verifier_key(SIGNER)], progress=seen.append)

    assert seen == [5000]


def test_verify_log_detects_every_changed_byte_of_a_leaf() -> None:
    """Each changed byte is found, and the leaf is named."""
    log = small_log()
    leaf = log.leaves[6]
    for data in flips(leaf.data):
        log.leaves[6] = replace(leaf, data=data)
        report = log.verify()

        assert not report.is_intact
        assert 6 in {fault.index for fault in report.faults}


def test_verify_log_detects_every_changed_byte_of_a_hash() -> None:
    """Each changed byte of a stored hash is found, and the leaf is named."""
    log = small_log()
    leaf = log.leaves[6]
    for changed in flips(leaf.hash):
        log.leaves[6] = replace(leaf, hash=changed)
        report = log.verify()

        assert not report.is_intact
        assert {(fault.index, fault.field) for fault in report.faults} == {(6, "bytes or hash")}


@pytest.mark.parametrize("number", [0, 1, 2])
def test_verify_log_detects_every_changed_byte_of_a_checkpoint(number: int) -> None:
    """Each changed byte of a note or a frontier is found, also where it is not the last."""
    log = small_log()
    stored = log.checkpoints[number]
    variants = [replace(stored, note=note) for note in flips(stored.note)]
    variants += [replace(stored, frontier=packed) for packed in flips(stored.frontier)]
    for variant in variants:
        log.checkpoints[number] = variant
        report = log.verify()

        assert not report.is_intact
        assert any(f"checkpoint {stored.size}" in fault.field for fault in report.faults)


def test_verify_log_detects_a_leaf_that_was_replaced_with_its_hash() -> None:
    """Who changes leaf and hash together is found by the root, and the checkpoints say where."""
    log = small_log()
    data = record(6, risk="low")
    log.leaves[6] = StoredLeaf(6, data, leaf_hash(data))

    report = log.verify()

    assert [fault.text for fault in report.faults] == [
        "log, root: the leaves 4 to 7 are not those that were signed"
    ]


def renumbered(leaves: list[StoredLeaf]) -> list[StoredLeaf]:
    """Return the leaves with indexes that fit."""
    return [replace(leaf, index=index) for index, leaf in enumerate(leaves)]


STRUCTURAL: dict[str, Callable[[list[StoredLeaf]], list[StoredLeaf]]] = {
    "delete": lambda leaves: leaves[:3] + leaves[4:],
    "delete-first": lambda leaves: leaves[1:],
    "reorder": lambda leaves: [*leaves[:3], leaves[4], leaves[3], *leaves[5:]],
    "duplicate": lambda leaves: [*leaves[:4], leaves[3], *leaves[4:]],
    "insert": lambda leaves: [*leaves[:4], StoredLeaf(4, b"{}", leaf_hash(b"{}")), *leaves[4:]],
    "append": lambda leaves: [*leaves, StoredLeaf(10, record(10), leaf_hash(record(10)))],
    "truncate": lambda leaves: leaves[:-1],
    "empty": lambda _: [],
}


@pytest.mark.parametrize("number_again", [True, False])
@pytest.mark.parametrize("name", sorted(STRUCTURAL))
def test_verify_log_detects_structural_changes(name: str, *, number_again: bool) -> None:
    """Deleting, moving, doubling and adding leaves is found, also when the indexes fit again."""
    log = small_log()
    changed = STRUCTURAL[name](log.leaves)
    log.leaves = renumbered(changed) if number_again else changed

    assert not log.verify().is_intact


def test_verify_log_detects_an_index_that_was_changed() -> None:
    """A leaf that stands at another index than it was signed at is named."""
    log = small_log()
    log.leaves[9] = replace(log.leaves[9], index=11)

    assert [fault.text for fault in log.verify().faults] == ["leaf 11, index: expected leaf 9 next"]


@pytest.mark.parametrize("name", ["delete", "reorder", "duplicate"])
def test_verify_log_warns_of_numbers_when_the_key_was_stolen(name: str) -> None:
    """Who has the key can sign a changed log, but the numbering of the records shows it."""
    log = small_log()
    data = [leaf.data for leaf in STRUCTURAL[name](log.leaves)]

    report = Log(data).verify()

    assert report.is_intact
    assert report.warnings


def test_verify_log_does_not_detect_truncation_to_an_earlier_checkpoint() -> None:
    """A log cut back to a checkpoint verifies: only a head that is kept elsewhere shows it."""
    log = small_log()
    log.leaves, log.checkpoints = log.leaves[:8], log.checkpoints[:2]

    report = log.verify()

    assert report.is_intact
    assert report.head is not None
    assert report.head.size == 8


def test_verify_log_refuses_another_key() -> None:
    """A log that somebody else signed under the same name is not intact."""
    report = Log([record(0)], signer=THIEF).verify()

    assert not report.is_intact
    assert "no trusted key" in report.faults[0].what


def test_verify_log_refuses_another_origin() -> None:
    """A key signs for the origin of its own name only."""
    report = Log([record(0)], origin="b.example/other").verify()

    assert not report.is_intact
    assert "not signed by a key of that name" in report.faults[0].what


def test_verify_log_refuses_a_checkpoint_at_another_size() -> None:
    """A valid note that stands in the row of another size is found."""
    log = small_log()
    log.checkpoints[1] = replace(log.checkpoints[1], note=log.checkpoints[0].note)

    assert "it is about 4 leaves" in log.verify().faults[0].what


def test_verify_log_refuses_checkpoints_of_two_logs() -> None:
    """Checkpoints of several origins are not one log, also when all keys are trusted."""
    log = small_log()
    other = Ed25519Signer("b.example/log", Ed25519PrivateKey.from_private_bytes(bytes(32)))
    log.checkpoints[1] = Log(log.data, signer=other, origin=other.name).checkpoints[1]
    keys = [verifier_key(SIGNER), verifier_key(other)]

    report = verify_log(log.leaves, log.checkpoints, keys=keys)

    assert "not that of the other checkpoints" in report.faults[0].what


def test_verify_log_refuses_a_log_without_checkpoints() -> None:
    """Nothing signed is not intact; neither are leaves without a checkpoint."""
    nothing = verify_log([], [], keys=[verifier_key(SIGNER)])
    log = small_log()
    log.checkpoints = []

    assert not nothing.is_intact
    assert not log.verify().is_intact


def test_verify_log_refuses_a_signed_leaf_outside_the_schema() -> None:
    """A signature does not make a record of something else."""
    report = Log([record(0), b'{"type":"heartbeat","v":"audit/1","x":1}']).verify()

    assert [(fault.index, fault.field) for fault in report.faults] == [(1, "x")]


def test_verify_log_describes_a_bounded_number_of_faults() -> None:
    """Of many faults some are described, and all are counted."""
    log = small_log()
    log.leaves = [replace(leaf, hash=bytes(32)) for leaf in log.leaves] * 10

    report = log.verify()

    assert len(report.faults) == 20
    assert report.fault_count > 100


def test_verify_log_warns_of_holes_that_no_gap_accounts_for() -> None:
    """A missing number is told, unless an `audit.gap` record says that it was lost."""
    holed = Log([record(0), record(3)]).verify()
    detail = {"boot": "b0", "lost": 2}
    told = Log([record(0), record(3, type=RecordType.AUDIT_GAP, detail=detail)]).verify()

    assert holed.is_intact
    assert holed.warnings == ("boot b0: 2 records are missing without an audit.gap",)
    assert told.warnings == ()


def test_verify_log_warns_of_steps_back_in_time() -> None:
    """Order is by index; a clock that stepped back is told."""
    report = Log([record(5), record(6), record(4)]).verify()

    assert any("is before that of the leaf before" in warning for warning in report.warnings)
