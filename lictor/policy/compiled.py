"""Policies with their rules compiled, ready to be asked."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from lictor.engines.cel import CelEnvironment, CelProgram, CelResult
from lictor.engines.schema import SchemaProgram, compile_schema
from lictor.errors import CompileError
from lictor.model.patch import PatchOperation
from lictor.model.policy import (
    BoundPolicy,
    CelMutation,
    CelRule,
    Mutation,
    NamedExpression,
    PatchMutation,
    Policy,
    Validation,
)
from lictor.policy.faults import Faults

_NAMESPACE: Final = "namespaceObject"


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledCel:
    """A CEL rule: whether the object complies, and what to say if it does not."""

    program: CelProgram
    message: CelProgram | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledSchema:
    """A JSON Schema and the place that it is about."""

    program: SchemaProgram
    path: str


CompiledRule: TypeAlias = CompiledCel | CompiledSchema


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledValidation:
    """One rule with what was written about it."""

    source: Validation
    rule: CompiledRule


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledCondition:
    """One match condition."""

    name: str
    program: CelProgram


CompiledMutation: TypeAlias = CelProgram | tuple[PatchOperation, ...]
"""A program that gives a patch, or the patch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledPolicy:
    """All rules of one bound policy.

    Attributes:
        reads_namespace: some expression names `namespaceObject`, so that the policy cannot be
            evaluated without it. Wide in doubt: a text with that word counts too.
    """

    bound: BoundPolicy
    conditions: tuple[CompiledCondition, ...]
    validations: tuple[CompiledValidation, ...]
    mutations: tuple[CompiledMutation, ...]
    reads_namespace: bool


def compile_policy(
    bound: BoundPolicy, environment: CelEnvironment, *, faults: Faults
) -> CompiledPolicy | None:
    """Compile every rule; None where one has a fault, which is added to `faults`."""
    known = len(faults.found)
    compiler = _Compiler(environment, bound.policy.variables, faults=faults)
    policy = bound.policy
    compiler.check_variables()
    conditions = [
        (condition.name, compiler.condition(condition, number))
        for number, condition in enumerate(policy.match_conditions)
    ]
    validations = [
        (validation, compiler.validation(validation, number))
        for number, validation in enumerate(policy.validations)
    ]
    mutations = [
        compiler.mutation(mutation, number) for number, mutation in enumerate(policy.mutations)
    ]
    if len(faults.found) != known:
        return None
    return CompiledPolicy(
        bound=bound,
        conditions=tuple(
            CompiledCondition(name=name, program=program) for name, program in conditions if program
        ),
        validations=tuple(
            CompiledValidation(source=source, rule=rule) for source, rule in validations if rule
        ),
        mutations=tuple(mutation for mutation in mutations if mutation is not None),
        reads_namespace=any(_NAMESPACE in text for text in _expressions(policy)),
    )


class _Compiler:
    """Compiles the expressions of one policy and turns errors into faults."""

    def __init__(
        self,
        environment: CelEnvironment,
        variables: tuple[NamedExpression, ...],
        *,
        faults: Faults,
    ) -> None:
        self._environment = environment
        self._variables = variables
        self._faults = faults

    def check_variables(self) -> None:
        """Compile each variable on the earlier ones, so that an unused one is checked too."""
        for number, variable in enumerate(self._variables):
            self._cel(
                variable.expression,
                f"spec.variables[{number}].expression",
                result=CelResult.ANY,
                variables=self._variables[:number],
            )

    def condition(self, condition: NamedExpression, number: int) -> CelProgram | None:
        # As in the API server, match conditions come before the variables and do not know them.
        field = f"spec.matchConditions[{number}].expression"
        return self._cel(condition.expression, field, result=CelResult.BOOL, variables=())

    def validation(self, validation: Validation, number: int) -> CompiledRule | None:
        rule = validation.rule
        if not isinstance(rule, CelRule):
            return self._schema(rule.schema, rule.path, number)
        field = f"spec.validations[{number}].cel"
        program = self._cel(
            rule.expression,
            f"{field}.expression",
            result=CelResult.BOOL,
            variables=self._variables,
        )
        message = None
        if rule.message_expression:
            message = self._cel(
                rule.message_expression,
                f"{field}.messageExpression",
                result=CelResult.STRING,
                variables=self._variables,
            )
        return program and CompiledCel(program=program, message=message)

    def mutation(self, mutation: Mutation, number: int) -> CompiledMutation | None:
        match mutation:
            case PatchMutation():
                return mutation.operations
            case CelMutation():
                return self._cel(
                    mutation.expression,
                    f"spec.mutations[{number}].cel.expression",
                    result=CelResult.PATCH,
                    variables=self._variables,
                )

    def _schema(
        self, schema: Mapping[str, object], path: str, number: int
    ) -> CompiledSchema | None:
        try:
            return CompiledSchema(program=compile_schema(schema), path=path)
        except CompileError as err:
            self._faults.add(f"spec.validations[{number}].jsonSchema.schema", str(err))
            return None

    def _cel(
        self,
        expression: str,
        field: str,
        *,
        result: CelResult,
        variables: tuple[NamedExpression, ...],
    ) -> CelProgram | None:
        try:
            return self._environment.compile(expression, result=result, variables=variables)
        except CompileError as err:
            self._faults.add(field, str(err))
            return None


def _expressions(policy: Policy) -> list[str]:
    found = [item.expression for item in (*policy.match_conditions, *policy.variables)]
    for validation in policy.validations:
        if isinstance(validation.rule, CelRule):
            found += [validation.rule.expression, validation.rule.message_expression]
    found += [item.expression for item in policy.mutations if isinstance(item, CelMutation)]
    return found
