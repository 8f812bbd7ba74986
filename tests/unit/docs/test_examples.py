"""The examples in the pages are taken by the code that they are about."""

import re
from pathlib import Path

import pytest
import yaml

from lictor.cli.policy_tests import read_cases, run_case
from lictor.config.load import parse_settings
from lictor.policy import load
from lictor.ports.policy_source import PolicyFile
from testkit.reference import DOCS


def _examples(name: str) -> list[str]:
    return re.findall(r"^```yaml\n(.*?)^```", (DOCS / name).read_text(), re.MULTILINE | re.DOTALL)


def test_example_policy_loads_and_its_test_passes() -> None:
    """The policy and the test of the page on policies are what a reader can begin with."""
    policy, test = _examples("policies.md")

    snapshot = load([PolicyFile("policies.md", policy.encode())])
    results = [run_case(case, snapshot) for case in read_cases(Path("test"), test.encode())]

    assert [result.diff for result in results] == [()]


@pytest.mark.parametrize(
    "example", [pytest.param(e, id=str(n)) for n, e in enumerate(_examples("configuration.md"))]
)
def test_example_settings_are_valid(example: str) -> None:
    """Each part of a settings file that the page shows is taken."""
    parse_settings(yaml.safe_load(example))
