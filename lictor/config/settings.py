"""All settings as frozen values. Keys in the file are the names here in camelCase."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from lictor.model.policy import Existing


def setting(default: Any, *, unit: str = "", reason: str) -> Any:  # noqa: ANN401 (as `field` is)
    """Declare one setting: its default, its unit and the reason for the default.

    A list or dict default becomes a factory.
    """
    metadata = {"unit": unit, "reason": reason}
    if isinstance(default, type):
        return field(default_factory=default, metadata=metadata)
    return field(default=default, metadata=metadata)


class AuditMode(StrEnum):
    """What a record that is not durable in time does to its answer (as in kube-apiserver)."""

    BLOCKING = "blocking"
    BLOCKING_STRICT = "blocking-strict"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSettings:
    """Which API server, and as whom."""

    kubeconfig: str = setting("", reason='a file; "" takes the Pod\'s ServiceAccount')
    request_timeout_seconds: float = setting(
        10.0, unit="s", reason="as long as the API server's own longest webhook default"
    )
    namespace: str = setting("lictor-system", reason="our own namespace, which is never judged")


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicySettings:
    """Where the law is read."""

    paths: tuple[str, ...] = setting((), reason="folders or files, read together as one revision")
    existing: dict[str, Existing] = setting(
        dict,
        reason="by policy name: overrides `enforcement.existing`, since enforcement on "
        "existing objects is switched on by a person, policy by policy",
    )
    settle_seconds: dict[str, float] = setting(
        dict, unit="s", reason="by policy name: overrides `enforcement.settle`"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnershipSettings:
    """Who may own objects, and which labels say so."""

    labels: tuple[str, ...] = setting(
        ("lictor.dev/owner", "lictor.dev/team"), reason="label keys, first match wins"
    )
    owners: tuple[str, ...] = setting(
        (), reason="the registry: only these become metric labels, all others are `unknown`"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditSettings:
    """The ledger of this process."""

    path: str = setting("", reason="SQLite file on a durable volume; must be set")
    origin: str = setting("", reason="name of the log and of its key; must be set")
    key: str = setting("", reason="file with the Ed25519 private key, readable by us alone")
    digest_key: str = setting("", reason="file with the key of the keyed digests (Secrets)")
    digest_epoch: str = setting("e1", reason="names the digest key in every keyed digest")
    writer: str = setting("w0", reason="name of this writer in `src.writer`")
    mode: AuditMode = setting(AuditMode.BLOCKING, reason="durable before the answer")
    wait_budget_seconds: float = setting(
        0.25, unit="s", reason="far below the webhook's timeout; then the mode decides"
    )
    queue_records: int = setting(10_000, unit="records", reason="kube-apiserver's audit buffer")
    batch_records: int = setting(512, unit="records", reason="beyond it a commit gains no speed")


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureClass:
    """One class of policies: a webhook path with a failure policy of its own."""

    name: str = setting("open", reason="last part of the path, and `enforcement.class` of a policy")
    failure_policy: str = setting(
        "Ignore", reason="Ignore: an outage of the gate must not stop the cluster; or Fail"
    )
    timeout_seconds: int = setting(5, unit="s", reason="1 to 30; Kubernetes' default is 10")


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrationSettings:
    """How the API server reaches the gate."""

    enabled: bool = setting(default=True, reason="off where webhooks are registered by other means")
    url: str = setting("", reason='base URL; "" registers the Service')
    service: str = setting("lictor-gate", reason="name of the Service in our namespace")
    service_port: int = setting(443, reason="port of the Service")
    secret: str = setting("lictor-gate-tls", reason="Secret with CA and serving certificate")
    name: str = setting("lictor", reason="name of both webhook configurations")


@dataclass(frozen=True, slots=True, kw_only=True)
class GateSettings:
    """The webhook server."""

    host: str = setting("0.0.0.0", reason="all interfaces of the Pod")  # noqa: S104
    port: int = setting(8443, reason="unprivileged; 0 picks a free one")
    metrics_port: int = setting(9443, reason="plain HTTP, for Prometheus; 0 picks a free one")
    review_bytes: int = setting(
        32 * 1024 * 1024,
        unit="bytes",
        reason="1 MB of `<` makes a 12 MB review: each travels as six bytes, in both states",
    )
    depth: int = setting(200, unit="levels", reason="no built-in kind passes 40")
    in_flight_bytes: int = setting(
        256 * 1024 * 1024, unit="bytes", reason="all bodies together; beyond it: denied, code 429"
    )
    keepalive_seconds: float = setting(
        120.0, unit="s", reason="Go closes idle connections after 90 s; to cut one first admits"
    )
    drain_seconds: float = setting(10.0, unit="s", reason="within a Pod's 30 s of grace")
    classes: tuple[FailureClass, ...] = setting((FailureClass(),), reason="one that fails open")
    registration: RegistrationSettings = setting(RegistrationSettings, reason="own section")


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetSettings:
    """How much the enforcer may write (gate G12)."""

    policy_objects: int = setting(5, unit="objects", reason="per policy and window, at least")
    policy_share: float = setting(0.01, unit="share", reason="or this share of what it governs")
    window_seconds: float = setting(600.0, unit="s", reason="window of the budget of a policy")
    cluster_writes: int = setting(60, unit="writes/min", reason="of all policies together")


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseSettings:
    """Leader election (client-go's defaults)."""

    name: str = setting("lictor-enforcer", reason="Lease in our namespace")
    identity: str = setting("", reason='"" takes host name and a random part')
    duration_seconds: float = setting(15.0, unit="s", reason="client-go")
    renew_deadline_seconds: float = setting(10.0, unit="s", reason="client-go")
    retry_seconds: float = setting(2.0, unit="s", reason="client-go")


@dataclass(frozen=True, slots=True, kw_only=True)
class EnforcerSettings:
    """The reconcile loop."""

    mode: Existing = setting(
        Existing.ENFORCE, reason="the most that any policy may do; `inform` is the kill switch"
    )
    state: str = setting("", reason="SQLite file for baselines and state; must be set")
    metrics_host: str = setting("0.0.0.0", reason="all interfaces of the Pod")  # noqa: S104
    metrics_port: int = setting(9444, reason="plain HTTP, for Prometheus; 0 picks a free one")
    workers: int = setting(8, reason="parallel across objects, serial per object")
    queue_keys: int = setting(200_000, unit="keys", reason="four times the governed objects")
    protected_namespaces: tuple[str, ...] = setting(
        ("kube-system", "kube-public", "kube-node-lease"), reason="gate G4: never written"
    )
    fight_heat: float = setting(5.0, reason="gate G10: quarantine; Config Sync's threshold")
    fight_delay_heat: float = setting(3.0, reason="gate G10: wait a minute first")
    resync_seconds: float = setting(600.0, unit="s", reason="polling fallback behind the watch")
    drain_seconds: float = setting(20.0, unit="s", reason="within a Pod's 30 s of grace")
    budget: BudgetSettings = setting(BudgetSettings, reason="own section")
    lease: LeaseSettings = setting(LeaseSettings, reason="own section")


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    """Structured logs on standard error."""

    level: str = setting("info", reason="debug, info, warning or error")
    format: str = setting("json", reason="json, or text for a person")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything; one file serves the gate and the enforcer."""

    cluster: ClusterSettings = setting(ClusterSettings, reason="own section")
    policies: PolicySettings = setting(PolicySettings, reason="own section")
    ownership: OwnershipSettings = setting(OwnershipSettings, reason="own section")
    audit: AuditSettings = setting(AuditSettings, reason="own section")
    gate: GateSettings = setting(GateSettings, reason="own section")
    enforcer: EnforcerSettings = setting(EnforcerSettings, reason="own section")
    log: LogSettings = setting(LogSettings, reason="own section")
