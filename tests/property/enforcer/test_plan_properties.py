"""What holds of every plan."""

import copy
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from enforcer.plan import make_plan, minimise
from lictor.jsontypes import JsonObject
from lictor.model.difference import differences, revert
from lictor.model.document import Document
from lictor.model.patch import apply_patch, operations_to_json
from lictor.model.policy import ActionKind
from testkit.enforcing import Complies, bound, deployment, judged_by, subject_of, tools_of

_VALUES = st.one_of(st.integers(0, 3), st.sampled_from(["a", "b"]), st.booleans())
_KEYS = st.sampled_from(["a", "b", "c", "d/e"])
_ELEMENTS = st.lists(
    st.fixed_dictionaries({"name": st.sampled_from("uvwx")}, optional={"image": _VALUES}),
    max_size=4,
    unique_by=lambda one: one["name"],
)
_SPECS = st.fixed_dictionaries(
    {},
    optional={
        "replicas": st.integers(0, 5),
        "map": st.dictionaries(_KEYS, _VALUES, max_size=3),
        "containers": _ELEMENTS,
        "args": st.lists(_VALUES, max_size=3),
    },
)
_LABELS = st.dictionaries(_KEYS, st.sampled_from(["1", "2"]), max_size=3)


@st.composite
def _states(draw: st.DrawFn) -> tuple[JsonObject, JsonObject]:
    """Draw a baseline and what became of it."""
    baseline = deployment(spec=draw(_SPECS), labels=draw(_LABELS))
    live = deployment(spec=draw(_SPECS), labels=draw(_LABELS), resourceVersion="20")
    return baseline, live


def _value(tree: JsonObject, steps: tuple[str, ...]) -> Any:  # noqa: ANN401 (JSON)
    node: Any = tree
    for step in steps:
        node = node.get(step) if isinstance(node, dict) else None
    return node


def _names(tree: JsonObject) -> list[str]:
    return [one["name"] for one in _value(tree, ("spec", "containers")) or []]


def _rules_of(baseline: JsonObject) -> dict[str, Complies]:
    """Return policies that the baseline satisfies by its own values."""
    paths = {
        "replicas": ("spec", "replicas"),
        "args": ("spec", "args"),
        "map-a": ("spec", "map", "a"),
        "label-a": ("metadata", "labels", "a"),
    }
    rules: dict[str, Complies] = {
        name: lambda tree, steps=steps: _value(tree, steps) == _value(baseline, steps)
        for name, steps in paths.items()
    }
    known = set(_names(baseline))
    rules["no-strangers"] = lambda tree: set(_names(tree)) <= known
    return rules


@settings(max_examples=200, deadline=None)
@given(states=_states(), names=st.sets(st.sampled_from(sorted(_rules_of({})))))
def test_plan_applied_twice_changes_nothing(
    states: tuple[JsonObject, JsonObject], names: set[str]
) -> None:
    """After the plan nothing is left to repair: the next plan, and the patch again, are no-ops."""
    baseline, live = states
    rules = [(bound(name), _rules_of(baseline)[name]) for name in sorted(names)]
    subject = subject_of(live, rules=rules, baseline=baseline)
    untouched = copy.deepcopy(live)

    plan = make_plan(subject, tools_of(rules)).plan
    after = apply_patch(live, plan.patch)

    assert live == untouched
    assert judged_by(rules)(Document.of(after)) == frozenset()
    again = make_plan(subject_of(after, rules=rules, baseline=baseline), tools_of(rules)).plan
    assert again.patch == ()
    assert (plan.kind is ActionKind.REVERT) == bool(subject.repair)


@settings(max_examples=150, deadline=None)
@given(states=_states(), names=st.sets(st.sampled_from(sorted(_rules_of({}))), min_size=1))
def test_plan_is_the_same_for_equal_inputs(
    states: tuple[JsonObject, JsonObject], names: set[str]
) -> None:
    """Equal inputs, made anew and with their keys in another order, give a byte-identical plan."""
    baseline, live = states
    rules = [(bound(name), _rules_of(baseline)[name]) for name in sorted(names)]

    first = make_plan(subject_of(live, rules=rules, baseline=baseline), tools_of(rules)).plan
    second = make_plan(
        subject_of(_turned(live), rules=rules[::-1], baseline=_turned(baseline)),
        tools_of(rules[::-1]),
    ).plan

    assert operations_to_json(first.patch) == operations_to_json(second.patch)
    assert first.digest == second.digest
    assert first == second


@settings(max_examples=150, deadline=None)
@given(states=_states(), names=st.sets(st.sampled_from(sorted(_rules_of({}))), min_size=1))
def test_plan_changes_nothing_that_it_need_not(
    states: tuple[JsonObject, JsonObject], names: set[str]
) -> None:
    """No single piece of what a plan writes can be left out."""
    baseline, live = states
    rules = [(bound(name), _rules_of(baseline)[name]) for name in sorted(names)]
    judge = judged_by(rules)

    plan = make_plan(subject_of(live, rules=rules, baseline=baseline), tools_of(rules)).plan
    target = apply_patch(live, plan.patch)

    for piece in differences(live, target):
        assert judge(Document.of(revert(target, (piece,)))) != frozenset()


@settings(max_examples=200, deadline=None)
@given(
    size=st.integers(1, 60),
    needed=st.sets(st.integers(0, 59), min_size=1, max_size=5),
    width=st.integers(1, 10),
)
def test_minimise_finds_exactly_what_is_needed(size: int, needed: set[int], width: int) -> None:
    """Of what is monotone the minimum is unique, and found within the bound of its search."""
    needed = {one % size for one in needed}

    found = minimise(
        range(size),
        lambda items: needed <= set(items),
        group=lambda one: one // width,
        limit=10_000,
    )

    assert set(found.items) == needed
    assert not found.exhausted
    assert found.evaluations <= 4 * (len(needed) + 1) * (size.bit_length() + 1) + 2 * size


@settings(max_examples=200, deadline=None)
@given(
    size=st.integers(1, 60),
    needed=st.sets(st.integers(0, 59), min_size=1),
    limit=st.integers(0, 30),
)
def test_minimise_is_right_at_any_limit(size: int, needed: set[int], limit: int) -> None:
    """However early the search ends, what is left does what the whole does."""
    needed = {one % size for one in needed}

    found = minimise(
        range(size), lambda items: needed <= set(items), group=lambda one: one // 4, limit=limit
    )

    assert needed <= set(found.items)
    assert found.evaluations <= limit


def _turned(value: Any) -> Any:  # noqa: ANN401 (JSON)
    if isinstance(value, dict):
        return {key: _turned(value[key]) for key in reversed(value)}
    return [_turned(one) for one in value] if isinstance(value, list) else value
