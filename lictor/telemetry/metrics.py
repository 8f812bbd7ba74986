"""Every metric, with its labels. None is ever a name, a uid or free text.

`owner` is a name of the registry, else `unknown`; `policy` is a bound policy's id; `kind` is a
resource that a loaded policy names.
"""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

REGISTRY: Final = CollectorRegistry()

_LATENCY: Final = (
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
)
_CONVERGENCE: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0)


def _counter(name: str, text: str, *labels: str) -> Counter:
    return Counter(name, text, labels, registry=REGISTRY)


def _gauge(name: str, text: str, *labels: str) -> Gauge:
    return Gauge(name, text, labels, registry=REGISTRY)


def _histogram(name: str, text: str, *labels: str, buckets: tuple[float, ...]) -> Histogram:
    return Histogram(name, text, labels, registry=REGISTRY, buckets=buckets)


# Both programs
POLICY_REVISION: Final = _gauge(
    "lictor_policy_revision_info", "1 for the policy set that is enforced.", "digest"
)
POLICIES: Final = _gauge("lictor_policies", "Loaded bound policies.")
VIOLATIONS: Final = _counter(
    "lictor_violations_total",
    "Violations found, at the gate and behind it.",
    "policy",
    "severity",
    "owner",
    "action",
    "origin",
)
POLICY_ERRORS: Final = _counter(
    "lictor_policy_errors_total", "Evaluations that failed.", "policy", "origin"
)
LEDGER_COMMITS: Final = _counter(
    "lictor_ledger_commits_total", "Group commits, each under a signed checkpoint.", "result"
)
LEDGER_RECORDS: Final = _counter("lictor_ledger_records_total", "Records committed.", "type")
LEDGER_COMMIT_SECONDS: Final = _histogram(
    "lictor_ledger_commit_seconds", "One group commit.", buckets=_LATENCY
)
LEDGER_GAPS: Final = _counter(
    "lictor_ledger_gaps_total", "Records that were not made durable in time.", "reason"
)
LEDGER_QUEUE: Final = _gauge("lictor_ledger_queue_records", "Records that wait for a commit.")
API_REQUESTS: Final = _counter(
    "lictor_api_requests_total", "Requests to the API server.", "verb", "code"
)
LIMIT_HITS: Final = _counter(
    "lictor_limit_hits_total", "Times that a limit of ours was reached.", "limit"
)
LEADER: Final = _gauge("lictor_leader", "1 while this process holds the Lease.", "lease")
WATCH_RESTARTS: Final = _counter(
    "lictor_watch_restarts_total", "Watches that ended.", "kind", "reason"
)
CACHED_OBJECTS: Final = _gauge("lictor_cached_objects", "Objects that an informer holds.", "kind")

# The gate
DECISIONS: Final = _counter(
    "lictor_gate_decisions_total", "Answers to reviews.", "phase", "decision", "operation"
)
REVIEW_SECONDS: Final = _histogram(
    "lictor_gate_review_seconds", "From the first byte to the answer.", "phase", buckets=_LATENCY
)
MALFORMED: Final = _counter(
    "lictor_gate_malformed_reviews_total", "Reviews that could not be read, by fault.", "fault"
)
IN_FLIGHT: Final = _gauge("lictor_gate_in_flight_bytes", "Bodies being read or answered.")
CERTIFICATE_EXPIRY: Final = _gauge(
    "lictor_gate_certificate_expiry_timestamp_seconds", "End of the serving certificate."
)

# The enforcer
RECONCILES: Final = _counter(
    "lictor_enforcer_reconciles_total", "Passes over one key.", "kind", "result"
)
RECONCILE_SECONDS: Final = _histogram(
    "lictor_enforcer_reconcile_seconds", "One pass over one key.", buckets=_LATENCY
)
DRIFT: Final = _counter(
    "lictor_enforcer_drift_detected_total", "Episodes of drift.", "policy", "kind", "owner"
)
GATE_HOLDS: Final = _counter(
    "lictor_enforcer_gate_holds_total", "Plans that a gate held.", "gate", "policy"
)
REMEDIATIONS: Final = _counter(
    "lictor_enforcer_remediations_total", "Automated writes.", "action", "result", "policy"
)
CONVERGENCE_SECONDS: Final = _histogram(
    "lictor_enforcer_convergence_seconds",
    "From the event to the verified repair.",
    buckets=_CONVERGENCE,
)
QUEUE_DEPTH: Final = _gauge("lictor_enforcer_queue_depth", "Keys that are ready.")
QUEUE_AGE: Final = _gauge(
    "lictor_enforcer_queue_oldest_seconds", "How long the oldest ready key has waited."
)
QUEUE_ADDS: Final = _counter("lictor_enforcer_queue_adds_total", "Keys added.")
QUEUE_RETRIES: Final = _counter("lictor_enforcer_queue_retries_total", "Keys put back.")
QUEUE_SECONDS: Final = _histogram(
    "lictor_enforcer_queue_seconds", "How long a key waited.", buckets=_LATENCY
)
QUEUE_UNFINISHED: Final = _gauge(
    "lictor_enforcer_unfinished_work_seconds", "The longest time that a key is being worked on."
)
GOVERNED: Final = _gauge(
    "lictor_enforcer_governed_objects", "Objects that some policy matches.", "kind"
)
OPEN_VIOLATIONS: Final = _gauge(
    "lictor_enforcer_open_violations", "Objects that violate now.", "policy", "severity", "owner"
)
BASELINES: Final = _counter("lictor_enforcer_baselines_total", "Baselines kept.", "result")
