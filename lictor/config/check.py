"""What must hold of settings beyond their types: ranges, and keys that belong together."""

import math
import re
from collections.abc import Iterator
from typing import Final

from lictor.config.settings import (
    BudgetSettings,
    EnforcerSettings,
    FailureClass,
    GateSettings,
    LeaseSettings,
    LogSettings,
    Settings,
)
from lictor.jsontypes import MAX_DEPTH
from lictor.model.document import MAX_OBJECT_BYTES

MAX_PORT: Final = 65535
RENEW_FACTOR: Final = 1.2
"""client-go's `JitterFactor`: a renewal may be late by that much."""

GO_IDLE_SECONDS: Final = 90.0
"""After which Go's HTTP client closes an idle connection; we must not be first."""

_MIB: Final = 1024 * 1024
# Part of the name of a webhook, which the API server takes only as a DNS name (RFC 1123).
_CLASS_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
# Parts of digests and receipts, between marks that a word must not hold.
_WORD: Final = re.compile(r"[A-Za-z0-9_.-]{1,32}")


def faults(settings: Settings) -> list[str]:
    """Return what is wrong with `settings`, one line each; empty where nothing is."""
    return [
        *_positive("cluster.requestTimeoutSeconds", settings.cluster.request_timeout_seconds),
        *(
            fault
            for name, seconds in settings.policies.settle_seconds.items()
            for fault in _between(f"policies.settleSeconds.{name}", seconds, low=0, high=86_400)
        ),
        *_between("audit.waitBudgetSeconds", settings.audit.wait_budget_seconds, low=0, high=30),
        *_between("audit.queueRecords", settings.audit.queue_records, low=1, high=1_000_000),
        *_between("audit.batchRecords", settings.audit.batch_records, low=1, high=100_000),
        *_record(settings),
        *_gate(settings.gate),
        *_enforcer(settings.enforcer),
        *_log(settings.log),
    ]


def _record(settings: Settings) -> Iterator[str]:
    for key, text in (
        ("digestEpoch", settings.audit.digest_epoch),
        ("writer", settings.audit.writer),
    ):
        if not _WORD.fullmatch(text):
            yield f'audit.{key} is "{text}"; expected 1 to 32 letters, digits, "_", "." or "-"'
    # The record is waited for within the time that a webhook has: a late denial admits.
    shortest = min((one.timeout_seconds for one in settings.gate.classes), default=1)
    seconds = settings.audit.wait_budget_seconds
    if seconds > shortest / 2:
        yield (
            f"audit.waitBudgetSeconds is {seconds}; expected at most half of the shortest "
            f"timeoutSeconds of gate.classes ({shortest})"
        )


def _gate(gate: GateSettings) -> Iterator[str]:
    yield from _between("gate.port", gate.port, low=0, high=MAX_PORT)
    yield from _between("gate.metricsPort", gate.metrics_port, low=0, high=MAX_PORT)
    if gate.port and gate.port == gate.metrics_port:
        yield f"gate.metricsPort is {gate.metrics_port}; expected another port than gate.port"
    # A review carries two states of an object: beyond that, and beyond the depth that the readers
    # of JSON follow, a larger number would change nothing.
    yield from _between("gate.reviewBytes", gate.review_bytes, low=_MIB, high=2 * MAX_OBJECT_BYTES)
    yield from _between("gate.depth", gate.depth, low=1, high=MAX_DEPTH)
    if gate.in_flight_bytes < gate.review_bytes:
        yield (
            f"gate.inFlightBytes is {gate.in_flight_bytes}; "
            f"expected at least gate.reviewBytes ({gate.review_bytes})"
        )
    if not gate.keepalive_seconds > GO_IDLE_SECONDS:
        yield (
            f"gate.keepaliveSeconds is {gate.keepalive_seconds}; expected more than "
            f"{GO_IDLE_SECONDS:g}: a connection that we cut first admits"
        )
    yield from _between("gate.drainSeconds", gate.drain_seconds, low=0, high=600)
    yield from _between(
        "gate.registration.servicePort", gate.registration.service_port, low=1, high=MAX_PORT
    )
    url = gate.registration.url
    if url and not url.startswith("https://"):
        yield f'gate.registration.url is "{url}"; expected an https:// URL'
    yield from _classes(gate.classes)


def _classes(classes: tuple[FailureClass, ...]) -> Iterator[str]:
    if not classes:
        yield "gate.classes is empty; expected at least one failure class"
    names: set[str] = set()
    for place, one in enumerate(classes):
        key = f"gate.classes[{place}]"
        if one.name in names:
            yield f'{key}.name is "{one.name}"; expected a name of its own'
        names.add(one.name)
        if not _CLASS_NAME.fullmatch(one.name):
            expected = 'lower case letters and digits, with "-" between them, at most 63'
            yield f'{key}.name is "{one.name}"; expected {expected}'
        if one.failure_policy not in {"Ignore", "Fail"}:
            yield f'{key}.failurePolicy is "{one.failure_policy}"; expected Ignore or Fail'
        yield from _between(f"{key}.timeoutSeconds", one.timeout_seconds, low=1, high=30)


def _enforcer(enforcer: EnforcerSettings) -> Iterator[str]:
    yield from _between("enforcer.metricsPort", enforcer.metrics_port, low=0, high=MAX_PORT)
    yield from _between("enforcer.workers", enforcer.workers, low=1, high=256)
    yield from _between("enforcer.queueKeys", enforcer.queue_keys, low=1, high=10_000_000)
    yield from _positive("enforcer.fightDelayHeat", enforcer.fight_delay_heat)
    if not enforcer.fight_heat > enforcer.fight_delay_heat:
        yield (
            f"enforcer.fightHeat is {enforcer.fight_heat}; "
            f"expected more than enforcer.fightDelayHeat ({enforcer.fight_delay_heat})"
        )
    yield from _between("enforcer.resyncSeconds", enforcer.resync_seconds, low=1, high=86_400)
    yield from _between("enforcer.drainSeconds", enforcer.drain_seconds, low=0, high=600)
    yield from _budget(enforcer.budget)
    yield from _lease(enforcer.lease)


def _budget(budget: BudgetSettings) -> Iterator[str]:
    key = "enforcer.budget"
    yield from _between(f"{key}.policyObjects", budget.policy_objects, low=0, high=10_000_000)
    yield from _between(f"{key}.policyShare", budget.policy_share, low=0, high=1)
    yield from _positive(f"{key}.windowSeconds", budget.window_seconds)
    yield from _between(f"{key}.clusterWrites", budget.cluster_writes, low=0, high=10_000_000)


def _lease(lease: LeaseSettings) -> Iterator[str]:
    key = "enforcer.lease"
    yield from _positive(f"{key}.retrySeconds", lease.retry_seconds)
    if not lease.duration_seconds >= 1:
        # The API holds whole seconds, and refuses 0.
        yield f"{key}.durationSeconds is {lease.duration_seconds}; expected at least 1"
    if not lease.duration_seconds > lease.renew_deadline_seconds:
        yield (
            f"{key}.durationSeconds is {lease.duration_seconds}; "
            f"expected more than renewDeadlineSeconds ({lease.renew_deadline_seconds})"
        )
    if not lease.renew_deadline_seconds > RENEW_FACTOR * lease.retry_seconds:
        yield (
            f"{key}.renewDeadlineSeconds is {lease.renew_deadline_seconds}; "
            f"expected more than {RENEW_FACTOR} * retrySeconds ({lease.retry_seconds})"
        )


def _log(log: LogSettings) -> Iterator[str]:
    if log.level not in {"debug", "info", "warning", "error"}:
        yield f'log.level is "{log.level}"; expected debug, info, warning or error'
    if log.format not in {"json", "text"}:
        yield f'log.format is "{log.format}"; expected json or text'


def _between(key: str, value: float, *, low: float, high: float) -> Iterator[str]:
    if not low <= value <= high:
        yield f"{key} is {value}; expected {low} to {high}"


def _positive(key: str, value: float) -> Iterator[str]:
    if not 0 < value < math.inf:
        yield f"{key} is {value}; expected a number above 0"
