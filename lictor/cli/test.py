"""`lictor test`: run the tests that lie beside policies."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from lictor.cli import exits
from lictor.cli.policy_tests import Case, Result, read_cases, run_case
from lictor.errors import InputError
from lictor.policy import Snapshot, load
from lictor.sources.folder import MAX_FILE_BYTES, FolderSource

if TYPE_CHECKING:
    from lictor.cli.parser import Subparsers

_TESTS: Final = "tests"
_SUFFIX: Final = ".test.yaml"

_EPILOG: Final = """\
A test file lies in the folder `tests` beside the policies that it is about, or is named
NAME.test.yaml beside NAME.yaml. Each of its cases is judged by those policies alone.

exit codes:
  0  every case came out as expected
  1  some did not
  2  a policy or a test file cannot be read, or there is no test at all
  3  the command line is wrong
"""


def add_parser(subparsers: "Subparsers") -> None:
    """Add the command `test`."""
    parser = subparsers.add_parser(
        "test",
        help="run the tests that lie beside policies",
        description="Load policies and run the tests that lie beside them.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "paths", nargs="*", default=["policies"], help="folders or test files (default: policies)"
    )
    parser.add_argument(
        "-q", "--quiet", action="store_true", help="say nothing of cases that passed"
    )
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    try:
        return run(arguments.paths, quiet=arguments.quiet)
    except InputError as err:
        sys.stdout.flush()
        print(err, file=sys.stderr)
        return exits.SETTINGS


def run(paths: Sequence[str], *, quiet: bool = False) -> int:
    """Run every test below `paths` and print how each case went; return the exit code.

    Raises:
        InputError: a policy or a test file cannot be read, or there is none.
    """
    _load_all(paths)
    files = sorted({file for path in paths for file in _test_files(Path(path))})
    if not files:
        raise InputError(f"no tests below {', '.join(paths)}")
    snapshots: dict[Path, Snapshot] = {}
    passed = failed = 0
    for file in files:
        subject = _subject(file)
        if subject not in snapshots:
            snapshots[subject] = load(FolderSource([subject]).read())
        results = [run_case(case, snapshots[subject]) for case in _read(file)]
        _print_file(file, results, quiet=quiet)
        passed += sum(result.passed for result in results)
        failed += sum(not result.passed for result in results)
    print(f"{passed} passed, {failed} failed")
    return exits.FAILED if failed else exits.OK


def _load_all(paths: Sequence[str]) -> None:
    """Load what is below the folders together, as a gate would: names must not clash."""
    folders = [path for path in paths if Path(path).is_dir()]
    if folders:
        load(FolderSource(folders).read())


def _test_files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
        return
    if not path.is_dir():
        raise InputError(f"{path}: no such file or folder")
    for file in path.rglob("*.yaml"):
        is_test = _TESTS in file.relative_to(path).parts[:-1] or file.name.endswith(_SUFFIX)
        if file.is_file() and (is_test or path.name == _TESTS):
            yield file


def _subject(file: Path) -> Path:
    """Return the file or folder of the policies that a test file is about.

    Raises:
        InputError: the file does not lie where tests do.
    """
    if file.name.endswith(_SUFFIX):
        return file.with_name(f"{file.name.removesuffix(_SUFFIX)}.yaml")
    for parent in file.absolute().parents:
        if parent.name == _TESTS:
            return parent.parent
    raise InputError(f"{file}: expected in a folder named {_TESTS}, or named NAME{_SUFFIX}")


def _read(file: Path) -> Sequence[Case]:
    try:
        with file.open("rb") as stream:
            data = stream.read(MAX_FILE_BYTES + 1)
    except OSError as err:
        raise InputError(f"{file}: {err.strerror or err}") from err
    return read_cases(file, data)


def _print_file(file: Path, results: Sequence[Result], *, quiet: bool) -> None:
    shown = [result for result in results if not (quiet and result.passed)]
    if shown:
        print(file)
    for result in shown:
        if result.passed:
            print(f"  ok    {result.case.name}")
            continue
        print(f"  FAIL  {result.case.name} ({file}:{result.case.line}; - expected, + got)")
        for line in result.diff:
            print(f"        {line}")
