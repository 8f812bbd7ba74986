"""Properties of `decide`: the order of policies changes nothing, and none silences another."""

from collections.abc import Sequence
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from lictor.model.policy import AdmissionAction
from lictor.model.request import Phase
from lictor.model.verdict import Decision, Outcome
from lictor.ports.policy_source import PolicyFile
from testkit.law import cel, decided, law, pod, policy, review

EXPRESSIONS = ("true", "false", "object.spec.a == 1", "object.spec.missing == 1", "1 / 0 == 1")
REQUEST = review(pod(spec={"a": 1}))
COMPLETING = replace(REQUEST, phase=Phase.MUTATE)


@st.composite
def policies(draw: st.DrawFn) -> list[PolicyFile]:
    """Draw up to six policies that pass, violate, skip or fail, each in its own way."""
    number = draw(st.integers(min_value=0, max_value=6))
    return [_draw_policy(draw, f"p{index}") for index in range(number)]


def _draw_policy(draw: st.DrawFn, name: str) -> PolicyFile:
    rules = draw(st.lists(st.sampled_from(EXPRESSIONS), min_size=1, max_size=2))
    conditions = draw(st.lists(st.sampled_from(EXPRESSIONS), max_size=1))
    key = draw(st.sampled_from(["x", "y"]))
    return policy(
        name,
        matchConditions=[{"name": "c", "expression": text} for text in conditions],
        validations=[rule for text in rules for rule in cel(text, message=f"{name} speaks")],
        mutations=[{"jsonPatch": [{"op": "add", "path": f"/spec/{key}", "value": name}]}],
        enforcement={
            "admission": draw(st.sampled_from(["deny", "warn", "audit"])),
            "onError": draw(st.sampled_from(["deny", "allow"])),
        },
    )


def _both(files: Sequence[PolicyFile]) -> tuple[Decision, Decision]:
    snapshot = law(*files)
    return decided(REQUEST, snapshot), decided(COMPLETING, snapshot)


@given(files=policies(), data=st.data())
@settings(max_examples=60, deadline=None)
def test_decide_does_not_depend_on_the_order_of_files(
    files: list[PolicyFile], data: st.DataObject
) -> None:
    """The same policies in any order give the same digest and equal decisions."""
    shuffled = data.draw(st.permutations(files))

    assert _both(shuffled) == _both(files)


@given(files=policies(), data=st.data())
@settings(max_examples=60, deadline=None)
def test_decide_judges_each_policy_as_if_it_were_alone(
    files: list[PolicyFile], data: st.DataObject
) -> None:
    """No policy, broken or not, changes the verdict of another."""
    if not files:
        return
    alone = data.draw(st.sampled_from(files))

    together = decided(REQUEST, law(*files)).verdicts
    single = decided(REQUEST, law(alone)).verdicts

    assert single[0] in together


@given(files=policies())
@settings(max_examples=60, deadline=None)
def test_decide_gives_one_verdict_for_each_policy(files: list[PolicyFile]) -> None:
    """Verdicts are counted against policies, and their ids are in order."""
    for decision in _both(files):
        assert [verdict.bound.id for verdict in decision.verdicts] == sorted(
            file.name.removesuffix(".yaml") for file in files
        )


@given(files=policies())
@settings(max_examples=60, deadline=None)
def test_decide_denies_exactly_when_a_verdict_does(files: list[PolicyFile]) -> None:
    """Allowed means that no denying policy has a violation, or an error that counts."""
    decision = decided(REQUEST, law(*files))

    denies = [
        verdict
        for verdict in decision.verdicts
        if verdict.bound.policy.enforcement.admission is AdmissionAction.DENY
        and (
            verdict.violations
            or (
                verdict.outcome is Outcome.ERROR
                and verdict.bound.policy.enforcement.on_error.value == "deny"
            )
        )
    ]

    assert decision.allowed is (not denies)
    assert bool(decision.message) is bool(denies)
    assert decision.message.count("\n") == max(len(denies) - 1, 0)
    assert (decision.code == 200) is decision.allowed


@given(files=policies())
@settings(max_examples=60, deadline=None)
def test_decide_answers_equal_inputs_alike(files: list[PolicyFile]) -> None:
    """Loading and deciding twice gives equal decisions."""
    assert _both(files) == _both(files)
