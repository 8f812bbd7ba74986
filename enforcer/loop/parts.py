"""What a reconciler is made of."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from enforcer.act import Actor
from enforcer.evaluate import Evaluator
from enforcer.gates import Switches
from enforcer.loop.budgets import Budgets
from enforcer.loop.episodes import Episodes
from enforcer.loop.heat import Heats
from enforcer.loop.surroundings import Surroundings
from enforcer.record import Scribe
from enforcer.verify import Verifier
from enforcer.watch import Watch
from lictor.audit import Digester
from lictor.model.names import Gvk, Gvr
from lictor.model.policy import Existing
from lictor.ports.clock import Clock
from lictor.ports.object_cache import UnjudgedStates
from lictor.ports.reader import Reader


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What survives a restart."""

    episodes: Episodes
    heats: Heats
    budgets: Budgets

    def load(self) -> None:
        """Read what an earlier life has kept.

        Raises:
            StoreError: the store could not be read.
        """
        self.episodes.load()
        self.heats.load()
        self.budgets.load()


@dataclass(frozen=True, slots=True, kw_only=True)
class Stages:
    """The stages of the loop, and the ports that it uses itself.

    Attributes:
        live: reads from the API server, never from a cache.
        unjudged: by resource, where the informer keeps states that were overtaken.
        kinds: the kind of each governed resource.
        fence: whether this process is the leader at this moment.
        new_id: gives an id that no other call gives.
    """

    watch: Watch
    evaluator: Evaluator
    actor: Actor
    verifier: Verifier
    scribe: Scribe
    surroundings: Surroundings
    memory: Memory
    live: Reader
    unjudged: Mapping[Gvr, UnjudgedStates]
    kinds: Mapping[Gvr, Gvk]
    digester: Digester
    clock: Clock
    fence: Callable[[], bool]
    new_id: Callable[[], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The settings of the loop.

    Attributes:
        mode: the most that any policy may do.
        policy_objects, policy_share: a policy's writes within its window: the larger of both.
        cluster_writes: writes of all policies within a minute.
    """

    mode: Existing
    switches: Switches
    policy_objects: int = 5
    policy_share: float = 0.01
    cluster_writes: int = 60
