"""Passes over keys on simulated ports: what goes wrong between the stages."""

from typing import Any

import pytest

from enforcer.loop import Result
from lictor.errors import (
    AuditUnavailableError,
    ForbiddenError,
    InvalidError,
    ThrottledError,
    UnavailableError,
)
from lictor.jsontypes import JsonObject
from lictor.model.audit_record import RecordType
from lictor.model.document import Document
from lictor.model.names import Gvr, ObjectKey
from lictor.policy import Snapshot, load
from lictor.ports.policy_source import PolicyFile
from lictor.ports.state_store import StateKind
from testkit.enforcing import DEPLOYMENTS, deployment
from testkit.simulators.enforcer import SECRETS, SimulatedEnforcer

_KEY = ObjectKey(DEPLOYMENTS, "shop", "web")
_SECRET = ObjectKey(SECRETS, "shop", "password")
_NAMESPACE = ObjectKey(Gvr("", "v1", "namespaces"), "", "shop")

_SHOP: JsonObject = {
    "apiVersion": "v1",
    "kind": "Namespace",
    "metadata": {"name": "shop", "labels": {"watched": "yes"}},
}
_POLICY = """
apiVersion: lictor.dev/v1alpha1
kind: Policy
metadata: {{name: {name}}}
spec:
  title: No label {label}
  severity: high
  match:
    resourceRules:
      - {{apiGroups: [apps], apiVersions: [v1], operations: [CREATE], resources: [deployments]}}
      - {{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [secrets]}}
  validations:
    - cel:
        expression: "!has(object.metadata.labels) || !('{label}' in object.metadata.labels)"
        messageExpression: >-
          'no {label} ' + (has(object.data) ? object.data.value : '')
  enforcement: {{existing: {existing}, settle: 0s}}
"""


def _law(*policies: tuple[str, str]) -> Snapshot:
    return load(
        [
            PolicyFile(
                f"{label}.yaml",
                _POLICY.format(name=f"no-{label}", label=label, existing=existing).encode(),
            )
            for label, existing in policies
        ]
    )


@pytest.fixture(scope="module")
def law() -> Snapshot:
    """Two policies that repair, and one that only reports."""
    return _law(("bad", "enforce"), ("worse", "enforce"), ("odd", "inform"))


@pytest.fixture
async def enforcer(law: Snapshot) -> SimulatedEnforcer:
    """An enforcer that has seen a good Deployment."""
    made = SimulatedEnforcer(law=law)
    made.put(
        _SHOP,
        resource=_NAMESPACE.resource,
    )
    made.put(deployment(labels={"app": "web"}))
    await made.look(_KEY)
    return made


def _drift(enforcer: SimulatedEnforcer, **labels: str) -> Document:
    return enforcer.put(deployment(labels={"app": "web", **labels}))


def _labels(enforcer: SimulatedEnforcer) -> dict[str, str]:
    return dict(enforcer.cluster.objects[_KEY].meta.labels or {})


async def test_reconcile_reverts(enforcer: SimulatedEnforcer) -> None:
    """A pass over a drifted object ends with its repair; the next pass is clean."""
    _drift(enforcer, bad="1")

    done = await enforcer.look(_KEY)

    assert done.result is Result.REPAIRED
    assert _labels(enforcer) == {"app": "web"}
    assert [entry[0] for entry in enforcer.cluster.log] == ["dry-patch", "patch"]
    assert (await enforcer.look(_KEY)).result is Result.CLEAN


async def test_reconcile_costs_no_call_when_clean(enforcer: SimulatedEnforcer) -> None:
    """A clean pass is answered by the caches alone."""
    enforcer.cluster.failure = UnavailableError("no call is expected")
    enforcer.caches[_NAMESPACE.resource].release()
    enforcer.stages.evaluator._reader = _CacheOnly(enforcer)

    assert (await enforcer.look(_KEY)).result is Result.CLEAN


class _CacheOnly:
    def __init__(self, enforcer: SimulatedEnforcer) -> None:
        self._caches = enforcer.caches

    async def get(self, key: ObjectKey) -> Document | None:
        return self._caches[key.resource].latest(key)


async def test_reconcile_reads_its_own_write(enforcer: SimulatedEnforcer) -> None:
    """While the cache lags behind our write, the old state in it is not repaired again."""
    _drift(enforcer, bad="1")
    enforcer.caches[DEPLOYMENTS].held = True
    await enforcer.look(_KEY)

    again = await enforcer.look(_KEY)

    assert again.result is Result.CLEAN
    assert enforcer.writes() == [("patch", _KEY)]
    assert len(enforcer.records(RecordType.DRIFT_DETECTED)) == 1
    enforcer.caches[DEPLOYMENTS].release()
    assert (await enforcer.look(_KEY)).result is Result.CLEAN


async def test_reconcile_sees_a_drift_that_follows_its_write(enforcer: SimulatedEnforcer) -> None:
    """The distrust of the cache never hides the next drift."""
    enforcer.caches[DEPLOYMENTS].held = True
    _drift(enforcer, bad="1")
    enforcer.caches[DEPLOYMENTS].release()
    enforcer.caches[DEPLOYMENTS].held = True
    await enforcer.look(_KEY)
    _drift(enforcer, worse="1")

    assert (await enforcer.look(_KEY)).result is Result.REPAIRED
    assert _labels(enforcer) == {"app": "web"}


async def test_reconcile_does_not_write_without_a_record(enforcer: SimulatedEnforcer) -> None:
    """With the ledger down nothing is written, and no budget is spent."""
    _drift(enforcer, bad="1")
    await _fails_from(enforcer, RecordType.REMEDIATION_INTENT)

    with pytest.raises(AuditUnavailableError):
        await enforcer.look(_KEY)

    assert enforcer.cluster.log == []
    assert enforcer.stages.memory.budgets.of_cluster(0.0).spent == 0


@pytest.mark.parametrize("strict", [True, False], ids=["raises", "not durable"])
async def test_reconcile_does_nothing_unreported(
    enforcer: SimulatedEnforcer, *, strict: bool
) -> None:
    """Whatever the ledger's mode: a drift that cannot be recorded is not acted on."""
    _drift(enforcer, bad="1")
    enforcer.sink.failing, enforcer.sink.strict = True, strict

    with pytest.raises(AuditUnavailableError):
        await enforcer.look(_KEY)

    assert enforcer.cluster.log == []


async def test_reconcile_pays_an_outcome_that_it_owes(enforcer: SimulatedEnforcer) -> None:
    """An outcome that could not be recorded is recorded when the ledger is back."""
    _drift(enforcer, bad="1")
    await _fails_from(enforcer, RecordType.REMEDIATION_OUTCOME)
    await enforcer.look(_KEY)
    assert len(enforcer.open_intents()) == 1

    enforcer.sink.failing = False
    await enforcer.reconciler.repairer.pay_owed()

    assert enforcer.open_intents() == ()
    assert [one.result for one in enforcer.outcomes()] == ["applied"]


async def test_reconcile_resolves_an_open_intent_after_a_crash(enforcer: SimulatedEnforcer) -> None:
    """An intent whose process died gets its outcome from what is there."""
    _drift(enforcer, bad="1")
    await _fails_from(enforcer, RecordType.REMEDIATION_OUTCOME)
    await enforcer.look(_KEY)
    enforcer.sink.failing = False

    enforcer.restart()
    await enforcer.recover()

    assert [one.result for one in enforcer.outcomes()] == ["applied"]
    assert (await enforcer.look(_KEY)).result is Result.CLEAN


async def test_reconcile_tries_again_after_a_conflict(enforcer: SimulatedEnforcer) -> None:
    """A foreign write between read and write costs one try, and is not overwritten."""
    _drift(enforcer, bad="1")
    _between(enforcer, lambda: _drift(enforcer, bad="1", foreign="1"))

    first = await enforcer.look(_KEY)
    second = await enforcer.look(_KEY)

    assert (first.result, first.retry) == (Result.RETRY, True)
    assert second.result is Result.REPAIRED
    assert _labels(enforcer) == {"app": "web", "foreign": "1"}
    assert [one.result for one in enforcer.outcomes()] == ["conflict", "applied"]
    assert len(enforcer.records(RecordType.DRIFT_DETECTED)) == 1


async def test_reconcile_gives_up_what_is_refused_for_good(enforcer: SimulatedEnforcer) -> None:
    """A refusal that is final is tried again after ten minutes, not at once."""
    _drift(enforcer, bad="1")
    _between(enforcer, lambda: None, error=InvalidError("immutable", code=422))
    refused = await enforcer.look(_KEY)
    held = await enforcer.look(_KEY)
    enforcer.clock.seconds += 601

    repaired = await enforcer.look(_KEY)

    assert refused.result is Result.HELD
    assert held.result is Result.HELD
    assert [notice.reason for notice in enforcer.events.notices] == ["RepairRefused"]
    assert repaired.result is Result.REPAIRED
    assert [(one.result, one.gate) for one in enforcer.outcomes()] == [
        ("denied", ""),
        ("denied", "escalated"),
        ("applied", ""),
    ]


async def test_reconcile_tries_a_403_again_soon(enforcer: SimulatedEnforcer) -> None:
    """An API server that has just started forbids everything until it has read its roles."""
    _drift(enforcer, bad="1")
    _between(enforcer, lambda: None, error=ForbiddenError("no roles yet", code=403))
    refused = await enforcer.look(_KEY)
    enforcer.clock.seconds += 1.5

    repaired = await enforcer.look(_KEY)

    assert (refused.result, refused.after_seconds) == (Result.HELD, 1.0)
    assert enforcer.events.notices == []
    assert repaired.result is Result.REPAIRED


async def test_reconcile_waits_longer_after_each_403(enforcer: SimulatedEnforcer) -> None:
    """A right that stays missing is no hot loop, and after a minute somebody is told."""
    _drift(enforcer, bad="1")
    waits = []
    for _ in range(11):
        _between(enforcer, lambda: None, error=ForbiddenError("no right", code=403))
        refused = await enforcer.look(_KEY)
        waits.append(refused.after_seconds)
        enforcer.clock.seconds += (refused.after_seconds or 0.0) + 0.5

    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 600]
    assert len(enforcer.events.notices) == 5


async def test_reconcile_waits_as_long_as_the_server_asks(enforcer: SimulatedEnforcer) -> None:
    """429 puts the key back after the time that the server names."""
    _drift(enforcer, bad="1")
    _between(enforcer, lambda: None, error=ThrottledError("x", retry_after_seconds=7.0))

    done = await enforcer.look(_KEY)

    assert (done.result, done.after_seconds) == (Result.RETRY, 7.0)


async def test_reconcile_looks_up_a_write_without_an_answer(enforcer: SimulatedEnforcer) -> None:
    """A write whose answer was lost took effect, as the next read shows."""
    _drift(enforcer, bad="1")

    def lost() -> None:
        enforcer.put(deployment(labels={"app": "web"}))

    _between(enforcer, lost, error=UnavailableError("cut"))

    done = await enforcer.look(_KEY)

    assert done.result is Result.REPAIRED
    assert [one.result for one in enforcer.outcomes()] == ["applied"]


async def test_reconcile_does_not_act_while_a_cache_is_not_synced(
    enforcer: SimulatedEnforcer,
) -> None:
    """A Pause that a cache does not show yet must not be overlooked."""
    _drift(enforcer, bad="1")
    for cache in enforcer.caches.values():
        cache.is_synced = False

    done = await enforcer.look(_KEY)

    assert done.result is Result.RETRY
    assert enforcer.cluster.log == []


async def test_reconcile_never_uses_the_baseline_of_another_object(
    enforcer: SimulatedEnforcer,
) -> None:
    """An object made anew under the same name has no baseline yet."""
    enforcer.cluster.remove(_KEY)
    await enforcer.look(_KEY)
    enforcer.put(deployment(labels={"bad": "1"}))

    done = await enforcer.look(_KEY)

    assert done.result is Result.NOTIFIED
    assert enforcer.writes() == []
    assert enforcer.outcomes()[-1].gate == "baseline-missing"


async def test_reconcile_forgets_what_is_gone(enforcer: SimulatedEnforcer) -> None:
    """Nothing is kept of an object that is deleted."""
    _drift(enforcer, odd="1")
    await enforcer.look(_KEY)
    assert enforcer.baselines.baselines
    enforcer.cluster.remove(_KEY)

    done = await enforcer.look(_KEY)

    assert done.result is Result.GONE
    assert not enforcer.baselines.baselines
    assert not enforcer.states.states


async def test_reconcile_reports_without_planning(enforcer: SimulatedEnforcer) -> None:
    """A policy in mode `inform` leads to records, and to no call of the API server."""
    _drift(enforcer, odd="1")

    done = await enforcer.look(_KEY)
    await enforcer.look(_KEY)

    assert done.result is Result.HELD
    assert enforcer.cluster.log == []
    assert [one.type.value for one in enforcer.records()] == [
        "drift.detected",
        "remediation.outcome",
    ]
    assert enforcer.outcomes()[0].gate == "mode-inform"


async def test_reconcile_records_one_drift_through_a_restart(enforcer: SimulatedEnforcer) -> None:
    """A drift that is held is not reported again by the next life."""
    _drift(enforcer, odd="1")
    await enforcer.look(_KEY)

    enforcer.restart()
    await enforcer.look(_KEY)

    assert len(enforcer.records()) == 2


async def test_reconcile_never_shows_a_secret(enforcer: SimulatedEnforcer) -> None:
    """Of a Secret only keyed digests are kept, and no message about it leaves with its value."""
    canary = "Y2FuYXJ5LXZhbHVl"
    tree: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "password", "namespace": "shop", "labels": {}},
        "data": {"value": canary},
    }
    enforcer.put(tree, resource=SECRETS)
    await enforcer.look(_SECRET)
    tree["metadata"]["labels"] = {"bad": "1"}
    enforcer.put(tree, resource=SECRETS)

    done = await enforcer.look(_SECRET)

    assert done.result is Result.NOTIFIED
    assert enforcer.outcomes()[-1].gate == "baseline-digest-only"
    kept = f"{enforcer.sink.records} {enforcer.events.notices} {enforcer.states.states}"
    (baseline,) = [one for one in enforcer.baselines.baselines.values() if one.key == _SECRET]
    assert baseline.body is None
    assert baseline.digest.startswith("hmac-sha256:")
    assert canary not in kept
    assert canary not in str(baseline)


async def test_reconcile_keeps_the_state_that_was_overtaken(law: Snapshot) -> None:
    """A good state that was overtaken before it was judged becomes the baseline."""
    enforcer = SimulatedEnforcer(law=law)
    enforcer.put(
        _SHOP,
        resource=_NAMESPACE.resource,
    )
    enforcer.put(deployment(labels={"app": "web"}))
    _drift(enforcer, bad="1")
    _drift(enforcer, bad="1", more="1")

    done = await enforcer.look(_KEY)

    assert done.result is Result.REPAIRED
    assert _labels(enforcer) == {"app": "web", "more": "1"}


async def test_reconcile_judges_again_when_a_fact_was_missing() -> None:
    """What could not be judged for want of a fact is put back, and does not become a baseline."""
    selector = "match:\n    namespaceSelector: {matchLabels: {watched: 'yes'}}\n"
    text = _POLICY.format(name="no-bad", label="bad", existing="enforce")
    file = PolicyFile("no-bad.yaml", text.replace("match:\n", selector).encode())
    enforcer = SimulatedEnforcer(law=load([file]))
    enforcer.put(_SHOP, resource=_NAMESPACE.resource)
    enforcer.put(deployment(labels={"app": "web"}))
    await enforcer.look(_KEY)
    enforcer.cluster.failure = UnavailableError("no namespaces")
    _drift(enforcer, team="1")

    done = await enforcer.look(_KEY)

    assert (done.result, done.retry) == (Result.CLEAN, True)
    (baseline,) = enforcer.baselines.baselines.values()
    assert b"team" not in (baseline.body or b"")


async def _fails_from(enforcer: SimulatedEnforcer, kind: RecordType) -> None:
    """Let the ledger fail from the first record of this type on."""
    append, failed = enforcer.sink.append, []

    async def failing(draft: Any) -> Any:  # noqa: ANN401
        if draft.type is kind and not failed:
            failed.append(kind)
            enforcer.sink.failing = True
        return await append(draft)

    enforcer.stages.scribe._sink = _Appends(failing)


class _Appends:
    def __init__(self, append: Any) -> None:  # noqa: ANN401
        self.append = append


def _between(enforcer: SimulatedEnforcer, act: Any, *, error: Exception | None = None) -> None:  # noqa: ANN401
    """Act once between the dry run and the write, and let the write fail."""
    patch = enforcer.writer.patch
    acted: list[bool] = []

    async def intercepted(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        if not kwargs["dry_run"] and not acted:
            acted.append(True)
            act()
            if error is not None:
                raise error
        return await patch(*args, **kwargs)

    enforcer.stages.actor._writer = _Patches(intercepted)


class _Patches:
    def __init__(self, patch: Any) -> None:  # noqa: ANN401
        self.patch = patch


async def test_reconcile_counts_no_status_as_a_foreign_write(enforcer: SimulatedEnforcer) -> None:
    """The quiet time of a quarantine goes on while only the status changes."""
    drifted = _drift(enforcer, bad="1")
    stages = enforcer.stages
    await stages.memory.heats.quarantine(
        drifted.uid,
        policy_set=stages.evaluator.policy_set,
        state=stages.digester.attest(drifted),
        now=stages.clock.now().timestamp() - 3600,
    )
    before = enforcer.states.read(StateKind.QUARANTINE, drifted.uid)
    enforcer.put({**deployment(labels={"app": "web", "bad": "1"}), "status": {"replicas": 1}})

    held = await enforcer.look(_KEY)

    assert held.result is Result.HELD
    assert enforcer.states.read(StateKind.QUARANTINE, drifted.uid) == before
