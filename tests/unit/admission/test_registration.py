import base64
import copy
from typing import Any

import pytest
from structlog.testing import capture_logs

from admission.registration import Registrar
from lictor.config.settings import FailureClass, RegistrationSettings
from lictor.errors import ConflictError
from lictor.model.document import Document
from lictor.model.names import Gvr, ObjectKey
from lictor.model.policy import ResourceRule, Scope
from lictor.model.request import Phase
from testkit.simulators.registration_writer import MemoryRegistrationWriter

CA = b"-----BEGIN CERTIFICATE-----"
RULE = ResourceRule(
    api_groups=("apps",),
    api_versions=("v1",),
    operations=("CREATE", "UPDATE"),
    resources=("deployments",),
    scope=Scope.NAMESPACED,
)
VALIDATING = ObjectKey(
    Gvr("admissionregistration.k8s.io", "v1", "validatingwebhookconfigurations"), "", "lictor"
)
MUTATING = ObjectKey(
    Gvr("admissionregistration.k8s.io", "v1", "mutatingwebhookconfigurations"), "", "lictor"
)
CLOSED = FailureClass(name="closed", failure_policy="Fail", timeout_seconds=3)


def registrar(writer: MemoryRegistrationWriter, **changes: Any) -> Registrar:  # noqa: ANN401
    """A registrar of one validating rule in the class `open`."""
    values: dict[str, Any] = {
        "settings": RegistrationSettings(),
        "namespace": "lictor-system",
        "classes": (FailureClass(), CLOSED),
        "rules": {("open", Phase.VALIDATE): ((RULE,),)},
    }
    return Registrar(writer=writer, **{**values, **changes})


def webhooks(writer: MemoryRegistrationWriter, key: ObjectKey = VALIDATING) -> list[Any]:
    """The webhooks of a configuration."""
    found = writer.objects[key].tree["webhooks"]
    assert isinstance(found, list)
    return found


async def test_reconcile_writes_one_webhook_for_a_class_with_rules() -> None:
    """A class without rules has no webhook, and a phase without webhooks no configuration."""
    writer = MemoryRegistrationWriter()

    assert await registrar(writer).reconcile(CA)

    assert writer.changes() == [("create", "validatingwebhookconfigurations")]
    (webhook,) = webhooks(writer)
    assert webhook["name"] == "open.validate.lictor.dev"
    assert webhook["failurePolicy"] == "Ignore"
    assert webhook["timeoutSeconds"] == 5
    assert webhook["sideEffects"] == "NoneOnDryRun"
    assert webhook["matchPolicy"] == "Equivalent"
    assert webhook["rules"] == [
        {
            "apiGroups": ["apps"],
            "apiVersions": ["v1"],
            "operations": ["CREATE", "UPDATE"],
            "resources": ["deployments"],
            "scope": "Namespaced",
        }
    ]


async def test_reconcile_registers_the_service_with_our_authority() -> None:
    """Without a URL the API server is sent to the Service, by its port and path."""
    writer = MemoryRegistrationWriter()

    await registrar(writer).reconcile(CA)

    client = webhooks(writer)[0]["clientConfig"]
    assert base64.b64decode(client["caBundle"]) == CA
    assert client["service"] == {
        "namespace": "lictor-system",
        "name": "lictor-gate",
        "path": "/v1/validate/open",
        "port": 443,
    }


async def test_reconcile_registers_a_url() -> None:
    """With a URL the API server is sent there, by path."""
    writer = MemoryRegistrationWriter()
    settings = RegistrationSettings(url="https://127.0.0.1:8443/")
    rules = {("closed", Phase.MUTATE): ((RULE,),)}

    await registrar(writer, settings=settings, rules=rules).reconcile(CA)

    (webhook,) = webhooks(writer, MUTATING)
    assert webhook["clientConfig"]["url"] == "https://127.0.0.1:8443/v1/mutate/closed"
    assert "service" not in webhook["clientConfig"]
    assert webhook["name"] == "closed.mutate.lictor.dev"
    assert (webhook["failurePolicy"], webhook["timeoutSeconds"]) == ("Fail", 3)
    assert webhook["reinvocationPolicy"] == "IfNeeded"


async def test_reconcile_gives_each_version_of_a_resource_a_webhook() -> None:
    """Where policies name two versions there are two webhooks of the class, named apart.

    A class may be called `open-2`: two webhooks of one name are refused by the API server.
    """
    writer = MemoryRegistrationWriter()
    rules = {("open", Phase.VALIDATE): ((RULE,), (RULE,))}

    await registrar(writer, rules=rules).reconcile(CA)

    assert [one["name"] for one in webhooks(writer)] == [
        "open.validate.lictor.dev",
        "open.2.validate.lictor.dev",
    ]


async def test_reconcile_keeps_out_what_must_never_be_judged() -> None:
    """Own namespace, kube-system and what a cluster needs to start are never judged."""
    writer = MemoryRegistrationWriter()

    await registrar(writer, namespace="guard").reconcile(CA)

    (webhook,) = webhooks(writer)
    assert webhook["namespaceSelector"]["matchExpressions"][0]["values"] == ["guard", "kube-system"]
    text = " ".join(one["expression"] for one in webhook["matchConditions"])
    for word in ("'guard', 'kube-system'", "nodes", "certificatesigningrequests", "leases"):
        assert word in text
    assert "authentication.k8s.io" in text
    assert "authorization.k8s.io" in text


async def test_reconcile_writes_nothing_when_nothing_differs() -> None:
    """A second pass reads only."""
    writer = MemoryRegistrationWriter()
    await registrar(writer).reconcile(CA)
    writer.changes()

    assert not await registrar(writer).reconcile(CA)

    assert writer.changes() == []


@pytest.mark.parametrize(
    "edit",
    [
        pytest.param(lambda one: one.update(failurePolicy="Fail"), id="failure policy"),
        pytest.param(lambda one: one["rules"][0].update(operations=["CREATE"]), id="rules"),
        pytest.param(lambda one: one.update(namespaceSelector={}), id="selector"),
        pytest.param(lambda one: one.pop("matchConditions"), id="conditions"),
    ],
)
async def test_reconcile_restores_what_somebody_edited(edit: Any) -> None:  # noqa: ANN401
    """An edit by somebody else is drift: restored by its version, and said in the log."""
    writer = MemoryRegistrationWriter()
    await registrar(writer).reconcile(CA)
    wanted = webhooks(writer)
    tree = copy.deepcopy(writer.objects[VALIDATING].tree)
    assert isinstance(tree["webhooks"], list)
    edit(tree["webhooks"][0])
    writer.put(VALIDATING, Document.of(tree))
    writer.changes()

    with capture_logs() as lines:
        assert await registrar(writer).reconcile(CA)

    assert webhooks(writer) == wanted
    assert writer.changes() == [("update", "validatingwebhookconfigurations")]
    assert [line["event"] for line in lines] == ["registration.drift"]


async def test_reconcile_restores_its_own_mark() -> None:
    """Without the mark of what we wrote, the next edit by somebody else would pass for ours."""
    writer = MemoryRegistrationWriter()
    await registrar(writer).reconcile(CA)
    tree = {**writer.objects[VALIDATING].tree, "metadata": {"name": "lictor"}}
    writer.put(VALIDATING, Document.of(tree))

    assert await registrar(writer).reconcile(CA)

    assert "lictor.dev/registration" in (writer.objects[VALIDATING].meta.annotations or {})


async def test_reconcile_does_not_call_our_own_change_drift() -> None:
    """Other policies, or another CA, are written without an alarm."""
    writer = MemoryRegistrationWriter()
    await registrar(writer).reconcile(CA)

    with capture_logs() as lines:
        assert await registrar(writer).reconcile(b"another CA")

    assert [line["event"] for line in lines] == ["registration.written"]


async def test_reconcile_keeps_labels_and_annotations_of_others() -> None:
    """What a deployment tool wrote into the metadata stays."""
    writer = MemoryRegistrationWriter()
    meta = {"name": "lictor", "labels": {"a": "b"}, "annotations": {"c": "d"}}
    writer.put(VALIDATING, Document.of({"metadata": {**meta}, "webhooks": []}))

    await registrar(writer).reconcile(CA)

    found = writer.objects[VALIDATING].meta
    assert found.labels == {"a": "b", "app.kubernetes.io/managed-by": "lictor"}
    assert found.annotations is not None
    assert found.annotations["c"] == "d"


async def test_reconcile_removes_a_configuration_that_no_policy_needs() -> None:
    """When the last policy is gone, nothing is sent to the gate any more."""
    writer = MemoryRegistrationWriter()
    await registrar(writer).reconcile(CA)

    assert await registrar(writer, rules={}).reconcile(CA)

    assert writer.objects == {}


async def test_reconcile_leaves_a_conflict_to_the_next_pass() -> None:
    """Somebody who writes at the same time does not end the loop."""
    writer = MemoryRegistrationWriter()

    class Racing(MemoryRegistrationWriter):
        async def write(self, key: ObjectKey, body: Document) -> Document:
            raise ConflictError(f"{key} {body.meta.name} is newer", code=409, reason="Conflict")

    assert await registrar(Racing(objects=writer.objects)).reconcile(CA)


async def test_remove_takes_both_configurations_away() -> None:
    """Uninstalling removes what can deny first, and is content where nothing is left."""
    writer = MemoryRegistrationWriter()

    await registrar(writer).remove()

    assert writer.changes() == [
        ("remove", "validatingwebhookconfigurations"),
        ("remove", "mutatingwebhookconfigurations"),
    ]
