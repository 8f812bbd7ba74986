"""The enforcer against whatever may happen around it, on simulated ports."""

import asyncio
from contextlib import suppress
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from lictor.errors import LictorError, UnavailableError
from lictor.jsontypes import JsonObject
from lictor.model.audit_record import RecordType
from lictor.model.document import Document
from lictor.model.names import Gvr, ObjectKey
from lictor.policy import load
from lictor.ports.policy_source import PolicyFile
from testkit.enforcing import DEPLOYMENTS, deployment
from testkit.simulators.enforcer import SimulatedEnforcer

_SHOP: JsonObject = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}
_NAMESPACES = Gvr("", "v1", "namespaces")
_POLICY = """
apiVersion: lictor.dev/v1alpha1
kind: Policy
metadata: {{name: no-{label}}}
spec:
  title: No label {label}
  severity: high
  match:
    resourceRules:
      - {{apiGroups: [apps], apiVersions: [v1], operations: [CREATE], resources: [deployments]}}
  validations:
    - cel: {{expression: "!('{label}' in object.metadata.labels)", message: remove it}}
  enforcement: {{existing: enforce, settle: 0s}}
"""
_LAW = load(
    [PolicyFile(f"{one}.yaml", _POLICY.format(label=one).encode()) for one in ("bad", "worse")]
)
_NAMES = st.sampled_from(["a", "b"])
_BAD = ("bad", "worse")


class EnforcerMachine(RuleBasedStateMachine):
    """Writes, crashes, lags and failures in any order; then peace."""

    @initialize()
    def begin(self) -> None:
        """Start with two good objects that have been seen."""
        self.enforcer = SimulatedEnforcer(law=_LAW)
        self.enforcer.put(_SHOP, resource=_NAMESPACES)
        self.led_writes = True
        self.labels: dict[str, dict[str, str]] = {}
        self.version = 0
        for name in ("a", "b"):
            self._write(name, {"app": name})
            self._look(name)
        patch = self.enforcer.writer.patch

        async def watched(*args: Any, **kwargs: Any) -> Document:  # noqa: ANN401
            if not kwargs["dry_run"]:
                self.led_writes = self.led_writes and self.enforcer.leads
                # Nothing is written that is not on record before.
                assert self.enforcer.open_intents()
            return await patch(*args, **kwargs)

        self.enforcer.writer.patch = watched  # type: ignore[method-assign] - the only way to watch

    @rule(name=_NAMES, label=st.sampled_from([*_BAD, "team"]), value=st.sampled_from("12"))
    def drift(self, name: str, label: str, value: str) -> None:
        """Somebody sets a label, allowed or not, on what is there now."""
        live = self.enforcer.cluster.objects[self._key(name)]
        self._write(name, {**(live.meta.labels or {}), label: value})

    @rule(name=_NAMES)
    def look(self, name: str) -> None:
        """A worker passes over the key."""
        self._look(name)

    @rule()
    def restart(self) -> None:
        """The process is killed, and the next one begins."""
        self.enforcer.restart()
        self._recover()

    @rule(failing=st.booleans())
    def break_ledger(self, *, failing: bool) -> None:
        """The ledger fails, or is back."""
        self.enforcer.sink.failing = failing

    @rule(failing=st.booleans())
    def break_api(self, *, failing: bool) -> None:
        """The API server cannot be reached, or is back."""
        self.enforcer.cluster.failure = UnavailableError("down") if failing else None

    @rule(leads=st.booleans())
    def lead(self, *, leads: bool) -> None:
        """The Lease is lost, or held again."""
        self.enforcer.leads = leads

    @rule(held=st.booleans())
    def lag(self, *, held: bool) -> None:
        """The watch lags behind, or has caught up."""
        cache = self.enforcer.caches[DEPLOYMENTS]
        if held:
            cache.held = True
        else:
            cache.release()

    @rule(seconds=st.integers(1, 3600))
    def pass_time(self, seconds: int) -> None:
        """Time passes."""
        self.enforcer.clock.seconds += seconds

    @invariant()
    def only_the_leader_writes(self) -> None:
        """No write is sent without the Lease."""
        assert getattr(self, "led_writes", True)

    @invariant()
    def nothing_is_deleted(self) -> None:
        """Whatever happens, the enforcer deletes nothing."""
        if hasattr(self, "enforcer"):
            assert all(verb == "patch" for verb, _ in self.enforcer.writes())

    @invariant()
    def each_change_has_one_outcome(self) -> None:
        """No intent has two outcomes, and no outcome is without its intent."""
        if not hasattr(self, "enforcer"):
            return
        intents = self.enforcer.records(RecordType.REMEDIATION_INTENT)
        tried = [one.change for one in self.enforcer.outcomes() if one.intent is not None]
        assert len(tried) == len(set(tried))
        assert set(tried) <= {one.change for one in intents}

    def teardown(self) -> None:
        """When everything works again, no violation is left, and nothing lawful was lost."""
        if not hasattr(self, "enforcer"):
            return
        enforcer = self.enforcer
        enforcer.sink.failing, enforcer.cluster.failure, enforcer.leads = False, None, True
        enforcer.caches[DEPLOYMENTS].release()
        self._run(enforcer.reconciler.repairer.pay_owed())
        self._recover()
        for _ in range(4):
            # Beyond any delay of a fight, any escalation and the heat of all that was.
            enforcer.clock.seconds += 700
            for name in ("a", "b"):
                self._look(name)
        for name in ("a", "b"):
            left = dict(enforcer.cluster.objects[self._key(name)].meta.labels or {})
            if not self._is_quarantined(name):
                assert not set(left) & set(_BAD)
            wanted = {key: at for key, at in self.labels[name].items() if key not in _BAD}
            assert {key: at for key, at in left.items() if key not in _BAD} == wanted
        assert enforcer.open_intents() == ()

    def _is_quarantined(self, name: str) -> bool:
        uid = self.enforcer.cluster.objects[self._key(name)].uid
        return any(
            one.gate == "quarantined" and one.obj is not None and one.obj.uid == uid
            for one in self.enforcer.outcomes()
        )

    def _write(self, name: str, labels: dict[str, str]) -> None:
        self.labels[name] = labels
        self.enforcer.put(deployment(name=name, labels=dict(labels)))

    def _look(self, name: str) -> None:
        with suppress(LictorError):  # the loop puts the key back
            self._run(self.enforcer.look(self._key(name)))

    def _recover(self) -> None:
        try:
            self._run(self.enforcer.recover())
        except LictorError:
            # The next life does not write before this has succeeded.
            self.enforcer.leads = False

    @staticmethod
    def _key(name: str) -> ObjectKey:
        return ObjectKey(DEPLOYMENTS, "shop", name)

    @staticmethod
    def _run(work: Any) -> None:  # noqa: ANN401
        asyncio.run(work)


EnforcerMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
TestEnforcer = EnforcerMachine.TestCase
