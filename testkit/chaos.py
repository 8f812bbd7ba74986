"""Kills the gate, the enforcer and the API server, at random and inside chosen windows.

The windows are the moments in which a killed process could lose or repeat something: after the
intent and before the write, after the write and before its outcome, after the commit of a record
and before the answer that acknowledges it. Proxies hold the traffic there.
"""

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from enum import StrEnum
from http import HTTPStatus
from http.client import HTTPException
from typing import Final

import aiohttp

from testkit import workloads
from testkit.client import ApiClient
from testkit.process import Child
from testkit.proxy import Chunk, Exchange, HttpProxy, Point, TcpProxy
from testkit.traps import Trap
from testkit.world import World

STRATEGIC_MERGE: Final = "application/strategic-merge-patch+json"
READY_SECONDS: Final = 40.0
CAUGHT_SECONDS: Final = 20.0
_POLL_SECONDS: Final = 0.05
_PAUSE_SECONDS: Final = 0.05
# A TLS handshake of the API server sends below 2 KB; the review of a Deployment has more.
_HANDSHAKE_BYTES: Final = 2_500


class Blow(StrEnum):
    """What a round kills, and when."""

    GATE = "gate"
    ENFORCER = "enforcer"
    API_SERVER = "api-server"
    INTENT_TO_WRITE = "intent-to-write"
    WRITE_TO_OUTCOME = "write-to-outcome"
    COMMIT_TO_ANSWER = "commit-to-answer"


ROUNDS: Final = {
    Blow.GATE: 8,
    Blow.ENFORCER: 6,
    Blow.API_SERVER: 8,
    Blow.INTENT_TO_WRITE: 7,
    Blow.WRITE_TO_OUTCOME: 7,
    Blow.COMMIT_TO_ANSWER: 7,
}


class Traffic:
    """Somebody who writes all the time, good and bad in turn, object after object."""

    def __init__(self, client: ApiClient, *, namespace: str, seed: int) -> None:
        """Nothing is written yet."""
        self._client = client
        self._collection = workloads.collection(namespace)
        self._random = random.Random(seed)  # noqa: S311 - repeatable, not secret
        self._names: list[str] = []
        self.writes: Counter[str] = Counter()
        self.stopped = False

    async def create(self, count: int) -> None:
        """Create so many good objects.

        Raises:
            UnexpectedAnswerError: the API server refused one.
        """
        self._names = [f"app-{number:04}" for number in range(count)]
        for name in self._names:
            labels = {workloads.OWNER_LABEL: "team-shop"}
            body = workloads.deployment(name, labels=labels)
            await self._client.expect("POST", self._collection, body=body)
            self.writes["good"] += 1

    async def run(self) -> None:
        """Write until `stopped`; a refusal and a dead API server are part of the game."""
        for number, name in enumerate(self._endless_names()):
            if self.stopped:
                return
            kind = "bad" if number % 2 == 0 else "good"
            with suppress(aiohttp.ClientError, TimeoutError):
                await self._client.request(
                    "PATCH",
                    f"{self._collection}/{name}",
                    body=self._patch(number, kind=kind),
                    content_type=STRATEGIC_MERGE,
                    timeout_seconds=15.0,
                )
                self.writes[kind] += 1
            await asyncio.sleep(_PAUSE_SECONDS)

    def _patch(self, number: int, *, kind: str) -> object:
        if kind == "bad":
            return workloads.going_bad()
        return {"metadata": {"annotations": {"example.com/revision": str(number)}}}

    def _endless_names(self) -> Iterator[str]:
        """Yield every object before any comes again: nobody fights over a single one."""
        shuffled = self._random.sample(self._names, len(self._names))
        return itertools.cycle(shuffled)


class Chaos:
    """Delivers the blows, one after the other, and mends what they broke."""

    def __init__(
        self, world: World, *, api_proxy: HttpProxy, gate_proxy: TcpProxy, seed: int
    ) -> None:
        """Take a world whose enforcer and gate are reached through the two proxies."""
        self._world = world
        self._api_proxy = api_proxy
        self._gate_proxy = gate_proxy
        self._random = random.Random(seed)  # noqa: S311 - repeatable, not secret
        self.kills: Counter[str] = Counter()
        self.windows: Counter[Blow] = Counter()

    async def deliver(self) -> None:
        """Deliver every blow of `ROUNDS`, in a seeded order.

        Raises:
            TimeoutError: a process did not become ready again.
        """
        blows = [blow for blow, count in ROUNDS.items() for _ in range(count)]
        for blow in self._random.sample(blows, len(blows)):
            await self._deliver(blow)
            await self.mend()

    async def mend(self) -> None:
        """Start whatever is down and wait until it serves.

        Raises:
            TimeoutError: a process did not become ready again.
        """
        world = self._world
        world.plane.apiserver.start(wait=False)
        await _until(self._api_serves)
        world.gate.start(wait=False)
        world.enforcer.start(wait=False)
        await _until(world.gate_serves)
        await _until(world.enforcer_leads)

    def _api_serves(self) -> bool:
        with suppress(OSError, HTTPException):
            return self._world.plane.call("GET", "/readyz")[0] == HTTPStatus.OK
        return False

    async def _deliver(self, blow: Blow) -> None:
        world = self._world
        match blow:
            case Blow.GATE:
                await self._after_a_moment(world.gate, name="gate")
            case Blow.ENFORCER:
                await self._after_a_moment(world.enforcer, name="enforcer")
            case Blow.API_SERVER:
                await self._after_a_moment(world.plane.apiserver, name="api-server")
            case Blow.INTENT_TO_WRITE:
                await self._inside_a_write(blow, at=Point.REQUEST)
            case Blow.WRITE_TO_OUTCOME:
                await self._inside_a_write(blow, at=Point.RESPONSE)
            case Blow.COMMIT_TO_ANSWER:
                await self._before_an_answer()

    async def _after_a_moment(self, child: Child, *, name: str) -> None:
        await asyncio.sleep(self._random.uniform(0.0, 0.5))
        self._kill(child, name=name)
        await asyncio.sleep(self._random.uniform(0.0, 0.5))

    async def _inside_a_write(self, blow: Blow, *, at: Point) -> None:
        """Kill the enforcer while its write is on the way; the gate is down: bad ones come."""
        self._kill(self._world.gate, name="gate")

        def is_write(exchange: Exchange) -> bool:
            lasting = "dryRun=" not in exchange.path and "/deployments/" in exchange.path
            return exchange.point is at and exchange.method == "PATCH" and lasting

        trap = self._api_proxy.traps.hold(is_write)
        await self._spring(trap, blow, child=self._world.enforcer, name="enforcer")
        self._api_proxy.traps.abandon()

    async def _before_an_answer(self) -> None:
        def is_answer(chunk: Chunk) -> bool:
            return not chunk.to_server and chunk.sent > _HANDSHAKE_BYTES

        trap = self._gate_proxy.traps.hold(is_answer)
        await self._spring(trap, Blow.COMMIT_TO_ANSWER, child=self._world.gate, name="gate")
        self._gate_proxy.traps.abandon()

    async def _spring(
        self, trap: Trap[Exchange] | Trap[Chunk], blow: Blow, *, child: Child, name: str
    ) -> None:
        with suppress(TimeoutError):
            await trap.caught(CAUGHT_SECONDS)
            self._kill(child, name=name)
            self.windows[blow] += 1

    def _kill(self, child: Child, *, name: str) -> None:
        if child.running:
            child.kill()
            self.kills[name] += 1


async def _until(ready: Callable[[], bool]) -> None:
    """Poll in a thread, so that the proxies of this loop go on.

    Raises:
        TimeoutError: it never was ready.
    """
    async with asyncio.timeout(READY_SECONDS):
        while not await asyncio.to_thread(ready):  # noqa: ASYNC110 - nothing tells us
            await asyncio.sleep(_POLL_SECONDS)
