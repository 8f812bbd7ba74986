"""Properties of the CEL engine: what goes in comes out, and no text or document can crash it."""

from hypothesis import assume, example, given
from hypothesis import strategies as st

from lictor.engines.cel import CelEnvironment, CelResult
from lictor.engines.cel_lexer import TokenKind, tokenize
from lictor.engines.cel_rewrite import Scope, rewrite
from lictor.errors import CompileError, EvaluationError
from lictor.jsontypes import Json, JsonObject
from lictor.model.patch import is_same
from lictor.model.policy import NamedExpression

_ENVIRONMENT = CelEnvironment(["params_1"])
_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
_NUMBERS = st.one_of(
    st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False, allow_infinity=False)
)
_VALUES: st.SearchStrategy[Json] = st.recursive(
    st.one_of(st.booleans(), _NUMBERS, _TEXT),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXT, inner, max_size=4),
    max_leaves=12,
)
_HOSTILE: st.SearchStrategy[Json] = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=4)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)
_WORDS = "object variables params in JSONPatch JSONPatch{ has x op all lists.range .split 1 1.5"
_MARKS = """. .? ( ) [ ] { } : , ? ' " \"\"\" r' b' \\ // == && ` é 'a'"""
_PIECES = st.sampled_from([*_WORDS.split(), *_MARKS.split(), " ", "\n", "\0"])
_SNIPPETS = st.sampled_from(
    [
        "object.a",
        "object.?a.orValue(1)",
        "[1, 2].map(x, x + object.b)",
        "'variables.v'",
        "{'a': object}.a.b",
        "object.a == 1 ? object.b : 2",
        "size([object.a]) // variables.w\n",
        "-object.b",
    ]
)


def _tokens(source: str) -> list[str]:
    return [token.text for token in tokenize(source)]


@given(value=_VALUES)
def test_a_document_comes_out_as_it_went_in(value: Json) -> None:
    """The conversion into the engine and back keeps every value and every type."""
    program = _ENVIRONMENT.compile(
        "[JSONPatch{op: 'add', path: '/a', value: object}]", result=CelResult.PATCH
    )

    (operation,) = program.run_patch(_ENVIRONMENT.activation({"object": value}))

    assert is_same(operation.value, value)


@given(document=_HOSTILE, other=_HOSTILE)
def test_a_run_raises_nothing_but_evaluation_errors(document: Json, other: Json) -> None:
    """Whatever stands in a document, an expression gives a bool or an evaluation error."""
    activation = _ENVIRONMENT.activation({"object": document, "params_1": other})
    for expression in ("object == params", "object.a.all(x, x > 0)", "size(object) > 0"):
        program = _ENVIRONMENT.compile(expression, result=CelResult.BOOL, parameters="params_1")
        try:
            assert program.run(activation) in {True, False}
        except EvaluationError:
            continue


@given(pieces=st.lists(_PIECES, max_size=12))
@example(pieces=["object", ".", "'", "\\"])
@example(pieces=["JSONPatch{", "op", ":", "'a'", "}", "}"])
@example(pieces=["has", "(", "variables", ".", "x", ")"])
def test_compile_raises_nothing_but_compile_errors(pieces: list[str]) -> None:
    """No text is more than a fault with a place."""
    variable = NamedExpression(name="x", expression="object.a")
    try:
        _ENVIRONMENT.compile(
            "".join(pieces), result=CelResult.BOOL, variables=[variable], parameters="params_1"
        )
    except CompileError:
        return


@given(pieces=st.lists(_PIECES, max_size=12))
def test_rewrite_changes_no_other_token(pieces: list[str]) -> None:
    """Without the names that have a meaning of their own, the tokens stay what they were."""
    source = "".join(pieces)
    try:
        tokens = tokenize(source)
        rewritten = rewrite(source, scope=Scope())
    except CompileError:
        return
    assume(not {"JSONPatch", "lists", "split", "variables"} & {token.text for token in tokens})

    assert _tokens(rewritten.text) == [token.text for token in tokens]


@given(text=st.text(st.characters(exclude_characters="\0\\'\n\r"), max_size=12))
def test_tokenize_keeps_a_string_whole(text: str) -> None:
    """What stands in a string is one token, whatever it looks like."""
    (token,) = tokenize(f"'{text}'")

    assert token.kind is TokenKind.STRING
    assert token.text == f"'{text}'"


@given(first=_SNIPPETS, second=_SNIPPETS, document=st.fixed_dictionaries({"b": st.integers(0, 9)}))
def test_a_variable_is_its_expression(first: str, second: str, document: JsonObject) -> None:
    """What a variable gives is what its expression gives in parentheses."""
    variables = [
        NamedExpression(name="v", expression=first),
        NamedExpression(name="w", expression=f"[variables.v, {second}\n]"),
    ]
    named = "[JSONPatch{op: 'add', path: '/a', value: [variables.v, variables.w]}]"
    plain = (
        f"[JSONPatch{{op: 'add', path: '/a', value: [({first}\n), ([({first}\n), {second}\n])]}}]"
    )
    activation = _ENVIRONMENT.activation({"object": {"a": {"b": 1}, **document}})
    outcomes = []

    for source in (named, plain):
        program = _ENVIRONMENT.compile(source, result=CelResult.PATCH, variables=variables)
        try:
            outcomes.append(str(program.run_patch(activation)))
        except EvaluationError as err:
            outcomes.append(str(err))

    assert outcomes[0] == outcomes[1]
