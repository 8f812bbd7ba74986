"""Facts are gathered within a deadline; what is missing is an error of who needs it."""

import asyncio

import pytest

from lictor.errors import UnavailableError
from lictor.gather import gather
from lictor.model.document import Document
from lictor.model.names import ObjectKey
from lictor.model.verdict import Outcome
from testkit.law import NAMESPACE, cel, facts, law, pod, policy, review


class ScriptedReader:
    """Gives one namespace, or fails, and counts how often it was asked."""

    def __init__(self, found: Document | Exception | None, *, seconds: float = 0) -> None:
        self.asked: list[ObjectKey] = []
        self._found = found
        self._seconds = seconds

    async def get(self, key: ObjectKey) -> Document | None:
        """Answer after the scripted time."""
        self.asked.append(key)
        await asyncio.sleep(self._seconds)
        if isinstance(self._found, Exception):
            raise self._found
        return self._found


SELECTS = law(policy("p", validations=cel("namespaceObject.metadata.labels['tier'] == 'web'")))


async def test_gather_reads_the_namespace_once() -> None:
    """One need, one read, one decision."""
    reader = ScriptedReader(facts({"tier": "web"}).namespaces[NAMESPACE])

    decision = await gather(review(pod()), SELECTS, reader, timeout_seconds=1)

    assert decision.allowed
    assert [(key.resource.resource, key.namespace, key.name) for key in reader.asked] == [
        ("namespaces", "", NAMESPACE)
    ]


async def test_gather_reads_nothing_that_nobody_needs() -> None:
    """Without candidates the reader is not asked."""
    reader = ScriptedReader(RuntimeError("asked"))

    decision = await gather(review(pod()), law(), reader, timeout_seconds=1)

    assert decision.allowed
    assert reader.asked == []


@pytest.mark.parametrize(
    ("reader", "error"),
    [
        pytest.param(ScriptedReader(UnavailableError("it is down")), "it is down", id="failed"),
        pytest.param(ScriptedReader(None), "does not exist", id="not-there"),
        pytest.param(ScriptedReader(None, seconds=5), "no answer in time", id="too-late"),
    ],
)
async def test_gather_makes_a_missing_fact_an_error_verdict(
    reader: ScriptedReader, error: str
) -> None:
    """The policy that needs it errs, and denies by its onError; it is not asked for again."""
    decision = await gather(review(pod()), SELECTS, reader, timeout_seconds=0.05)

    assert not decision.allowed
    assert decision.verdicts[0].outcome is Outcome.ERROR
    assert error in decision.verdicts[0].error
    assert len(reader.asked) == 1


async def test_gather_does_not_swallow_cancellation() -> None:
    """Who cancels a review gets the cancellation, not a decision."""
    reader = ScriptedReader(None, seconds=5)
    task = asyncio.ensure_future(gather(review(pod()), SELECTS, reader, timeout_seconds=10))
    await asyncio.sleep(0)

    task.cancel()

    await asyncio.wait({task})
    assert task.cancelled()
