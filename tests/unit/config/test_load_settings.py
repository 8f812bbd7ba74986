"""Settings: what is read, and how what is wrong is said."""

from pathlib import Path

import pytest

from lictor.config.load import load_settings, parse_settings
from lictor.config.settings import AuditMode, FailureClass, Settings
from lictor.errors import SettingsError
from lictor.model.policy import Existing
from lictor.policy.yamltree import MAX_FILE_BYTES


def _write(folder: Path, text: str) -> Path:
    path = folder / "lictor.yaml"
    path.write_text(text)
    return path


def test_load_settings_without_a_file_gives_the_defaults() -> None:
    """No file, no flag: the defaults, which are themselves valid."""
    assert load_settings(None) == Settings()


def test_load_settings_of_an_empty_file_gives_the_defaults(tmp_path: Path) -> None:
    """An empty file sets nothing."""
    assert load_settings(_write(tmp_path, "# nothing\n")) == Settings()


def test_load_settings_reads_every_type(tmp_path: Path) -> None:
    """Text, numbers, booleans, lists, maps, enumerations and sections in lists become values."""
    path = _write(
        tmp_path,
        """
        cluster: {requestTimeoutSeconds: 3}
        policies: {paths: [policies], existing: {a: off, b: dry-run}, settleSeconds: {a: 0}}
        audit: {mode: blocking-strict}
        gate:
          registration: {enabled: false}
          classes: [{name: open}, {name: closed, failurePolicy: Fail, timeoutSeconds: 3}]
        """,
    )

    settings = load_settings(path)

    assert settings.cluster.request_timeout_seconds == 3.0
    assert isinstance(settings.cluster.request_timeout_seconds, float)
    assert settings.policies.paths == ("policies",)
    assert settings.policies.existing == {"a": Existing.OFF, "b": Existing.DRY_RUN}
    assert settings.policies.settle_seconds == {"a": 0.0}
    assert settings.audit.mode is AuditMode.BLOCKING_STRICT
    assert settings.gate.registration.enabled is False
    assert settings.gate.classes == (
        FailureClass(),
        FailureClass(name="closed", failure_policy="Fail", timeout_seconds=3),
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("gaet: {}", r"unknown key gaet; did you mean gate\?", id="near"),
        pytest.param(
            "gate: {metricPort: 1}",
            r"gate\.metricPort; did you mean gate\.metricsPort\?",
            id="deep",
        ),
        pytest.param("gate: {metrics_port: 1}", r"did you mean gate\.metricsPort", id="snake"),
        pytest.param("zzz: 1", r"unknown key zzz; expected one of cluster, policies", id="far"),
        pytest.param(
            "gate: {classes: [{nane: a}]}",
            r"gate\.classes\[0\]\.nane; did you mean",
            id="in-a-list",
        ),
        pytest.param(
            "gate: {port: web}", r'gate\.port is "web"; expected a whole number', id="text-for-int"
        ),
        pytest.param(
            "gate: {port: 1.5}", r"gate\.port is 1\.5; expected a whole number", id="float-for-int"
        ),
        pytest.param(
            "gate: {port: true}", r"gate\.port is true; expected a whole", id="bool-for-int"
        ),
        pytest.param(
            "gate: {registration: {enabled: 1}}",
            r"enabled is 1; expected true or false",
            id="int-for-bool",
        ),
        pytest.param("cluster: {kubeconfig: 1}", r"is 1; expected text", id="int-for-text"),
        pytest.param("cluster: {kubeconfig: }", r"is empty; expected text", id="nothing-for-text"),
        pytest.param("gate: []", r"gate is a list; expected a section", id="list-for-section"),
        pytest.param("[]", r"the file is a list; expected a section", id="list-for-file"),
        pytest.param(
            "policies: {paths: policies}",
            r'paths is "policies"; expected a list of text',
            id="list",
        ),
        pytest.param(
            "policies: {existing: enforce}", r"expected a map of names to one of off", id="map"
        ),
        pytest.param(
            "policies: {existing: {a: of}}",
            r'policies\.existing\.a is "of"; expected one of off, inform, dry-run, enforce',
            id="enum",
        ),
        pytest.param("policies: {paths: [1]}", r"paths\[0\] is 1; expected text", id="list-item"),
        pytest.param("a: 1\na: 2", r"line 2: the key .a. is there twice", id="doubled"),
        pytest.param("a: [", r"line \d: not YAML: ", id="not-yaml"),
        pytest.param("a: 1\n---\nb: 2", r"not YAML", id="two-documents"),
        pytest.param("a: &b 1\nc: *b", r"line 2: the alias", id="alias"),
        pytest.param("gate: {port: 0644}", r"read differently by different", id="octal"),
        pytest.param("a: !!python/object:os.system 1", r"line 1: the tag ", id="unsafe-tag"),
        pytest.param("? [a]\n: 1", r"a key that is no string", id="list-as-key"),
        pytest.param("#" * (MAX_FILE_BYTES + 1), r"expected at most 1048576", id="too-large"),
    ],
)
def test_load_settings_says_what_is_wrong(tmp_path: Path, text: str, said: str) -> None:
    """A wrong file is refused with the key, what it holds and what was expected."""
    with pytest.raises(SettingsError, match=said):
        load_settings(_write(tmp_path, text))


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        pytest.param(
            {"gate.port": "70000"}, r"gate\.port is 70000; expected 0 to 65535", id="port"
        ),
        pytest.param(
            {"gate.port": "9443"}, r"metricsPort is 9443; expected another port", id="same-port"
        ),
        pytest.param(
            {"enforcer.lease.durationSeconds": "10"}, "more than renewDeadlineSeconds", id="lease"
        ),
        pytest.param(
            {"enforcer.lease.renewDeadlineSeconds": "2.4"},
            r"expected more than 1\.2 \* retrySeconds \(2\.0\)",
            id="renew",
        ),
        pytest.param({"gate.keepaliveSeconds": "90"}, r"expected more than 90", id="keep-alive"),
        pytest.param({"gate.keepaliveSeconds": ".nan"}, r"\.nan is read differently", id="nan"),
        pytest.param({"gate.inFlightBytes": "1"}, r"at least gate\.reviewBytes", id="budget"),
        pytest.param({"gate.classes": "[]"}, r"at least one failure class", id="no-class"),
        pytest.param(
            {"gate.classes": "[{failurePolicy: ignore}]"}, r"expected Ignore or Fail", id="failure"
        ),
        pytest.param({"gate.classes": "[{}, {}]"}, r"a name of its own", id="same-class"),
        *(
            pytest.param({"gate.classes": f"[{{name: {name}}}]"}, r"lower case letters", id=name)
            for name in ("a/b", "Open", "open-", "-open", "a" * 64)
        ),
        pytest.param({"audit.digestEpoch": "e:1"}, r'digestEpoch is "e:1"; expected', id="epoch"),
        pytest.param({"audit.writer": "w/0"}, r'writer is "w/0"; expected', id="writer"),
        pytest.param({"gate.depth": "201"}, r"depth is 201; expected 1 to 200", id="depth"),
        pytest.param(
            {"gate.reviewBytes": str(65 * 1024 * 1024)}, r"to 67108864", id="review-bytes"
        ),
        pytest.param(
            {"audit.waitBudgetSeconds": "1.6", "gate.classes": "[{timeoutSeconds: 3}, {name: x}]"},
            r"waitBudgetSeconds is 1\.6; expected at most half of the shortest .* \(3\)",
            id="wait-budget",
        ),
        pytest.param(
            {"gate.classes": "[{timeoutSeconds: 31}]"}, r"is 31; expected 1 to 30", id="timeout"
        ),
        pytest.param({"gate.registration.url": "http://a"}, r"expected an https", id="url"),
        pytest.param({"enforcer.fightHeat": "3"}, r"more than enforcer\.fightDelayHeat", id="heat"),
        pytest.param({"enforcer.budget.policyShare": "1.5"}, r"expected 0 to 1", id="share"),
        pytest.param({"cluster.requestTimeoutSeconds": "0"}, r"a number above 0", id="zero"),
        pytest.param({"policies.settleSeconds.a": "-1"}, r"settleSeconds\.a is -1", id="settle"),
        pytest.param({"log.level": "loud"}, r'log\.level is "loud"; expected debug', id="level"),
        pytest.param({"log.format": "xml"}, r"expected json or text", id="format"),
    ],
)
def test_load_settings_checks_ranges(flags: dict[str, str], said: str) -> None:
    """A value of the right type and out of its range is refused with the range."""
    with pytest.raises(SettingsError, match=said):
        load_settings(None, flags)


def test_load_settings_names_every_fault_at_once(tmp_path: Path) -> None:
    """An operator mends a file once, not fault by fault."""
    path = _write(tmp_path, "gate: {port: x, depht: 3}\nlog: 3\n")

    with pytest.raises(SettingsError, match="expected") as caught:
        load_settings(path)

    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    assert all(line.startswith(f"{path}: ") for line in lines)


def test_load_settings_flags_win_over_the_file(tmp_path: Path) -> None:
    """A flag replaces what the file holds, and leaves the rest."""
    path = _write(tmp_path, "gate: {port: 1, metricsPort: 2}\n")

    gate = load_settings(path, {"gate.port": "0"}).gate

    assert (gate.port, gate.metrics_port) == (0, 2)


def test_load_settings_flag_of_a_text_setting_is_taken_as_it_is() -> None:
    """Text that looks like YAML of another type stays text, where the setting is text."""
    settings = load_settings(None, {"cluster.kubeconfig": "on: [1", "audit.writer": "7"})

    assert settings.cluster.kubeconfig == "on: [1"
    assert settings.audit.writer == "7"
    assert type(settings.audit.writer) is str


def test_load_settings_unknown_flag_is_refused() -> None:
    """A flag with a wrong key is refused like a key of the file."""
    with pytest.raises(SettingsError, match=r"gate\.prot; did you mean gate\.port\?"):
        load_settings(None, {"gate.prot": "1"})


def test_load_settings_of_a_missing_file_says_so(tmp_path: Path) -> None:
    """The file's name and the reason stand in the error."""
    with pytest.raises(SettingsError, match=r"gone\.yaml: cannot be read: No such file"):
        load_settings(tmp_path / "gone.yaml")


def test_load_settings_of_other_bytes_says_so(tmp_path: Path) -> None:
    """A file that is not UTF-8 is refused."""
    path = tmp_path / "lictor.yaml"
    path.write_bytes(b"\xff\xfe")

    with pytest.raises(SettingsError, match="not UTF-8"):
        load_settings(path)


def test_load_settings_nested_beyond_recursion_is_refused(tmp_path: Path) -> None:
    """A hostile file raises the one error that callers handle."""
    with pytest.raises(SettingsError, match="nested deeper than"):
        load_settings(_write(tmp_path, "a: " + "[" * 5000 + "]" * 5000))


def test_parse_settings_leaves_long_values_out_of_errors() -> None:
    """An error shows the beginning of a wrong value."""
    with pytest.raises(SettingsError, match="expected") as caught:
        parse_settings({"gate": {"port": "x" * 1000}})

    assert len(str(caught.value)) < 200
