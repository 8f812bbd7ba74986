"""All policies of a source as one immutable revision."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from lictor.audit import canonical, digest
from lictor.engines.cel import CelEnvironment
from lictor.jsontypes import Json
from lictor.matching import Index
from lictor.model.names import BoundPolicyId, Digest
from lictor.model.policy import BoundPolicy, Policy
from lictor.ownership import Ownership
from lictor.policy.compiled import CompiledPolicy, compile_policy
from lictor.policy.faults import Fault, Faults, PolicyLoadError
from lictor.policy.native import ParsedPolicy, read_policy
from lictor.policy.overrides import Overrides, check_enforcement, faults_of_settings, override
from lictor.policy.yamltree import YamlError, read_documents
from lictor.ports.policy_source import PolicyFile

MAX_POLICIES: Final = 5000
"""In one snapshot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The law at one moment: every policy with its rules compiled.

    Attributes:
        digest: over the canonical contents of all policies as they are enforced, and of the
            ownership settings; names of files, comments and order do not change it.
        policies: in the order of their ids.
        index: finds the candidates for a request.
        environment: makes the activation that all CEL programs of a request share.
        compiled: the rules, by the id of the bound policy.
        ownership: which labels name an owner, and which owners are known.
    """

    digest: Digest
    policies: tuple[BoundPolicy, ...]
    index: Index
    environment: CelEnvironment
    compiled: Mapping[BoundPolicyId, CompiledPolicy]
    ownership: Ownership


def load(
    files: Sequence[PolicyFile],
    overrides: Overrides | None = None,
    *,
    ownership: Ownership | None = None,
) -> Snapshot:
    """Make a snapshot of all policies in `files`, or refuse them all.

    Raises:
        PolicyLoadError: something is wrong; names each fault with file, line and field.
    """
    overrides = overrides or Overrides()
    ownership = ownership or Ownership()
    faults: list[Fault] = []
    parsed = _parse(files, faults)
    faults.extend(_doubled(parsed))
    if not faults:
        # A policy that could not be read is not unknown.
        faults.extend(faults_of_settings(overrides, (item.policy.name for item in parsed)))
    if len(parsed) > MAX_POLICIES:
        what = f"{len(parsed)} policies; expected at most {MAX_POLICIES}"
        faults.append(Fault(file=parsed[-1].policy.source.name, what=what))
    if faults:
        raise PolicyLoadError(faults)
    return _snapshot(parsed, overrides, ownership=ownership)


def _parse(files: Sequence[PolicyFile], faults: list[Fault]) -> list[ParsedPolicy]:
    parsed: list[ParsedPolicy] = []
    for file in files:
        own = Faults(file.name)
        try:
            documents = read_documents(file.data)
        except YamlError as err:
            faults.append(Fault(file=file.name, line=err.line, what=str(err)))
            continue
        found = [read_policy(document, file.name, faults=own) for document in documents]
        parsed.extend(policy for policy in found if policy is not None)
        if not documents:
            own.add("", "it holds nothing", expected="a Policy")
        faults.extend(own.found)
    return parsed


def _doubled(parsed: Iterable[ParsedPolicy]) -> list[Fault]:
    first: dict[str, Policy] = {}
    faults = []
    for item in parsed:
        policy = item.policy
        other = first.setdefault(policy.name, policy)
        if other is not policy:
            faults.append(
                Fault(
                    file=policy.source.name,
                    line=item.lines.get("metadata.name", policy.source.line),
                    field="metadata.name",
                    what=f'"{policy.name}" is taken by {other.source.name}:{other.source.line}',
                    expected="a name of its own",
                )
            )
    return faults


def _snapshot(
    parsed: Iterable[ParsedPolicy], overrides: Overrides, *, ownership: Ownership
) -> Snapshot:
    environment = CelEnvironment()
    faults: list[Fault] = []
    compiled: dict[BoundPolicyId, CompiledPolicy] = {}
    for item in sorted(parsed, key=lambda item: item.policy.name):
        own = Faults(item.policy.source.name)
        own.lines.update(item.lines)
        enforced = ParsedPolicy(override(item.policy, overrides), item.lines)
        check_enforcement(enforced, overrides, faults=own)
        bound = BoundPolicy(id=BoundPolicyId(enforced.policy.name), policy=enforced.policy)
        program = compile_policy(bound, environment, faults=own)
        if program is not None:
            compiled[bound.id] = program
        faults.extend(own.found)
    if faults:
        raise PolicyLoadError(faults)
    policies = tuple(program.bound for program in compiled.values())
    return Snapshot(
        digest=_digest(policies, ownership),
        policies=policies,
        index=Index(policies),
        environment=environment,
        compiled=MappingProxyType(compiled),
        ownership=ownership,
    )


def _digest(policies: Iterable[BoundPolicy], ownership: Ownership) -> Digest:
    policies_form: list[Json] = [_enforced(bound) for bound in policies]
    labels: list[Json] = list(ownership.label_keys)
    registry: list[Json] = [*sorted(ownership.registry)]
    owners: Json = {"labels": labels, "registry": registry}
    return digest(canonical({"policies": policies_form, "owners": owners}))


def _enforced(bound: BoundPolicy) -> Json:
    enforcement = bound.policy.enforcement
    return {
        "id": bound.id,
        "digest": bound.policy.digest,
        "existing": enforcement.existing.value,
        "settleMilliseconds": round(enforcement.settle.total_seconds() * 1000),
    }
