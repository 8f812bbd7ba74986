"""Policies with their rules compiled, ready to be asked."""

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
    SchemaRule,
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
        reads_namespace: some expression reads `namespaceObject`, so that the policy cannot be
            evaluated without it.
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
    if not compiler.check_variables():
        return None
    policy = bound.policy
    conditions = [
        compiler.condition(condition, number)
        for number, condition in enumerate(policy.match_conditions)
    ]
    validations = [
        compiler.validation(validation, number)
        for number, validation in enumerate(policy.validations)
    ]
    mutations = [
        compiler.mutation(mutation, number) for number, mutation in enumerate(policy.mutations)
    ]
    if len(faults.found) != known:
        return None
    return CompiledPolicy(
        bound=bound,
        conditions=tuple(filter(None, conditions)),
        validations=tuple(filter(None, validations)),
        # A static patch may be without operations, so it is not filtered by its truth.
        mutations=tuple(mutation for mutation in mutations if mutation is not None),
        reads_namespace=any(_NAMESPACE in program.names for program in compiler.programs),
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
        self.programs: list[CelProgram] = []

    def check_variables(self) -> bool:
        """Return whether each variable compiles on the earlier ones, unused ones too."""
        for number in range(len(self._variables)):
            variables = self._variables[: number + 1]
            field = f"spec.variables[{number}].expression"
            if self._cel("true", field, result=CelResult.BOOL, variables=variables) is None:
                return False
        return True

    def condition(self, condition: NamedExpression, number: int) -> CompiledCondition | None:
        # As in the API server, match conditions come before the variables and do not know them.
        field = f"spec.matchConditions[{number}].expression"
        program = self._cel(condition.expression, field, result=CelResult.BOOL, variables=())
        if program is None:
            return None
        return CompiledCondition(name=condition.name, program=program)

    def validation(self, validation: Validation, number: int) -> CompiledValidation | None:
        rule = validation.rule
        if isinstance(rule, CelRule):
            compiled: CompiledRule | None = self._rule(rule, number)
        else:
            compiled = self._schema(rule, number)
        if compiled is None:
            return None
        return CompiledValidation(source=validation, rule=compiled)

    def _rule(self, rule: CelRule, number: int) -> CompiledCel | None:
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
        if program is None:
            return None
        return CompiledCel(program=program, message=message)

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

    def _schema(self, rule: SchemaRule, number: int) -> CompiledSchema | None:
        try:
            return CompiledSchema(program=compile_schema(rule.schema), path=rule.path)
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
            program = self._environment.compile(expression, result=result, variables=variables)
        except CompileError as err:
            self._faults.add(field, str(err))
            return None
        self.programs.append(program)
        return program
