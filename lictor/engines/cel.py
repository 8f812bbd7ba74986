"""CEL in process: expressions compiled once a snapshot, judged on one activation a request.

The engine is `cel-expr-python`, pinned: the only one for Python that checks types before it runs
and knows optionals. It holds the GIL while it runs, so nothing here can stop it: what bounds it are
the sizes of the document, of the expression and of the lists that are made, and its own 10,000 loop
steps an evaluation. Where Kubernetes would go further, this is an error, and so the policy's
`onError`.

Differences to Kubernetes that are an error at load or at evaluation: 32 levels of nesting in an
expression; `1 < 1.5` (write `1.0 < 1.5`); `transformMap`; `dyn.orValue(x)` on what is no optional;
`variables['x']`; a loop variable named like a global one; a text with NUL; `quantity`, `url`, `ip`,
`cidr`, `semver`, `authorizer`, `find` and `sum`, `min`, `max`, `isSorted`, `indexOf` of lists are
not there yet.

Differences in what is seen: a null member of an object counts as absent, also in a custom resource
whose schema is `nullable`; lists and maps of mixed types compile; a variable that is used twice is
evaluated twice.

Not bounded: the memory that an expression takes, as in `object.l.map(x, object.s + string(x))`.
"""

import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Final, NoReturn, TypeAlias, assert_never

from cel_expr_python import cel

from lictor.engines.cel_library import new_environment
from lictor.engines.cel_rewrite import GLOBALS, Rewritten, Scope, as_written, rewrite
from lictor.engines.cel_values import from_json, longest_list, to_json
from lictor.errors import BudgetExceededError, CompileError, EvaluationError, InputError
from lictor.jsontypes import Json
from lictor.model.patch import PatchOperation, operations_from_json
from lictor.model.policy import NamedExpression

MAX_VARIABLES: Final = 100
"""Variables of one policy."""

_KEPT_SCOPES: Final = 2 * MAX_VARIABLES  # of one policy, and then of the next
MAX_QUADRATIC: Final = 2_000
"""Elements of the longest list for functions that compare all with all: `sortBy` takes 0.2 s of the
GIL at 2,000 and 4.4 s at 9,000."""

_QUADRATIC: Final = frozenset({"sortBy", "sets"})
_WITHOUT_NULLS: Final = frozenset({"object", "oldObject", "namespaceObject"})
_PARAMETER_NAME: Final = re.compile(r"params_[0-9a-zA-Z_]{1,64}", re.ASCII)
_VARIABLE_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}", re.ASCII)
_FAULT: Final = re.compile(r"ERROR: <input>:(-?\d+):(-?\d+): (.*)")
_CONTAINER: Final = " (in container '')"
_UNPLANNED: Final = "No overload found in reference resolve step"
_CODE: Final = re.compile(r"^[A-Z_]+: | \[[A-Z_]+\]$")
_MISSING_KEY: Final = re.compile(r'Key not found in map : "(.*)"', re.DOTALL)

Result: TypeAlias = "Json | tuple[PatchOperation, ...]"


class CelResult(StrEnum):
    """What an expression is for, and so which type it must have before it runs."""

    BOOL = "bool"
    STRING = "string"
    PATCH = "list of JSONPatch"


class CelActivation:
    """The variables of one request, converted once at first use and shared by all programs.

    A variable that cannot be converted fails the programs that read it, and no others.
    """

    __slots__ = ("_faults", "_longest", "_native", "_values")

    def __init__(
        self,
        native: cel.Activation,
        values: Mapping[str, Json],
        faults: Mapping[str, EvaluationError],
    ) -> None:
        self._native = native
        self._values = values
        self._faults = faults
        self._longest: dict[str, int] = {}

    def require(self, names: frozenset[str]) -> None:
        """Check that the variables could be converted.

        Raises:
            EvaluationError: one could not be; says which, where and why.
        """
        if not self._faults:
            return
        for name in sorted(names & self._faults.keys()):
            fault = self._faults[name]
            raise type(fault)(str(fault))

    def longest(self, names: frozenset[str]) -> int:
        """Return the length of the longest list in these variables."""
        for name in names - self._longest.keys():
            self._longest[name] = longest_list(self._values.get(name))
        return max((self._longest[name] for name in names), default=0)

    def evaluate(self, program: cel.Expression) -> cel.Value:
        """Run one compiled expression.

        Raises:
            RuntimeError: the engine gave up.
        """
        return program.eval(self._native)


class CelProgram:
    """One compiled expression; has no state of its own, so it may be run from any thread."""

    __slots__ = ("_program", "_quadratic", "_result", "_source", "names")

    def __init__(self, program: cel.Expression, source: Rewritten, result: CelResult) -> None:
        self._program = program
        self._result = result
        self._source = source.text
        self._quadratic = not source.calls.isdisjoint(_QUADRATIC)
        self.names: frozenset[str] = source.names
        """The variables of the activation that the expression reads, its variables' included."""

    def run(self, activation: CelActivation) -> Result:
        """Evaluate; the result has the type that was asked for when it was compiled.

        Raises:
            BudgetExceededError: it took more loop steps, or longer lists, than are allowed.
            EvaluationError: it failed on these values, or the patch is malformed.
        """
        match self._result:
            case CelResult.BOOL:
                return self.run_bool(activation)
            case CelResult.STRING:
                return self.run_string(activation)
            case CelResult.PATCH:
                return self.run_patch(activation)
            case _:
                assert_never(self._result)

    def run_bool(self, activation: CelActivation) -> bool:
        """Evaluate an expression that was compiled as BOOL; raises what `run` does."""
        value = self._scalar(activation)
        if not isinstance(value, bool):
            raise EvaluationError(f"the result is a {type(value).__name__}; expected a bool")
        return value

    def run_string(self, activation: CelActivation) -> str:
        """Evaluate an expression that was compiled as STRING; raises what `run` does."""
        value = self._scalar(activation)
        if not isinstance(value, str):
            raise EvaluationError(f"the result is a {type(value).__name__}; expected a string")
        return value

    def run_patch(self, activation: CelActivation) -> tuple[PatchOperation, ...]:
        """Evaluate an expression that was compiled as PATCH; raises what `run` does."""
        found = self._evaluate(activation)
        if found.type() == cel.Type.ERROR:
            self._fail(str(found.plain_value()), None)
        value = to_json(found)
        try:
            return operations_from_json(value)
        except InputError as err:
            raise EvaluationError(f"the result is no JSON patch: {err}") from err

    def _scalar(self, activation: CelActivation) -> object:
        value = self._evaluate(activation)
        plain: object = value.plain_value()
        # Asking for the type takes as long as a third of a small evaluation.
        if plain is not True and plain is not False and value.type() == cel.Type.ERROR:
            self._fail(str(plain), None)
        return plain

    def _evaluate(self, activation: CelActivation) -> cel.Value:
        activation.require(self.names)
        if self._quadratic and activation.longest(self.names) > MAX_QUADRATIC:
            raise BudgetExceededError(
                f"a list of {activation.longest(self.names)} elements; "
                f"at most {MAX_QUADRATIC} where sortBy or sets are used"
            )
        try:
            return activation.evaluate(self._program)
        except RuntimeError as err:
            self._fail(str(err), err)

    def _fail(self, message: str, cause: RuntimeError | None) -> NoReturn:
        text = as_written(_CODE.sub("", message))
        if text.startswith(("Iteration budget exceeded", "budget:")):
            raise BudgetExceededError(text.removeprefix("budget: ")) from cause
        raise EvaluationError(_redacted(text, source=self._source)) from cause


def _redacted(text: str, *, source: str) -> str:
    """Leave out what the engine quotes from the document: it may come from a Secret."""
    missing = _MISSING_KEY.search(text)
    if missing:
        return f"no such key: {missing[1]}" if missing[1] in source else "no such key"
    if text.startswith("invalid regular expression"):
        return "invalid regular expression"
    return text[:200]


class CelEnvironment:
    """What the expressions of one snapshot can name: one a snapshot, shared by all policies."""

    __slots__ = ("_env", "_names", "_parameters", "_scopes")

    def __init__(self, parameter_names: Sequence[str] = ()) -> None:
        """Declare object, oldObject, request, namespaceObject and the policies' parameters.

        Args:
            parameter_names: one name a bound policy with parameters: `params_` and letters,
                digits or underscores.

        Raises:
            ValueError: a name has another form.
        """
        for name in parameter_names:
            if not _PARAMETER_NAME.fullmatch(name):
                raise ValueError(f"{name!r} is no name for parameters; expected params_<id>")
        self._parameters = frozenset(parameter_names)
        self._names = (*GLOBALS, *sorted(self._parameters))
        self._env: cel.Env = new_environment(self._names)
        self._scopes: dict[tuple[tuple[NamedExpression, ...], str], Scope] = {}

    def compile(
        self,
        expression: str,
        *,
        result: CelResult,
        variables: Sequence[NamedExpression] = (),
        parameters: str = "",
    ) -> CelProgram:
        """Compile one expression of one policy.

        As in Kubernetes, the type is checked before anything runs: `object.spec.privileged` has no
        static type, so it is neither a bool nor a string, and is refused here; compare it
        (`== true`) or convert it.

        Args:
            expression: the source.
            result: what it must evaluate to.
            variables: what `variables.x` means; each may use those before it.
            parameters: the name of the activation that `params` means; "" where there are none.

        Raises:
            CompileError: it is not valid; says where. A fault of a variable names the variable.
        """
        if parameters and parameters not in self._parameters:
            raise ValueError(f"{parameters!r} was not declared in this environment")
        if len(variables) > MAX_VARIABLES:
            raise CompileError(f"{len(variables)} variables; at most {MAX_VARIABLES}")
        scope = self._scope(tuple(variables), parameters)
        source = rewrite(expression, scope=scope)
        program = self._native(source)
        _check_type(program.return_type().name(), result=result)
        return CelProgram(program, source, result)

    def _scope(self, variables: tuple[NamedExpression, ...], parameters: str) -> Scope:
        """Compile the variables of a policy once for all its expressions."""
        found = self._scopes.get((variables, parameters))
        if found is not None:
            return found
        known: dict[str, Rewritten] = {}
        if variables:
            shorter = self._scope(variables[:-1], parameters)
            known = {
                **shorter.variables,
                variables[-1].name: self._variable(variables[-1], shorter),
            }
        scope = Scope(parameters=parameters, hidden=self._parameters, variables=known)
        if len(self._scopes) >= _KEPT_SCOPES:
            self._scopes.clear()
        self._scopes[variables, parameters] = scope
        return scope

    def _variable(self, variable: NamedExpression, scope: Scope) -> Rewritten:
        if not _VARIABLE_NAME.fullmatch(variable.name):
            raise CompileError(f"the variable {variable.name!r}: expected a CEL identifier")
        if variable.name in scope.variables:
            raise CompileError(f"the variable {variable.name!r} is there twice")
        try:
            source = rewrite(variable.expression, scope=scope)
            self._native(source)
        except CompileError as err:
            raise CompileError(f"the variable {variable.name!r}: {err}") from err
        return source

    def _native(self, source: Rewritten) -> cel.Expression:
        try:
            program = self._env.compile(source.text)
        except RuntimeError as err:
            raise CompileError(_explained(str(err), source)) from err
        try:
            # The engine plans at the first evaluation, and finds only then what it cannot run.
            program.eval(self._env.Activation({}))
        except RuntimeError as err:
            if _UNPLANNED in str(err):
                raise CompileError(_explained(str(err), source)) from err
        return program

    def activation(self, values: Mapping[str, Json]) -> CelActivation:
        """Take the variables of one request; those that are missing are null.

        Never raises for a value: what cannot be converted fails the programs that read it.

        Raises:
            ValueError: a name was not declared.
        """
        unknown = sorted(values.keys() - set(self._names))
        if unknown:
            raise ValueError(f"{unknown[0]!r} was not declared in this environment")
        data: dict[str, Json] = dict.fromkeys(self._names)
        faults: dict[str, EvaluationError] = {}
        for name, value in values.items():
            try:
                data[name] = from_json(name, value, keep_nulls=name not in _WITHOUT_NULLS)
            except EvaluationError as err:
                faults[name] = err
        return CelActivation(self._env.Activation(data), data, faults)


def _check_type(name: str, *, result: CelResult) -> None:
    match result:
        case CelResult.BOOL:
            fits = name == "BOOL"
        case CelResult.STRING:
            fits = name == "STRING"
        case CelResult.PATCH:
            fits = name == "LIST<DYN>" or name.startswith("LIST<MAP<STRING,")
        case _:
            assert_never(result)
    if fits:
        return
    hint = ""
    if name == "DYN" and result is not CelResult.PATCH:
        hint = f"; its type is not known before it runs: compare it, or convert it with {result}()"
    raise CompileError(f"must evaluate to {result}, not {name.lower()}{hint}")


def _explained(message: str, source: Rewritten) -> str:
    """Put the engine's report in terms of what the author wrote."""
    if "recursion" in message:
        return "nested deeper than the 32 levels that the engine parses, variables included"
    if "cel.@mapInsert" in message:
        return "transformMap and transformMapEntry are not in this engine; use transformList"
    faults = [
        f"{source.where(int(line), int(column))}: {text.removesuffix(_CONTAINER)}"
        for line, column, text in _FAULT.findall(message)[:3]
    ]
    return as_written("; ".join(dict.fromkeys(faults)) or _CODE.sub("", message))
