"""CEL behind the engine interface: what Kubernetes accepts, and each pitfall of the engine."""

import gc
import sys

import pytest

from lictor.engines.cel import (
    MAX_QUADRATIC,
    MAX_VARIABLES,
    CelActivation,
    CelEnvironment,
    CelProgram,
    CelResult,
)
from lictor.engines.cel_library import MAX_ELEMENTS
from lictor.engines.cel_rewrite import MAX_EXPRESSION
from lictor.engines.cel_values import MAX_BYTES
from lictor.errors import BudgetExceededError, CompileError, EvaluationError
from lictor.jsontypes import Json, JsonObject
from lictor.model.patch import PatchOp, PatchOperation
from lictor.model.policy import NamedExpression

_ENVIRONMENT = CelEnvironment(["params_1", "params_2"])


def _bool(expression: str, **variables: str) -> CelProgram:
    named = [NamedExpression(name=name, expression=text) for name, text in variables.items()]
    return _ENVIRONMENT.compile(expression, result=CelResult.BOOL, variables=named)


def _activation(**values: Json) -> CelActivation:
    return _ENVIRONMENT.activation(values)


def _judge(expression: str, object: Json = None, **variables: str) -> bool:  # noqa: A002 - as in CEL
    return _bool(expression, **variables).run_bool(_activation(object=object))


def _patch(expression: str, object: Json = None) -> tuple[PatchOperation, ...]:  # noqa: A002
    program = _ENVIRONMENT.compile(expression, result=CelResult.PATCH)
    return program.run_patch(_activation(object=object))


@pytest.mark.parametrize(
    "expression",
    [
        pytest.param("object.?spec.?replicas.orValue(1) == 3", id="optional-select"),
        pytest.param("object.spec[?'x'].orValue('d') == 'd'", id="optional-index"),
        pytest.param("object.?spec.replicas.optMap(r, r + 1).value() == 4", id="optMap"),
        pytest.param("[?object.?none, 1] == [1]", id="optional-element"),
        pytest.param("{?'a': object.?none} == {}", id="optional-entry"),
        pytest.param("'%s-%d'.format(['a', 1]) == 'a-1'", id="format"),
        pytest.param("'a,b'.split(',') == ['a', 'b']", id="split"),
        pytest.param("'a,b,c'.split(',', 2) == ['a', 'b,c']", id="split-limit"),
        pytest.param("'a,b'.split(',', 0) == [] && 'a'.split(',', -1) == ['a']", id="split-none"),
        pytest.param("'abc'.split('') == ['a', 'b', 'c']", id="split-characters"),
        pytest.param("'abc'.split('', 2) == ['a', 'bc'] && ''.split('') == []", id="split-two"),
        pytest.param("['a', 'b'].join('-') == 'a-b'", id="join"),
        pytest.param("' A '.trim().lowerAscii() == 'a'", id="trim"),
        pytest.param("sets.contains(['a', 'b'], ['a'])", id="sets"),
        pytest.param("[3, 1, 2].sort() == [1, 2, 3]", id="sort"),
        pytest.param("[3, 1].sortBy(x, -x) == [3, 1]", id="sortBy"),
        pytest.param("[[1], [2]].flatten() == [1, 2]", id="flatten"),
        pytest.param("[1, 1].distinct() == [1]", id="distinct"),
        pytest.param("lists.range(3) == [0, 1, 2]", id="range"),
        pytest.param("[5, 6].first().value() == 5", id="first"),
        pytest.param("[1, 2].all(i, v, i < v)", id="two-variables"),
        pytest.param("[1, 2].transformList(i, v, i + v) == [1, 3]", id="transformList"),
        pytest.param("{'a': 1}.exists(k, v, k == 'a' && v == 1)", id="map-exists"),
        pytest.param("'registry/app'.matches('^registry/.+$')", id="matches"),
        pytest.param("dyn(1) == 1.0", id="equal-across-numbers"),
        pytest.param("object.l.exists_one(x, x == 2)", id="exists_one"),
        pytest.param("duration('90s') > duration('1m')", id="duration"),
        pytest.param("timestamp('2026-01-01T00:00:00Z').getFullYear() == 2026", id="timestamp"),
        pytest.param("strings.quote('a') == '\"a\"'", id="quote"),
        pytest.param("oldObject == null", id="missing-variable-is-null"),
        pytest.param("object.metadata.namespace == 'shop'", id="namespace-is-no-keyword-here"),
        pytest.param("true || object.none.none", id="or-absorbs-an-error"),
        pytest.param("!(false && object.none.none)", id="and-absorbs-an-error"),
        pytest.param("object.// a comment with ' and `\n  spec.replicas == 3 // end", id="comment"),
        pytest.param("[1].all(x, .object.spec.replicas == 3)", id="name-from-the-root"),
        pytest.param("r'\\d' == '\\\\d' && \"\"\"a'\"b\"\"\" == 'a\\'\"b'", id="strings"),
    ],
)
def test_cel_knows_what_kubernetes_knows(expression: str) -> None:
    """Each of these is true, as it is in a ValidatingAdmissionPolicy."""
    document: JsonObject = {
        "metadata": {"namespace": "shop"},
        "spec": {"replicas": 3},
        "l": [1, 2],
    }

    assert _judge(expression, document)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        pytest.param("cel.bind(x, 1, x == 1)", "undeclared reference to 'cel'", id="bind"),
        pytest.param("math.greatest(1, 2) == 2", "undeclared reference to 'math'", id="math"),
        pytest.param("base64.encode(b'a') == 'YQ=='", "reference to 'base64'", id="encoders"),
        pytest.param("regex.replace('a', 'a', 'b') == 'b'", "reference to 'regex'", id="regex"),
        pytest.param("'ab'.reverse() == 'ba'", "no matching overload for 'reverse'", id="reverse"),
        pytest.param("object.`a-b` == 1", "no quoted field names", id="backtick"),
        pytest.param("{'a': 1}.transformMap(k, v, v) == {}", "use transformList", id="mapInsert"),
        pytest.param("lictor_range(2) == [0, 1]", "undeclared reference", id="private-function"),
        pytest.param("authorizer.group('') == null", "reference to 'authorizer'", id="authorizer"),
    ],
)
def test_cel_refuses_what_kubernetes_has_not(expression: str, message: str) -> None:
    """A function of the engine that Kubernetes lacks does not leak into a policy."""
    with pytest.raises(CompileError, match=message):
        _bool(expression)


@pytest.mark.parametrize(
    ("expression", "result", "message"),
    [
        pytest.param("object.spec.privileged", CelResult.BOOL, "bool, not dyn.*bool", id="dyn"),
        pytest.param("'true'", CelResult.BOOL, "must evaluate to bool, not string", id="string"),
        pytest.param("object.name", CelResult.STRING, "string, not dyn", id="dyn-string"),
        pytest.param("1", CelResult.STRING, "must evaluate to string, not int", id="int"),
        pytest.param("{'op': 'add'}", CelResult.PATCH, "list of JSONPatch, not map", id="map"),
        pytest.param("[1]", CelResult.PATCH, "list of JSONPatch, not list<int>", id="ints"),
        pytest.param("object.patches", CelResult.PATCH, "not dyn", id="dyn-patch"),
    ],
)
def test_compile_demands_the_static_type(expression: str, result: CelResult, message: str) -> None:
    """As in Kubernetes, a type that is only known at run time is refused at load."""
    with pytest.raises(CompileError, match=message):
        _ENVIRONMENT.compile(expression, result=result)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        pytest.param("object.spec ==", "line 1, column 15: Syntax error", id="syntax"),
        pytest.param("true &&\n  obj.a == 1", r"line 2, column 6: .*'obj\.a'", id="undeclared"),
        pytest.param("1 == 'a'", "line 1, column 3: found no matching overload", id="type"),
        pytest.param("'a' == 'b", "line 1, column 8: this string does not end", id="open-string"),
        pytest.param("object.a == 1 ; true", "line 1, column 15: ';' is not", id="character"),
        pytest.param("(" * 40 + "true" + ")" * 40, "deeper than the 32 levels", id="brackets"),
        pytest.param("1 + " * 40 + "1 == 1", "deeper than the 32 levels", id="operators"),
        pytest.param("'a\\x00b' == object", "cannot hold NUL", id="nul"),
        pytest.param("' " + "a" * MAX_EXPRESSION, "at most 16384", id="length"),
        pytest.param("", "Syntax error", id="empty"),
    ],
)
def test_compile_says_where_and_what(expression: str, message: str) -> None:
    """An invalid expression is refused with its place in the author's own text."""
    with pytest.raises(CompileError, match=message):
        _bool(expression)


def test_compile_places_a_fault_behind_a_variable() -> None:
    """A variable that was put in does not move the place of a fault."""
    with pytest.raises(CompileError, match="line 1, column 20: undeclared reference to 'y'"):
        _bool("variables.image && y == 2", image="object.a.b.c == 1")


def test_variables_may_use_earlier_ones() -> None:
    """A variable means its expression, whatever stands around it."""
    assert _judge(
        "2 * variables.sum == 14 && variables.a == 3",
        {"a": 3, "b": 4},
        a="object.a",
        sum="variables.a + object.b // with a comment",
    )


def test_variables_keep_optionals_optional() -> None:
    """An optional variable is still one where it is used."""
    assert _judge("variables.x.orValue(7) == 7 && !variables.x.hasValue()", {}, x="object.?a.?b")


def test_variables_are_lazy() -> None:
    """A variable that fails matters only where it is evaluated."""
    assert _judge("true || variables.x", {}, x="object.none == 1")
    with pytest.raises(EvaluationError, match="no such key: none"):
        _judge("variables.x", {}, x="object.none == 1")


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        pytest.param("has(variables.x)", True, id="variable"),
        pytest.param("has(variables.x.a)", True, id="member"),
        pytest.param("has(variables.x.b)", False, id="no-member"),
        pytest.param("variables.?x == 1 ? true : true", None, id="optional-select"),
    ],
)
def test_has_of_variables(expression: str, expected: bool | None) -> None:  # noqa: FBT001 - a table
    """`has` works on a variable and below it."""
    if expected is None:
        with pytest.raises(CompileError, match=r"expected variables\.NAME"):
            _judge(expression, {"a": 1}, x="object")
    else:
        assert _judge(expression, {"a": 1}, x="object") is expected


@pytest.mark.parametrize(
    ("expression", "variables", "message"),
    [
        pytest.param("variables.z", {"x": "true"}, "no variable 'z'.*there are: x", id="unknown"),
        pytest.param(
            "variables.a", {"a": "variables.b", "b": "true"}, "no variable 'b'", id="later"
        ),
        pytest.param("variables.a", {"a": "variables.a"}, "'a': .*no variable 'a'", id="itself"),
        pytest.param("variables['a']", {"a": "true"}, r"expected variables\.NAME", id="index"),
        pytest.param("true", {"a": "object.("}, "the variable 'a': line 1", id="unused-but-wrong"),
        pytest.param("true", {"a-b": "true"}, "'a-b': expected a CEL identifier", id="name"),
        pytest.param("[1].all(object, true)", {}, "loop variable hides 'object'", id="hides"),
        pytest.param("[1].all(i, params, true)", {}, "hides 'params'", id="hides-second"),
    ],
)
def test_variables_refuse(expression: str, variables: dict[str, str], message: str) -> None:
    """A variable that is not there, or cannot be put in, is a fault at load."""
    with pytest.raises(CompileError, match=message):
        _bool(expression, **variables)


def test_variables_that_double_are_stopped() -> None:
    """Forty variables that use each other twice do not take 2^40 characters."""
    variables = {"v0": "object.a"} | {
        f"v{n}": f"variables.v{n - 1} + variables.v{n - 1}" for n in range(1, 40)
    }

    with pytest.raises(CompileError, match=r"grow without bound|32 levels"):
        _bool("variables.v39 == 1", **variables)


def test_variables_are_bounded_and_unique() -> None:
    """Neither their number nor their names can surprise."""
    one = NamedExpression(name="a", expression="1")

    with pytest.raises(CompileError, match="is there twice"):
        _ENVIRONMENT.compile("true", result=CelResult.BOOL, variables=[one, one])
    with pytest.raises(CompileError, match="at most 100"):
        _ENVIRONMENT.compile("true", result=CelResult.BOOL, variables=[one] * (MAX_VARIABLES + 1))


def test_params_are_those_of_the_policy() -> None:
    """Two policies read their own parameters from one activation."""
    activation = _activation(params_1={"max": 1}, params_2={"max": 2})
    programs = [
        _ENVIRONMENT.compile(f"params.max == {n}", result=CelResult.BOOL, parameters=f"params_{n}")
        for n in (1, 2)
    ]

    assert [program.run(activation) for program in programs] == [True, True]
    assert programs[0].names == {"params_1"}


@pytest.mark.parametrize("name", ["params", "params_1", "params_2"])
def test_params_of_others_are_out_of_reach(name: str) -> None:
    """A policy without parameters can name none, and no policy those of another."""
    with pytest.raises(CompileError, match=f"undeclared reference to '{name}'"):
        _bool(f"{name}.max == 1")


def test_params_in_text_and_fields_are_left_alone() -> None:
    """Only the name is rewritten: not a string, a field, a key or a comment."""
    document: JsonObject = {"params": {"variables": "params.x"}}

    assert _judge(
        "object.params.variables == 'params.x' && {'variables': 1}['variables'] == 1 "
        "&& object.?params.hasValue() // params",
        document,
    )


def test_activation_strips_nulls_of_objects() -> None:
    """`has` below a null is false: typed objects of Kubernetes have none (pitfall 5)."""
    document: JsonObject = {"a": None, "b": {"c": None, "d": 1}, "l": [{"e": None}]}

    assert not _judge("has(object.a)", document)
    assert _judge("!has(object.b.c) && object.b.d == 1 && object.l == [{}]", document)
    assert document["b"] == {"c": None, "d": 1}


def test_activation_keeps_nulls_of_parameters() -> None:
    """What an author wrote as null stays null."""
    program = _ENVIRONMENT.compile(
        "has(params.a) && params.a == null", result=CelResult.BOOL, parameters="params_1"
    )

    assert program.run(_activation(params_1={"a": None}))


def test_activation_is_converted_once() -> None:
    """What changes in the document after the first run is not seen: the conversion is shared."""
    document: JsonObject = {"a": 1}
    activation = _activation(object=document)
    first, second = _bool("object.a == 1"), _bool("object.a + 0 == 1")

    assert first.run(activation)
    document["a"] = 2
    assert second.run(activation)


@pytest.mark.parametrize(
    ("value", "expression"),
    [
        pytest.param(2**63 - 1, "object.n == 9223372036854775807", id="largest"),
        pytest.param(-(2**63), "object.n == -9223372036854775808", id="smallest"),
        pytest.param(2**63, "type(object.n) == double && object.n > 9.2e18", id="uint64"),
        pytest.param(-(2**70), "type(object.n) == double && object.n < 0.0", id="large"),
        pytest.param(1.5, "type(object.n) == double", id="float"),
        pytest.param(1.0, "object.n == 1", id="integral-float"),
    ],
)
def test_activation_reads_numbers_as_the_api_server_does(value: Json, expression: str) -> None:
    """An integer beyond 64 bits is a double; no other number changes."""
    assert _judge(expression, {"n": value})


@pytest.mark.parametrize(
    ("document", "message"),
    [
        pytest.param({"a": [{"b": "x\0y"}]}, "object/a/0/b: the text holds a NUL", id="nul"),
        pytest.param({"x\0y": 1}, "object: the text holds a NUL", id="nul-key"),
        pytest.param({"a": 10**400}, "object/a: the number is larger", id="huge"),
        pytest.param({"a": "\ud800"}, "object: not a JSON value in UTF-8", id="surrogate"),
    ],
)
def test_activation_faults_name_the_place(document: Json, message: str) -> None:
    """What the engine would cut or crash on is an error of that evaluation."""
    with pytest.raises(EvaluationError, match=message) as caught:
        _judge("object == null", document)

    assert "x" not in str(caught.value).replace("text", "").replace("expected", "")


def test_activation_fault_of_one_variable_leaves_the_others() -> None:
    """A document that cannot be converted fails the programs that read it, and only those."""
    activation = _activation(object={"a": "\0"}, request={"operation": "CREATE"})

    assert _bool("request.operation == 'CREATE'").run(activation)
    with pytest.raises(EvaluationError, match="object/a"):
        _bool("true || has(object.a)").run(activation)


def test_activation_refuses_a_document_over_its_limit() -> None:
    """A document of more than the limit is a budget error, before any conversion."""
    with pytest.raises(BudgetExceededError, match=f"at most {MAX_BYTES}"):
        _judge("has(object.a)", {"a": "x" * MAX_BYTES})


def test_activation_refuses_undeclared_names() -> None:
    """A name that no expression could read is a mistake of the caller."""
    with pytest.raises(ValueError, match="'params_9' was not declared"):
        _activation(params_9={})


@pytest.mark.parametrize(
    ("expression", "document", "message"),
    [
        pytest.param(
            "object.l.all(x, object.l.all(y, true))",
            {"l": list(range(100))},
            "Iteration budget exceeded",
            id="nested-loops",
        ),
        pytest.param("object.l.all(x, true)", {"l": [1] * 10_000}, "Iteration", id="long-list"),
        pytest.param("lists.range(object.n).size() > 0", {"n": 10**8}, "100000000 el", id="range"),
        pytest.param("object.s.split('').size() > 0", {"s": "a" * 20_000}, "20000 el", id="split"),
        pytest.param("object.l.sortBy(x, x) != []", {"l": [1] * 2001}, "2001 elements", id="sort"),
        pytest.param("sets.contains(object.l, [1])", {"l": [1] * 2001}, "2001 el", id="sets"),
    ],
)
def test_run_stops_at_its_budget(expression: str, document: Json, message: str) -> None:
    """What would hold the process is an error of that evaluation, at once."""
    with pytest.raises(BudgetExceededError, match=message):
        _judge(expression, document)


def test_run_just_below_its_budget() -> None:
    """The limits are where they are said to be."""
    assert _judge("object.l.all(x, object.l.all(y, true))", {"l": list(range(99))})
    assert _judge(f"lists.range({MAX_ELEMENTS}).size() == {MAX_ELEMENTS}")
    assert _judge("object.l.sortBy(x, x) != []", {"l": [1] * MAX_QUADRATIC})
    assert _judge("object.s.contains('b') || true", {"s": "a", "l": [1] * 3000})


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        pytest.param("object.none == 1", "no such key: none", id="key"),
        pytest.param("object[object.password] == 1", "no such key$", id="key-from-the-document"),
        pytest.param("'a'.matches(object.pattern)", "invalid regular expression$", id="pattern"),
        pytest.param("1 / object.zero == 1", "divide by zero", id="division"),
        pytest.param("object.password > 1", r"No matching overloads.*\(string, int64\)", id="type"),
        pytest.param("int(object.password) == 1", "cannot convert string to int", id="conversion"),
        pytest.param("{object.zero: 1, 0: 2} == {}", "duplicate key", id="duplicate"),
        pytest.param("object.password.a == 1", "SELECT", id="no-object"),
        pytest.param("object.zero.orValue(1) == 0", "overloads found : orValue", id="no-optional"),
        pytest.param("object.zero.split(',') == []", r"\(int64\)\.split\(string\)", id="split"),
    ],
)
def test_run_errors_hold_no_value_of_the_document(expression: str, message: str) -> None:
    """An error says what failed; what stood in the document, maybe a Secret, is left out."""
    document: JsonObject = {"password": "hunter2", "pattern": "hunter2(", "zero": 0}

    with pytest.raises(EvaluationError, match=message) as caught:
        _judge(expression, document)

    assert "hunter2" not in str(caught.value)


def test_run_string_gives_the_text() -> None:
    """A message expression gives its text, whole."""
    program = _ENVIRONMENT.compile(
        "'replicas: ' + string(object.n) + ' ümlaut'", result=CelResult.STRING
    )

    assert program.run(_activation(object={"n": 3})) == "replicas: 3 ümlaut"


@pytest.mark.parametrize(
    "expression",
    [
        pytest.param("[JSONPatch{op: 'add', path: '/a', value: {'b': 1}}]", id="message"),
        pytest.param("[{'op': 'add', 'path': '/a', 'value': {'b': 1}}]", id="map"),
        pytest.param(
            "has(object.x) ? [] : [JSONPatch{op: 'add', path: '/a', value: {'b': 1},}]", id="choice"
        ),
        pytest.param(
            "[JSONPatch{op: 'add', path: '/a', ?value: optional.of({'b': 1})}] + []", id="optional"
        ),
        pytest.param(
            "['a'].map(k, JSONPatch{op: 'add', path: '/' + jsonpatch.escapeKey(k), "
            "value: [{'b': 1}][0]})",
            id="map-macro",
        ),
    ],
)
def test_run_patch_gives_operations(expression: str) -> None:
    """A patch may be written as messages or as maps."""
    expected = PatchOperation(op=PatchOp.ADD, path="/a", value={"b": 1})

    assert _patch(expression, {}) == (expected,)


def test_run_patch_mixes_operations() -> None:
    """Operations with different members stand in one list, on either side of a choice."""
    expression = (
        "(has(object.a) ? [JSONPatch{op: 'remove', path: '/a'}] : []) + "
        "[JSONPatch{op: 'copy', from: '/b', path: '/c'}, JSONPatch{op: 'test', path: '/b', "
        "value: null}]"
    )

    assert [str(item.op) for item in _patch(expression, {"a": 1})] == ["remove", "copy", "test"]


@pytest.mark.parametrize(
    ("expression", "result", "expected"),
    [
        pytest.param("request.operation", CelResult.STRING, "CREATE", id="text"),
        pytest.param("request.kind.kind", CelResult.STRING, "Pod", id="nested"),
        pytest.param("request.dryRun", CelResult.BOOL, True, id="bool"),
        pytest.param("has(request.name)", CelResult.BOOL, False, id="has"),
        pytest.param("has(request.userInfo.groups)", CelResult.BOOL, True, id="has-list"),
        pytest.param("'a' in request.userInfo.groups", CelResult.BOOL, True, id="list"),
        pytest.param("request.operation.startsWith('C')", CelResult.BOOL, True, id="method"),
        pytest.param("request.?name.orValue('') == ''", CelResult.BOOL, True, id="optional"),
        pytest.param("request.options.a == 1", CelResult.BOOL, True, id="options"),
        pytest.param("request . operation + ''", CelResult.STRING, "CREATE", id="spaces"),
    ],
)
def test_request_has_the_types_of_kubernetes(
    expression: str, result: CelResult, expected: Json
) -> None:
    """A text of the request is statically a string, so it can be a message."""
    request: JsonObject = {
        "operation": "CREATE",
        "kind": {"kind": "Pod"},
        "dryRun": True,
        "userInfo": {"groups": ["a"]},
        "options": {"a": 1},
    }
    program = _ENVIRONMENT.compile(expression, result=result)

    assert program.run(_activation(request=request)) == expected


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        pytest.param("request.opration == 'a'", "no field 'opration' in request", id="typo"),
        pytest.param("request.kind.name == 'a'", "no field 'name'.*group, kind", id="nested"),
        pytest.param("request.object.a == 1", "no field 'object'", id="object"),
        pytest.param("request.operation == 1", "no matching overload", id="type"),
    ],
)
def test_request_refuses_what_kubernetes_refuses(expression: str, message: str) -> None:
    """A typing mistake in a field of the request is found at load."""
    with pytest.raises(CompileError, match=message):
        _bool(expression)


def test_escape_key_escapes_a_label_key() -> None:
    """`jsonpatch.escapeKey` writes a key as a token of a pointer."""
    expression = "[JSONPatch{op: 'remove', path: '/' + jsonpatch.escapeKey('a/b~c')}]"

    assert _patch(expression)[0].path == "/a~1b~0c"


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        pytest.param("[JSONPatch{op: 'add', path: '/a'}]", "add needs a value", id="no-value"),
        pytest.param("[JSONPatch{op: 'set', path: '/a'}]", "expected one of add", id="op"),
        pytest.param("[JSONPatch{op: 'remove'}]", "path: expected a string", id="no-path"),
        pytest.param(
            "[JSONPatch{op: 'add', path: '/a', value: b'x'}]", "/0/value: a bytes", id="bytes"
        ),
        pytest.param(
            "[JSONPatch{op: 'add', path: '/a', value: timestamp('2026-01-01T00:00:00Z')}]",
            "/0/value: a timestamp has no form in JSON",
            id="timestamp",
        ),
        pytest.param(
            "[JSONPatch{op: 'add', path: '/a', value: {1: 2}}]",
            "/0/value: a key is a int",
            id="key",
        ),
        pytest.param(
            "[JSONPatch{op: 'add', path: '/a', value: 1.0 / 0.0}]", "no infinite number", id="inf"
        ),
        pytest.param(
            "[JSONPatch{op: 'add', path: '/a', value: object.?x}]",
            "/0/value: an optional",
            id="option",
        ),
    ],
)
def test_run_patch_refuses_what_is_no_patch(expression: str, message: str) -> None:
    """A patch that JSON cannot carry is an error of that evaluation, with its place."""
    with pytest.raises(EvaluationError, match=message):
        _patch(expression, {"x": 1})


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        pytest.param("[JSONPatch{op: 'add', pth: '/a'}]", "no field 'pth'; it has op", id="field"),
        pytest.param("[JSONPatch{op: 'add', op: 'add'}]", "the field 'op' twice", id="twice"),
    ],
)
def test_compile_checks_the_fields_of_jsonpatch(expression: str, message: str) -> None:
    """A typing mistake in a field is found at load, as in Kubernetes."""
    with pytest.raises(CompileError, match=message):
        _ENVIRONMENT.compile(expression, result=CelResult.PATCH)


def test_run_patch_loses_no_reference_to_none() -> None:
    """A null in a result costs nothing: the binding's conversion would abort the process."""
    program = _ENVIRONMENT.compile(
        "[JSONPatch{op: 'add', path: '/a', value: [null, {'b': null}, params]}]",
        result=CelResult.PATCH,
        parameters="params_1",
    )
    activation = _activation(params_1={"c": None})
    gc.collect()
    before = sys.getrefcount(None)

    for _ in range(500):
        program.run_patch(activation)

    assert program.run_patch(activation)[0].value == [None, {"b": None}, {"c": None}]
    assert sys.getrefcount(None) > before - 250


def test_environment_refuses_names_that_are_not_for_parameters() -> None:
    """Parameters cannot take the name of something else."""
    with pytest.raises(ValueError, match="'object' is no name for parameters"):
        CelEnvironment(["object"])
    with pytest.raises(ValueError, match="'params_7' was not declared"):
        _ENVIRONMENT.compile("true", result=CelResult.BOOL, parameters="params_7")
