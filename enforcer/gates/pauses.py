"""Pauses: `Pause` objects with a scope and an end, and the annotation `lictor.dev/paused`."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import msgspec

from lictor.errors import InputError
from lictor.model.document import Document
from lictor.model.names import PolicyName

PAUSED_ANNOTATION: Final = "lictor.dev/paused"

COMPONENT: Final = "enforcer"
"""Our name in `spec.scope.components`."""

LONGEST_SECONDS: Final = 14_400
"""The schema of the CRD says so too; read here as well, so that an edited CRD adds nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """One `Pause` object that names the enforcer; an empty scope covers everything."""

    name: str
    until: datetime
    namespaces: tuple[str, ...] = ()
    policies: tuple[str, ...] = ()

    def covers(self, *, namespace: str, policy: PolicyName) -> bool:
        """Return whether the scope has this namespace and this policy."""
        in_namespace = not self.namespaces or namespace in self.namespaces
        return in_namespace and (not self.policies or policy in self.policies)


class _Scope(msgspec.Struct, frozen=True):
    components: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()
    policies: tuple[str, ...] = ()


class _Spec(msgspec.Struct, frozen=True, rename="camel"):
    duration_seconds: int
    scope: _Scope = msgspec.field(default_factory=_Scope)


class _Pause(msgspec.Struct, frozen=True):
    spec: _Spec


def pause_of(document: Document) -> Pause | None:
    """Read a `Pause` object; None where its components leave the enforcer out.

    Raises:
        InputError: it is not a valid `Pause`.
    """
    try:
        spec = msgspec.json.decode(document.raw, type=_Pause).spec
        created = datetime.fromisoformat(document.meta.creation_timestamp or "")
    except (msgspec.DecodeError, ValueError) as err:
        raise InputError(f"Pause {document.meta.name}: {err}") from err
    if spec.scope.components and COMPONENT not in spec.scope.components:
        return None
    seconds = max(0, min(spec.duration_seconds, LONGEST_SECONDS))
    return Pause(
        name=document.meta.name,
        until=created + timedelta(seconds=seconds),
        namespaces=spec.scope.namespaces,
        policies=spec.scope.policies,
    )


def paused_until(
    pauses: Sequence[Pause], now: datetime, *, namespace: str, policy: PolicyName
) -> datetime | None:
    """Return the end of the longest pause that covers the policy in the namespace now."""
    ends = [
        pause.until
        for pause in pauses
        if pause.until > now and pause.covers(namespace=namespace, policy=policy)
    ]
    return max(ends, default=None)


def is_paused(document: Document) -> bool:
    """Return whether the object carries the annotation that pauses it."""
    return (document.meta.annotations or {}).get(PAUSED_ANNOTATION) == "true"
