"""Fixtures of all tests: real control planes, and namespaces of a test's own."""

import os
import uuid
from collections.abc import AsyncIterator, Generator, Iterator

import hypothesis
import pytest

from testkit.binaries import INSTALL, Missing, find
from testkit.client import ApiClient
from testkit.plane import Plane

# How long a test may take is pytest-timeout's business: waiting for a busy core is no bug.
hypothesis.settings.register_profile("lictor", deadline=None)
hypothesis.settings.load_profile("lictor")

CONTROLPLANE_SECONDS = 120
CHAOS_SECONDS = 1200
PROGRAMS = ("etcd", "kube-apiserver", "kube-controller-manager", "kubectl")
REQUIRED = "LICTOR_REQUIRE_CONTROLPLANE"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give tests on a real control plane their time, or the reason why they are skipped."""
    missing = _missing()
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=_rank)
    for item in items:
        if item.get_closest_marker("controlplane") is None:
            continue
        if item.get_closest_marker("timeout") is None:
            chaos = item.get_closest_marker("chaos") is not None
            item.add_marker(pytest.mark.timeout(CHAOS_SECONDS if chaos else CONTROLPLANE_SECONDS))
        if missing and not _is_required():
            more = f" (and {len(missing) - 1} more)" if missing[1:] else ""
            item.add_marker(pytest.mark.skip(reason=missing[0] + more))


def _rank(item: pytest.Item) -> int:
    """Let the longest begin first, so that no worker is left alone with it at the end."""
    if item.get_closest_marker("chaos") is not None:
        return 0
    return 1 if item.get_closest_marker("controlplane") is not None else 2


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many tests on a control plane were skipped, and what to install."""
    skipped = _skipped_controlplane(terminalreporter)
    if skipped:
        terminalreporter.section("control plane")
        terminalreporter.line(f"{skipped} tests on a control plane were skipped.")
        for reason in _missing():
            terminalreporter.line(f"  {reason}")
        terminalreporter.line(f"To run them: {INSTALL}.")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the run where tests on a control plane are required and were skipped."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if _is_required() and reporter is not None and _skipped_controlplane(reporter):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the control plane's logs with a test that failed on it."""
    report = yield
    planes = [value for value in getattr(item, "funcargs", {}).values() if isinstance(value, Plane)]
    if report.failed:
        report.sections += [("control plane", plane.log_tails()) for plane in planes]
    return report


def _missing() -> list[str]:
    found = [find(name) for name in PROGRAMS]
    return [lacking.reason for lacking in found if isinstance(lacking, Missing)]


def _is_required() -> bool:
    return os.environ.get(REQUIRED, "") not in ("", "0")


def _skipped_controlplane(reporter: pytest.TerminalReporter) -> int:
    skipped = reporter.stats.get("skipped", [])
    return sum(1 for report in skipped if "controlplane" in report.keywords)


@pytest.fixture(scope="session")
def plane() -> Iterator[Plane]:
    """A real control plane that the tests of one worker share; leave it as you found it."""
    with Plane.launch() as started:
        yield started


@pytest.fixture
def fresh_plane() -> Iterator[Plane]:
    """A real control plane of this test alone, to stop, freeze and kill."""
    with Plane.launch() as started:
        yield started


@pytest.fixture
async def admin(plane: Plane) -> AsyncIterator[ApiClient]:
    """A client of the shared plane that may do everything."""
    async with plane.client() as client:
        yield client


@pytest.fixture
async def namespace(admin: ApiClient) -> AsyncIterator[str]:
    """A namespace of this test alone on the shared plane; what is in it goes with it."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    await admin.create_namespace(name)
    yield name
    await admin.delete_namespace(name)
