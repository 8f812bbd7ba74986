"""Gathers the facts that a decision needs, within a deadline, through ports."""

import asyncio
from dataclasses import replace
from typing import Final

from lictor.decide import decide
from lictor.errors import ApiError, EvaluationError, InputError
from lictor.matching import NAMESPACES
from lictor.model.facts import Facts, Needs
from lictor.model.names import ObjectKey
from lictor.model.request import Request
from lictor.model.verdict import Decision
from lictor.policy import Snapshot
from lictor.ports.reader import Reader

MAX_ROUNDS: Final = 4
"""Of asking and gathering; namespaces take one."""


async def gather(
    request: Request, snapshot: Snapshot, reader: Reader, *, timeout_seconds: float
) -> Decision:
    """Decide `request` on facts that `reader` gives.

    What could not be gathered in time is an error verdict of each policy that needs it.

    Raises:
        EvaluationError: after all rounds something is still needed that no failure explains.
    """
    facts = Facts()
    deadline = asyncio.get_running_loop().time() + timeout_seconds
    for _ in range(MAX_ROUNDS):
        result = decide(request, snapshot, facts)
        if isinstance(result, Decision):
            return result
        facts = await _fetch(result, facts, reader, deadline=deadline)
    return _give_up(request, snapshot, facts)


def _give_up(request: Request, snapshot: Snapshot, facts: Facts) -> Decision:
    result = decide(request, snapshot, facts)
    if isinstance(result, Needs):
        failed = {f"namespace/{name}": "too many rounds" for name in result.namespaces}
        facts = replace(facts, failures={**facts.failures, **failed})
        result = decide(request, snapshot, facts)
    if isinstance(result, Needs):
        raise EvaluationError(f"{MAX_ROUNDS} rounds of gathering were not enough")
    return result


async def _fetch(needs: Needs, facts: Facts, reader: Reader, *, deadline: float) -> Facts:
    namespaces = dict(facts.namespaces)
    failures = dict(facts.failures)
    for name in sorted(needs.namespaces):
        key = ObjectKey(NAMESPACES, "", name)
        try:
            async with asyncio.timeout_at(deadline):
                namespaces[name] = await reader.get(key)
        except TimeoutError:
            failures[f"namespace/{name}"] = "no answer in time"
        except (ApiError, InputError) as err:
            failures[f"namespace/{name}"] = str(err)
    return replace(facts, namespaces=namespaces, failures=failures)
