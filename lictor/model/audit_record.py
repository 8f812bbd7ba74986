"""The record `audit/1`: the closed schema of what the ledger holds.

Field names become JSON keys in camelCase; an empty field is left out. New fields come only with a
new version, new types may come at any time.
"""

from enum import StrEnum
from typing import Final

import msgspec

SCHEMA_VERSION: Final = "audit/1"


class RecordType(StrEnum):
    """The types of record; a verifier also accepts types that it does not know."""

    LOG_GENESIS = "log.genesis"
    BOOT_START = "boot.start"
    BOOT_STOP = "boot.stop"
    POLICY_SET = "policy.set"
    EXEMPTION_SET = "exemption.set"
    ADMISSION_DECISION = "admission.decision"
    DRIFT_DETECTED = "drift.detected"
    REMEDIATION_INTENT = "remediation.intent"
    REMEDIATION_OUTCOME = "remediation.outcome"
    HEARTBEAT = "heartbeat"
    KEY_ROTATE = "key.rotate"
    AUDIT_GAP = "audit.gap"
    REDACT = "redact"
    PRUNE = "prune"


class _Section(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """A part of a record."""


class SourceSection(_Section, frozen=True, kw_only=True):
    """Who wrote the record; filled in by the sequencer."""

    cluster: str = ""
    writer: str = ""
    boot: str = ""
    wseq: int | None = None
    version: str = ""
    image: str = ""


class UserSection(_Section, frozen=True, kw_only=True):
    """Who asked. Name and groups are personal data."""

    name: str = ""
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: str = ""
    """Digest of `userInfo.extra`."""


class RequestSection(_Section, frozen=True, kw_only=True):
    """The admission request, as digests."""

    uid: str = ""
    op: str = ""
    dry_run: bool | None = None
    gvk: tuple[str, str, str] | None = None
    gvr: tuple[str, str, str] | None = None
    sub: str = ""
    ns: str = ""
    name: str = ""
    obj_uid: str = ""
    rv: str = ""
    user: UserSection | None = None
    body: str = ""
    obj: str = ""
    old: str = ""
    attest: str = ""
    options: str = ""
    bytes: int | None = None


class PolicySection(_Section, frozen=True, kw_only=True):
    """Which law was applied, with what else it read."""

    set: str = ""
    engine: str = ""
    inputs: str = ""
    evaluated: int | None = None


class DecisionSection(_Section, frozen=True, kw_only=True):
    """The answer given; not necessarily the effect, since the API server may have timed out."""

    allowed: bool | None = None
    code: int | None = None
    mode: str = ""
    patch: str = ""
    """Digest of the JSON Patch that was answered."""
    resp: str = ""
    us: int | None = None
    cause: str = ""


class OwnerSection(_Section, frozen=True, kw_only=True):
    """The owner of the object, and how it was found."""

    name: str = ""
    by: str = ""


class ViolationSection(_Section, frozen=True, kw_only=True):
    """One broken rule of one bound policy.

    Attributes:
        prm: the parameter object, or its digest; empty until policies have parameters.
        val: commitment to the violating value (`Digester.value`). Nothing fills it yet: its salt
            takes the `wseq`, which the sequencer alone gives, so the sequencer has to make it.
    """

    p: str = ""
    b: str = ""
    prm: str = ""
    r: str = ""
    sev: str = ""
    path: str = ""
    val: str = ""
    msg: str = ""


class ExemptionSection(_Section, frozen=True, kw_only=True):
    """A grant that was applied."""

    id: str = ""
    digest: str = ""


class ObjectSection(_Section, frozen=True, kw_only=True):
    """The object that an automated write is about."""

    gvr: tuple[str, str, str] | None = None
    ns: str = ""
    name: str = ""
    uid: str = ""


class ReasonSection(_Section, frozen=True, kw_only=True):
    """Why an automated write is made."""

    drift: int | None = None
    policies: tuple[str, ...] = ()


class StateSection(_Section, frozen=True, kw_only=True):
    """A state of the object before or after the write."""

    rv: str = ""
    digest: str = ""


class AuditRecord(_Section, frozen=True, kw_only=True):
    """One record. A draft has no `src`, `ts` and `mono`: the sequencer gives them.

    Attributes:
        ts: RFC 3339 in UTC with microseconds.
        mono: nanoseconds of the writer's monotonic clock.
        act: `apply`, `patch`, `delete` or `notify`.
        intent: `wseq` of the intent that an outcome belongs to.
        gate: reason code of the gate that held.
        result: `applied`, `conflict`, `gone`, `denied`, `error` or `unknown`.
        http: HTTP status of the write.
        attempt: number of the try, from 1 (`try` on the wire).
        detail: for types without a section of their own (genesis, boot, policy set, gap).
    """

    v: str = msgspec.field(default="", name="v")
    type: RecordType
    ts: str = ""
    mono: int | None = None
    src: SourceSection | None = None
    req: RequestSection | None = None
    pol: PolicySection | None = None
    dec: DecisionSection | None = None
    owner: OwnerSection | None = None
    viol: tuple[ViolationSection, ...] = ()
    exempt: tuple[ExemptionSection, ...] = ()
    trace: str = ""
    obj: ObjectSection | None = None
    why: ReasonSection | None = None
    act: str = ""
    before: StateSection | None = None
    patch: str = ""
    after: StateSection | None = None
    intent: int | None = None
    change: str = ""
    reconcile: str = ""
    plan: str = ""
    gate: str = ""
    risk: str = ""
    result: str = ""
    http: int | None = None
    attempt: int | None = msgspec.field(default=None, name="try")
    detail: dict[str, str | int] | None = None
