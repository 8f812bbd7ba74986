import argparse
from pathlib import Path

import pytest

from admission.app import add_commands, hosts_of, rules_of
from lictor.cli.main import main
from lictor.cli.program import load_law
from lictor.config.load import parse_settings
from lictor.config.settings import Settings
from lictor.errors import SettingsError
from lictor.model.request import Phase
from lictor.telemetry import metrics

POLICIES = Path(__file__).parents[3] / "policies"
WILD = """apiVersion: lictor.dev/v1alpha1
kind: Policy
metadata: {name: wild}
spec:
  title: Everything
  severity: low
  match:
    resourceRules: [{apiGroups: ["*"], apiVersions: ["*"], operations: ["*"], resources: ["*"]}]
  validations: [{cel: {expression: "true", message: m}}]
"""


def settings(path: Path = POLICIES, **gate: object) -> Settings:
    """Settings that read policies at `path`."""
    return parse_settings({"policies": {"paths": [str(path)]}, "gate": gate})


def test_load_law_shows_what_is_enforced() -> None:
    """The revision that is enforced is a metric."""
    law = load_law(settings())

    assert metrics.REGISTRY.get_sample_value("lictor_policies") == len(law.policies) == 5
    digest = {"digest": law.digest}
    assert metrics.REGISTRY.get_sample_value("lictor_policy_revision_info", digest) == 1


def test_load_law_says_what_is_wrong_as_configuration(tmp_path: Path) -> None:
    """A policy that cannot be loaded, or is not there, is wrong configuration: exit code 2."""
    (tmp_path / "policy.yaml").write_text("kind: Polcy\n")

    with pytest.raises(SettingsError, match=r"policy\.yaml"):
        load_law(settings(tmp_path))
    with pytest.raises(SettingsError, match="nowhere"):
        load_law(settings(tmp_path / "nowhere"))


def test_load_law_refuses_a_class_that_nobody_serves(tmp_path: Path) -> None:
    """A policy of a class that is not configured would never be asked."""
    text = WILD.replace('["*"]', "[v1]").replace("operations: [v1]", "operations: [CREATE]")
    (tmp_path / "policy.yaml").write_text(text + "  enforcement: {class: shut}\n")

    with pytest.raises(SettingsError, match="shut"):
        load_law(settings(tmp_path))


def test_rules_of_follow_from_the_policies() -> None:
    """Each class and phase gets the rules of its policies, and none where it has none."""
    found = settings(classes=[{"name": "open"}, {"name": "closed"}])

    rules = rules_of(load_law(found), found)

    (validating,) = rules["open", Phase.VALIDATE]
    assert {name for rule in validating for name in rule.resources} >= {"pods", "deployments"}
    assert len(rules["open", Phase.MUTATE]) == 1
    assert rules["closed", Phase.VALIDATE] == ()
    assert rules["closed", Phase.MUTATE] == ()


def test_rules_of_refuses_wildcards(tmp_path: Path) -> None:
    """Rules are never `*`: what cannot be registered is said at the start."""
    (tmp_path / "policy.yaml").write_text(WILD)
    found = settings(tmp_path)

    with pytest.raises(SettingsError, match="wild"):
        rules_of(load_law(found), found)


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("", ("lictor-gate.lictor-system.svc",)),
        ("https://10.0.0.7:8443", ("lictor-gate.lictor-system.svc", "10.0.0.7")),
        ("https://gate.example.com/x", ("lictor-gate.lictor-system.svc", "gate.example.com")),
        ("https://[::1]:8443", ("lictor-gate.lictor-system.svc", "::1")),
    ],
)
def test_hosts_of_names_service_and_url(url: str, hosts: tuple[str, ...]) -> None:
    """The certificate is for whatever the API server may call."""
    assert hosts_of(settings(registration={"url": url})) == hosts


def test_commands_have_help() -> None:
    """Both commands read their settings, and say what they do."""
    parser = argparse.ArgumentParser()
    add_commands(parser.add_subparsers())

    for command in ("run", "uninstall"):
        found = parser.parse_args(["gate", command, "--config", "x", "--set", "gate.port=0"])
        assert (found.config, found.flags) == ("x", ["gate.port=0"])
        assert callable(found.run)


def test_run_ends_with_2_where_the_configuration_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything is opened, wrong configuration is refused."""
    config = tmp_path / "lictor.yaml"
    config.write_text(f"policies: {{paths: [{tmp_path}/nowhere]}}\n")

    assert main(["gate", "run", "--config", str(config)]) == 2
    assert "nowhere" in capsys.readouterr().err
