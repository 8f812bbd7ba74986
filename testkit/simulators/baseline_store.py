"""A BaselineStore in memory."""

from dataclasses import dataclass, field

from typing_extensions import override

from lictor.errors import StoreError
from lictor.model.names import Uid
from lictor.ports.baseline_store import Baseline, BaselineStore


@dataclass(slots=True, kw_only=True)
class MemoryBaselineStore(BaselineStore):
    """Keeps baselines in a dict; raises StoreError while `failing`."""

    failing: bool = False
    baselines: dict[Uid, Baseline] = field(default_factory=dict)

    @override
    def get(self, uid: Uid) -> Baseline | None:
        """Return the baseline of `uid`."""
        self._check()
        return self.baselines.get(uid)

    @override
    def put(self, baseline: Baseline) -> None:
        """Keep `baseline`."""
        self._check()
        self.baselines[baseline.uid] = baseline

    @override
    def forget(self, uid: Uid) -> None:
        """Drop the baseline of `uid`, if there is one."""
        self._check()
        self.baselines.pop(uid, None)

    def _check(self) -> None:
        if self.failing:
            raise StoreError("the simulated store failed")
