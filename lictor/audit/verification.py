"""Verifies a whole log against keys from outside it: every leaf, every checkpoint, every root.

What it cannot find: that a log was cut back to an earlier checkpoint that was valid. Only a head
that is kept elsewhere shows that.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from lictor.audit.checkpoint import Checkpoint, parse_checkpoint
from lictor.audit.leaf_check import LeafError, LeafFacts, check_leaf
from lictor.audit.note import NoteError, VerifierKey, open_note
from lictor.audit.sequence_check import SequenceCheck
from lictor.audit.tree import EMPTY_ROOT, Frontier, leaf_hash

MAX_FAULTS: Final = 20
"""How many faults are described; further ones are counted."""

_PROGRESS_EVERY: Final = 5_000


@dataclass(frozen=True, slots=True)
class StoredLeaf:
    """A leaf as a store holds it: its index, its bytes, and the hash that is said to be theirs."""

    index: int
    data: bytes
    hash: bytes


@dataclass(frozen=True, slots=True)
class StoredCheckpoint:
    """A checkpoint as a store holds it; `frontier` is `Frontier.pack` at that size."""

    size: int
    note: bytes
    frontier: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that is not as it was signed.

    Attributes:
        index: of the leaf; None where the fault is about a checkpoint or the log as a whole.
        field: what of it, such as `bytes`, `hash`, `note` or a field of the record.
    """

    index: int | None
    field: str
    what: str

    @property
    def text(self) -> str:
        """The fault for a person."""
        place = "log" if self.index is None else f"leaf {self.index}"
        return f"{place}, {self.field}: {self.what}"


@dataclass(frozen=True, slots=True, kw_only=True)
class LogReport:
    """What a verification found.

    Attributes:
        head: the last checkpoint, once its signature was found good; None where it was not.
        records: how many leaves of each type were read.
        faults: the first `MAX_FAULTS`; the log is as it was signed if there is none.
        fault_count: of all.
        warnings: what a reader should know but the signature does not speak of, such as holes.
    """

    head: Checkpoint | None
    records: dict[str, int]
    faults: tuple[Fault, ...]
    fault_count: int
    warnings: tuple[str, ...]

    @property
    def is_intact(self) -> bool:
        """Whether the log is what the trusted key signed."""
        return self.head is not None and self.fault_count == 0


def verify_log(
    leaves: Iterable[StoredLeaf],
    checkpoints: Sequence[StoredCheckpoint],
    *,
    keys: Sequence[VerifierKey],
    progress: Callable[[int], None] | None = None,
) -> LogReport:
    """Verify a log, given as the leaves and checkpoints that a store holds, each in order.

    `progress` is called with the number of leaves done, now and then.
    """
    run = _Run(keys=keys, checkpoints=checkpoints)
    run.open_notes()
    for count, leaf in enumerate(leaves, start=1):
        run.take_leaf(leaf)
        if progress is not None and count % _PROGRESS_EVERY == 0:
            progress(count)
    return run.report()


@dataclass(slots=True, kw_only=True)
class _Run:
    keys: Sequence[VerifierKey]
    checkpoints: Sequence[StoredCheckpoint]
    frontier: Frontier = field(default_factory=Frontier)
    signed: dict[int, tuple[Checkpoint, StoredCheckpoint]] = field(default_factory=dict)
    head: Checkpoint | None = None
    last_good: int = 0
    broken_root: bool = False
    counts: Counter[str] = field(default_factory=Counter)
    sequence: SequenceCheck = field(default_factory=SequenceCheck)
    faults: list[Fault] = field(default_factory=list)
    fault_count: int = 0

    def open_notes(self) -> None:
        if not self.checkpoints:
            self._fault("checkpoint", "there is none, so nothing is signed")
        for stored in self.checkpoints:
            self._open_note(stored)
        if self.checkpoints and self.checkpoints[-1].size in self.signed:
            self.head = self.signed[self.checkpoints[-1].size][0]

    def _open_note(self, stored: StoredCheckpoint) -> None:
        where = f"note of checkpoint {stored.size}"
        try:
            text, signers = open_note(stored.note, self.keys)
            checkpoint = parse_checkpoint(text)
        except NoteError as err:
            self._fault(where, str(err))
            return
        if all(key.name != checkpoint.origin for key in signers):
            self._fault(where, f"origin {checkpoint.origin!r} is not signed by a key of that name")
        elif checkpoint.size != stored.size:
            self._fault(where, f"it is about {checkpoint.size} leaves")
        elif any(checkpoint.origin != other.origin for other, _ in self.signed.values()):
            self._fault(where, f"origin {checkpoint.origin!r} is not that of the other checkpoints")
        else:
            self.signed[stored.size] = (checkpoint, stored)

    def take_leaf(self, leaf: StoredLeaf) -> None:
        expected = self.frontier.size
        if leaf.index != expected:
            self._fault("index", f"expected leaf {expected} next", index=leaf.index)
        computed = leaf_hash(leaf.data)
        try:
            facts = check_leaf(leaf.data)
        except LeafError as fault:
            facts = LeafFacts()
            self._fault(fault.field, str(fault), index=leaf.index)
        if computed != leaf.hash:
            what = f"they hash to {computed.hex()[:16]}.., stored is {leaf.hash.hex()[:16]}.."
            self._fault("bytes or hash", f"{what}{facts.label}", index=leaf.index)
        self.counts[facts.type or "unreadable"] += 1
        self.sequence.take(leaf.index, facts)
        self.frontier.append(computed)
        self._check_root()

    def _check_root(self) -> None:
        signed = self.signed.get(self.frontier.size)
        if signed is None:
            return
        checkpoint, stored = signed
        if checkpoint.root == self.frontier.root():
            self.last_good = checkpoint.size
            if stored.frontier != self.frontier.pack():
                self._fault(f"frontier of checkpoint {stored.size}", "it is not that of the leaves")
        elif not self.broken_root:
            # All later roots differ as well: the first says where to look.
            self.broken_root = True
            span = f"{self.last_good} to {checkpoint.size - 1}"
            self._fault("root", f"the leaves {span} are not those that were signed")

    def report(self) -> LogReport:
        size = self.frontier.size
        last = self.checkpoints[-1].size if self.checkpoints else 0
        if self.head is not None and last == 0 and self.head.root != EMPTY_ROOT:
            self._fault("root", "the root of an empty log is wrong")
        if self.checkpoints and size < last:
            self._fault("leaves", f"there are {size}; {last} were signed")
        if self.checkpoints and size > last:
            self._fault("leaves", f"there are {size}; only {last} were signed")
        return LogReport(
            head=self.head,
            records=dict(sorted(self.counts.items())),
            faults=tuple(self.faults),
            fault_count=self.fault_count,
            warnings=self.sequence.warnings(),
        )

    def _fault(self, name: str, what: str, *, index: int | None = None) -> None:
        self.fault_count += 1
        if len(self.faults) < MAX_FAULTS:
            self.faults.append(Fault(index=index, field=name, what=what))
