"""Tests on a control plane are skipped with a reason, or fail where they may not be."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

# Interpreters are started here, which takes seconds where all cores are busy.
pytestmark = pytest.mark.timeout(60)

ROOT = Path(__file__).resolve().parents[3]
SAMPLE = '''
import pytest

@pytest.mark.controlplane
def test_on_plane(plane):
    """Needs a plane."""

def test_elsewhere():
    """Needs none."""
'''


SELF_SKIPPING = '''
import pytest

@pytest.mark.controlplane
def test_on_plane():
    """Skips itself."""
    pytest.skip("for no good reason")
'''


def run(source: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run these tests with our conftest where no program can be found."""
    empty = folder / "empty"
    empty.mkdir(exist_ok=True)
    (folder / "test_sample.py").write_text(source)
    (folder / "conftest.py").write_text((ROOT / "tests" / "conftest.py").read_text())
    ours = ("KUBE", "PYTEST", "COV", "LICTOR")
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
    paths = {"PATH": str(empty), "LICTOR_CACHE": str(empty), "PYTHONPATH": str(ROOT)}
    argv = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider"]
    argv += ["-c", str(ROOT / "pyproject.toml"), "--rootdir", str(folder), str(folder)]
    return subprocess.run(
        argv,
        env={**inherited, **paths, **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


@pytest.mark.timeout(30)
def test_controlplane_tests_are_skipped_with_their_reason(tmp_path: Path) -> None:
    """The rest runs; the summary counts the skipped ones and says what to do."""
    answer = run(SAMPLE, tmp_path)

    assert answer.returncode == 0
    assert "1 tests on a control plane were skipped" in answer.stdout
    assert "kube-apiserver v1.36.3 is not built" in answer.stdout
    assert "To run them: install Go 1.26 or newer" in answer.stdout
    assert "1 passed, 1 skipped" in answer.stdout.splitlines()[-1]


@pytest.mark.timeout(30)
def test_controlplane_tests_fail_where_they_are_required(tmp_path: Path) -> None:
    """In CI a missing program is an error, not a skip."""
    answer = run(SAMPLE, tmp_path, LICTOR_REQUIRE_CONTROLPLANE="1")

    assert answer.returncode == 1
    assert "is not built" in answer.stdout
    assert "1 passed, 1 error" in answer.stdout.splitlines()[-1]


@pytest.mark.timeout(30)
def test_a_controlplane_test_that_skips_itself_fails_the_run_in_ci(tmp_path: Path) -> None:
    """Whatever the reason of the skip: what must run has not run."""
    lenient = run(SELF_SKIPPING, tmp_path)
    strict = run(SELF_SKIPPING, tmp_path, LICTOR_REQUIRE_CONTROLPLANE="1")

    assert lenient.returncode == 0
    assert strict.returncode == 1
