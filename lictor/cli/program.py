"""What every long-running program does: stop on a signal, end with the right code, load the law.

For a program's `app` alone; a command that only looks at files imports none of this.
"""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from lictor.audit import Digester
from lictor.cli import exits
from lictor.config.settings import Settings
from lictor.errors import InputError, SettingsError, UnavailableError
from lictor.ledger.errors import LedgerError
from lictor.ledger.keys import load_digest_key
from lictor.ledger.sequencer import Sequencer
from lictor.model.names import Gvr, ObjectKey
from lictor.ownership import Ownership
from lictor.policy import Overrides, Snapshot, load
from lictor.ports.reader import Reader
from lictor.sources.folder import FolderSource
from lictor.telemetry import metrics
from lictor.telemetry.logs import configure, logger

NAMESPACES: Final = Gvr("", "v1", "namespaces")

_CLUSTER_NAMESPACE: Final = "kube-system"
"""Its uid names the cluster, since nothing else does."""

_RETRY_SECONDS: Final = 2.0
_LOG = logger(__name__)

Start = Callable[[str, Coroutine[Any, Any, object]], None]
"""Starts a task by name."""


class Stop:
    """Turns signals into a graceful stop, or into the end of a start that is not done yet."""

    def __init__(self, main: asyncio.Task[Any]) -> None:
        """Listen for SIGTERM and SIGINT."""
        self._main = main
        self._asked = asyncio.Event()
        self._working = False
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._ask, number)

    async def wait(self) -> None:
        """Wait for a signal; from now on one does not cut anything off."""
        self._working = True
        await self._asked.wait()

    def asked(self) -> bool:
        """Return whether a signal has come."""
        return self._asked.is_set()

    def _ask(self, number: signal.Signals) -> None:
        _LOG.info("stopping", signal=number.name)
        if not self._working and not self._asked.is_set():
            self._main.cancel()
        self._asked.set()


def run_program(settings: Settings, work: Callable[[Settings, Stop], Awaitable[None]]) -> int:
    """Run `work` until it ends or a signal comes; return the exit code.

    Raises:
        LictorError: it cannot go on; `lictor.cli.main` says so and gives the exit code.
    """
    configure(settings.log)
    try:
        return asyncio.run(_main(settings, work))
    except LedgerError as err:
        _LOG.error("failed", error=str(err))
        return exits.LEDGER


async def _main(settings: Settings, work: Callable[[Settings, Stop], Awaitable[None]]) -> int:
    main = asyncio.current_task()
    assert main is not None  # noqa: S101 (asyncio.run has made one)
    stop = Stop(main)
    try:
        await work(settings, stop)
    except asyncio.CancelledError:
        if not stop.asked():
            raise
    except BaseExceptionGroup as group:
        raise _first(group) from group
    return exits.OK


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the first error of a group, which decides the exit code."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


@asynccontextmanager
async def background() -> AsyncIterator[Start]:
    """Run tasks by name while the context lasts; one that fails ends them all."""
    tasks: list[asyncio.Task[object]] = []
    async with asyncio.TaskGroup() as group:

        def start(name: str, work: Coroutine[Any, Any, object]) -> None:
            tasks.append(group.create_task(work, name=name))

        try:
            yield start
        finally:
            for task in tasks:
                task.cancel()


def load_law(settings: Settings) -> Snapshot:
    """Return the policies that the settings name, compiled.

    Raises:
        SettingsError: they cannot be read, or something is wrong in them.
    """
    try:
        law = load(
            FolderSource(settings.policies.paths).read(),
            Overrides(
                existing=settings.policies.existing,
                settle_seconds=settings.policies.settle_seconds,
                failure_classes=tuple(part.name for part in settings.gate.classes),
            ),
            ownership=Ownership(
                label_keys=settings.ownership.labels, registry=frozenset(settings.ownership.owners)
            ),
        )
    except InputError as err:
        raise SettingsError(str(err)) from err
    metrics.POLICIES.set(len(law.policies))
    metrics.POLICY_REVISION.labels(digest=law.digest).set(1)
    return law


def load_digester(settings: Settings) -> Digester:
    """Return what takes digests, with the key that the settings name.

    Raises:
        SettingsError: the key is missing, or readable by others.
    """
    return Digester(settings.audit.digest_epoch, load_digest_key(Path(settings.audit.digest_key)))


async def cluster_uid(reader: Reader) -> str:
    """Return the uid of kube-system, which names the cluster; waits for the API server.

    Raises:
        ApiError: the API server refused.
    """
    while True:
        try:
            namespace = await reader.get(ObjectKey(NAMESPACES, "", _CLUSTER_NAMESPACE))
        except UnavailableError as err:
            _LOG.warning("cluster.unavailable", error=str(err))
        else:
            return namespace.uid if namespace else ""
        await asyncio.sleep(_RETRY_SECONDS)


async def end_with(ledger: Sequencer) -> None:
    """End the program when the ledger has failed: only a restart recovers it.

    Raises:
        LedgerError: it has.
    """
    raise LedgerError(await ledger.wait_failed())


def own_version() -> str:
    """Return the version that is installed; "0" where none is."""
    try:
        return version("lictor")
    except PackageNotFoundError:
        return "0"
