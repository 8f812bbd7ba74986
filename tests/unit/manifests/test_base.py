"""The kustomize base as files: what must hold without an API server."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from lictor.config.load import parse_settings
from testkit.manifests import ManifestError, cluster_objects, objects, path_of

ROOT = Path(__file__).resolve().parents[3]


def _named(kind: str, name: str) -> dict[str, Any]:
    (found,) = [b for b in objects() if b["kind"] == kind and b["metadata"]["name"] == name]
    return found


def test_base_holds_every_shipped_policy() -> None:
    """The ConfigMap of the law has each policy of the repository, as it is there."""
    shipped = {
        f"{path.parent.name}.yaml": path.read_text()
        for path in (ROOT / "policies").glob("*/*/policy.yaml")
    }

    assert _named("ConfigMap", "lictor-policies")["data"] == shipped


@pytest.mark.parametrize("program", ["gate", "enforcer"])
def test_base_configuration_is_valid(program: str) -> None:
    """Both settings files are taken, and name files that the workload mounts."""
    text = _named("ConfigMap", f"lictor-{program}")["data"]["lictor.yaml"]

    settings = parse_settings(yaml.safe_load(text))

    kind = {"gate": "StatefulSet", "enforcer": "Deployment"}[program]
    (container,) = _named(kind, f"lictor-{program}")["spec"]["template"]["spec"]["containers"]
    mounts = [mount["mountPath"] for mount in container["volumeMounts"]]
    files = [settings.audit.path, settings.audit.key, settings.audit.digest_key,
             *settings.policies.paths]  # fmt: skip
    if program == "enforcer":
        files.append(settings.enforcer.state)
    assert [f for f in files if not any(Path(f).is_relative_to(m) for m in mounts)] == []
    assert container["command"][-1] == "--config=/etc/lictor/config/lictor.yaml"


def test_base_gate_has_memory_for_all_bodies_in_flight() -> None:
    """Who fills the budget of the bodies must not get the gate killed, which would admit."""
    settings = parse_settings(
        yaml.safe_load(_named("ConfigMap", "lictor-gate")["data"]["lictor.yaml"])
    )
    (container,) = _named("StatefulSet", "lictor-gate")["spec"]["template"]["spec"]["containers"]
    memory = int(container["resources"]["limits"]["memory"].removesuffix("Mi")) * 1024 * 1024

    # Each body twice, one decoded review of the largest size, and 128 MiB for the process.
    assert (
        2 * settings.gate.in_flight_bytes + 8 * settings.gate.review_bytes + 128 * 1024 * 1024
        <= memory
    )


def test_base_workloads_are_restricted() -> None:
    """Pod security `restricted`: not root, no privilege, no writable root, default seccomp."""
    pods = [b["spec"]["template"]["spec"] for b in objects() if "template" in b.get("spec", {})]

    assert len(pods) == 2
    for pod in pods:
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False
            assert context["readOnlyRootFilesystem"] is True
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert "memory" in container["resources"]["limits"]


def test_base_holds_no_secret() -> None:
    """Keys are made by a person; nothing secret lies in the repository."""
    assert [path_of(body) for body in objects() if body["kind"] == "Secret"] == []


def test_base_rights_have_no_wildcard_and_no_escalation() -> None:
    """Every group, resource and verb is named; nobody reads Secrets across namespaces."""
    rules = [
        (b["kind"], b["metadata"]["name"], rule) for b in objects() for rule in b.get("rules", [])
    ]

    assert len(rules) > 10
    for kind, name, rule in rules:
        assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]], name
        assert not {"escalate", "bind", "impersonate", "deletecollection"} & set(rule["verbs"])
        assert kind == "Role" or "secrets" not in rule["resources"]


def test_base_cluster_objects_come_before_what_needs_them() -> None:
    """The namespace is first, and every binding comes after its role and account."""
    kinds = [body["kind"] for body in cluster_objects()]

    assert kinds[:2] == ["Namespace", "CustomResourceDefinition"]
    assert kinds.count("ServiceAccount") == 2
    assert kinds.index("ClusterRole") < kinds.index("ClusterRoleBinding")


def test_manifest_reader_refuses_what_it_does_not_understand(tmp_path: Path) -> None:
    """A patch in a kustomization is not silently left out."""
    (tmp_path / "kustomization.yaml").write_text("resources: []\npatches: []\n")

    with pytest.raises(ManifestError, match="patches is not understood"):
        objects(tmp_path)
