"""`lictor test` runs the tests beside policies and says how each went."""

from pathlib import Path

import pytest

from lictor.cli.main import main

POLICY = """\
apiVersion: lictor.dev/v1alpha1
kind: Policy
metadata: {name: small}
spec:
  title: Small
  severity: low
  match:
    resourceRules:
      - {apiGroups: [apps], apiVersions: [v1], operations: [CREATE], resources: [deployments]}
  validations:
    - cel:
        expression: object.spec.replicas < 3
        message: set spec.replicas below 3
        fieldPath: /spec/replicas
  mutations:
    - jsonPatch: [{op: add, path: /spec/paused, value: false}]
"""
CASE = """\
  - name: {name}
    object:
      apiVersion: apps/v1
      kind: Deployment
      metadata: {{name: web, namespace: shop}}
      spec: {{replicas: {replicas}}}
    expect: {expect}
"""
HEAD = """\
apiVersion: lictor.dev/v1alpha1
kind: PolicyTest
cases:
"""
DENIED = (
    "{allowed: false, outcome: violated, violations: "
    "[{message: set spec.replicas below 3, path: /spec/replicas}]}"
)


def case(name: str, expect: str, replicas: int = 3) -> str:
    """Return one case."""
    return CASE.format(name=name, expect=expect, replicas=replicas)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with one policy."""
    (tmp_path / "small" / "tests").mkdir(parents=True)
    (tmp_path / "small" / "policy.yaml").write_text(POLICY)
    return tmp_path


def write_cases(folder: Path, *cases: str) -> Path:
    """Write the test file."""
    file = folder / "small" / "tests" / "small.yaml"
    file.write_text(HEAD + "".join(cases))
    return file


def test_test_passes_where_all_is_as_expected(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each case is named, and the sum stands at the end."""
    write_cases(
        folder,
        case("three are denied", DENIED),
        case("two are fine", "{allowed: true, outcome: passed, violations: []}", replicas=2),
        case("it is unpaused", "{patch: [{op: add, path: /spec/paused, value: false}]}"),
    )

    assert main(["test", str(folder)]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert lines[1:] == [
        "  ok    three are denied",
        "  ok    two are fine",
        "  ok    it is unpaused",
        "3 passed, 0 failed",
    ]


def test_test_shows_what_was_expected_and_what_came(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A failed case shows the difference and its line, and the exit code is 1."""
    file = write_cases(
        folder,
        case("fine", "{allowed: false}"),
        case("wrong", "{allowed: true, violations: [{message: other}]}"),
    )

    assert main(["test", str(folder), "-q"]) == 1

    out = capsys.readouterr().out
    assert "fine" not in out
    assert f"  FAIL  wrong ({file}:11; - expected, + got)" in out
    assert "        - allowed: true\n        + allowed: false\n" in out
    assert "        - - message: other\n        + - message: set spec.replicas below 3\n" in out
    assert out.endswith("1 passed, 1 failed\n")


@pytest.mark.parametrize(
    ("expect", "shown"),
    [
        pytest.param("{violations: []}", "+   path: /spec/replicas", id="one-too-many"),
        pytest.param(
            "{violations: [{rule: 'validations[0]'}, {rule: x}]}", "- - rule: x", id="one-too-few"
        ),
        pytest.param("{outcome: unmatched}", "+ outcome: violated", id="outcome"),
        pytest.param("{errors: [boom]}", "+ errors: []", id="errors"),
        pytest.param("{warnings: [boom]}", "+ warnings: []", id="warnings"),
        pytest.param("{patch: []}", "+   path: /spec/paused", id="patch"),
        pytest.param(
            "{patch: [{op: remove, path: /no}]}", "does not apply", id="patch-that-does-not-apply"
        ),
    ],
)
def test_test_fails_on_every_kind_of_difference(
    folder: Path, capsys: pytest.CaptureFixture[str], *, expect: str, shown: str
) -> None:
    """Nothing that a case speaks of may differ."""
    write_cases(folder, case("wrong", expect))

    assert main(["test", str(folder)]) == 1
    assert shown in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        pytest.param("cases: []\n", "apiVersion: it is missing", id="no-head"),
        pytest.param(f"{HEAD[:-7]}", "cases: it is missing", id="no-cases"),
        pytest.param(HEAD + case("x", "{allow: true}"), "did you mean allowed?", id="typo"),
        pytest.param(HEAD + case("x", "{}"), "expect: it says nothing", id="no-expectation"),
        pytest.param(
            HEAD + "  - {name: x, expect: {allowed: true}}\n",
            "there is nothing to judge",
            id="none",
        ),
        pytest.param(
            HEAD + "  - {name: x, object: {kind: Pod}, expect: {allowed: true}}\n",
            "it has no apiVersion or no kind",
            id="no-object",
        ),
        pytest.param("a: *x\n", "the alias *x", id="yaml"),
        pytest.param(
            HEAD + case("x", "{allowed: true}") + "    namespace: {name: other}\n",
            "expected shop, as the object says",
            id="other-namespace",
        ),
    ],
)
def test_test_refuses_a_bad_test_file(
    folder: Path, capsys: pytest.CaptureFixture[str], *, text: str, fault: str
) -> None:
    """A test that cannot be read is not a test that passed: exit code 2."""
    file = folder / "small" / "tests" / "small.yaml"
    file.write_text(text)

    assert main(["test", str(folder)]) == 2

    err = capsys.readouterr().err
    assert fault in err
    assert f"{file}" in err


def test_test_refuses_a_bad_policy(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The faults of policies are shown, also of those without tests."""
    write_cases(folder, case("three are denied", DENIED))
    (folder / "other.yaml").write_text(POLICY.replace("< 3", "< ").replace("small", "other"))

    assert main(["test", str(folder)]) == 2

    err = capsys.readouterr().err
    assert "other.yaml:12: spec.validations[0].cel.expression: " in err


def test_test_needs_tests(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No test at all is no success."""
    assert main(["test", str(folder)]) == 2
    assert f"no tests below {folder}" in capsys.readouterr().err


def test_test_says_what_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A path that does not exist is named."""
    assert main(["test", str(tmp_path / "no")]) == 2
    assert "no: no such file or folder" in capsys.readouterr().err


def test_test_takes_single_files(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A test file finds the policies beside it, by folder or by name."""
    file = write_cases(folder, case("three are denied", DENIED))
    beside = folder / "small" / "policy.test.yaml"
    beside.write_text(file.read_text())

    assert main(["test", str(file), str(beside)]) == 0
    assert capsys.readouterr().out.endswith("2 passed, 0 failed\n")


def test_test_refuses_a_file_that_belongs_to_no_policy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Which policies a test is about follows from where it lies."""
    file = tmp_path / "case.yaml"
    file.write_text(HEAD)

    assert main(["test", str(file)]) == 2
    assert "expected in a folder named tests" in capsys.readouterr().err


@pytest.mark.parametrize("policies", [pytest.param("policies", id="ours")])
def test_test_passes_the_policies_that_ship(
    policies: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What ships with this repository passes its own tests."""
    root = Path(__file__).parents[3]

    assert main(["test", "-q", str(root / policies)]) == 0
    assert capsys.readouterr().out.endswith(" passed, 0 failed\n")
