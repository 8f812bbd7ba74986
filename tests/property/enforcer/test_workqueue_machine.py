"""The work queue against a model, on virtual time."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from enforcer.workqueue import Pending

_KEYS = st.sampled_from("abcdef")
_LIMIT = 4


class PendingMachine(RuleBasedStateMachine):
    """Keeps, for each key, what the rules of the queue promise."""

    def __init__(self) -> None:
        super().__init__()
        self.pending: Pending[str] = Pending(limit=_LIMIT)
        self.now = 0.0
        self.wanted: set[str] = set()  # added, and not taken since
        self.working: set[str] = set()
        self.due: dict[str, float] = {}
        self.order: list[str] = []
        self.closed = False

    def _known(self, key: str) -> bool:
        return key in self.wanted or key in self.working or key in self.due

    def _fits(self, key: str) -> bool:
        load = len(self.wanted) + len(self.working) + len(self.due)
        return self._known(key) or load < _LIMIT

    def _model_add(self, key: str) -> None:
        if key not in self.wanted:
            self.wanted.add(key)
            if key not in self.working:
                self.order.append(key)

    @rule(key=_KEYS)
    def add(self, key: str) -> None:
        """Add now; a full queue refuses only keys that it does not know."""
        fits = self._fits(key)

        assert self.pending.add(key, self.now) == (fits or self.closed)
        if fits and not self.closed:
            self._model_add(key)

    @rule(key=_KEYS, delay=st.integers(min_value=1, max_value=50))
    def add_later(self, key: str, delay: int) -> None:
        """Add later; the earliest of all delays counts."""
        fits = self._fits(key)

        assert self.pending.add_at(key, self.now + delay, now=self.now) == (fits or self.closed)
        if fits and not self.closed:
            self.due[key] = min(self.due.get(key, float("inf")), self.now + delay)

    @rule(seconds=st.integers(min_value=0, max_value=60))
    def pass_time(self, seconds: int) -> None:
        """What is due becomes ready, in the order of its time."""
        self.now += seconds
        upcoming = self.pending.promote(self.now)
        ripe = [(at, key) for key, at in self.due.items() if at <= self.now]
        before = len(self.order)
        for _, key in sorted(ripe):
            del self.due[key]
            self._model_add(key)
        fresh = self.order[before:]

        # Keys of one time may come in any order.
        taken = list(self.pending._ready)[before:]
        assert sorted(taken) == sorted(fresh)
        self.order[before:] = taken
        assert upcoming == min(self.due.values(), default=None)

    @rule()
    def take(self) -> None:
        """The first ready key is taken, and it is nobody else's."""
        taken = self.pending.take(self.now)
        if not self.order:
            assert taken is None
            return
        assert taken is not None
        key, waited = taken
        assert key == self.order.pop(0)
        assert key not in self.working
        assert waited >= 0
        self.wanted.discard(key)
        self.working.add(key)

    @precondition(lambda self: self.working)
    @rule(data=st.data())
    def done(self, data: st.DataObject) -> None:
        """A key that was added meanwhile becomes ready, once."""
        key = data.draw(st.sampled_from(sorted(self.working)))
        self.pending.done(key, self.now)
        self.working.discard(key)
        if key in self.wanted:
            self.order.append(key)

    @rule()
    def close(self) -> None:
        """Delayed keys are dropped; what is ready stays."""
        self.pending.close()
        self.closed = True
        self.due.clear()

    @invariant()
    def agrees(self) -> None:
        """Depth, load and idleness are those of the model."""
        assert list(self.pending._ready) == self.order
        assert self.pending.processing == len(self.working)
        assert self.pending.delayed == len(self.due)
        assert self.pending.idle == (not self.order and not self.working)
        assert not set(self.order) & self.working


PendingMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
TestPending = PendingMachine.TestCase
