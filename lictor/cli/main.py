"""The command `lictor`.

Only the command that is asked for is imported: `lictor audit verify` starts without the
Kubernetes client, and a plugin that is broken breaks only itself.
"""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from importlib.metadata import EntryPoint, PackageNotFoundError, entry_points, version
from typing import TYPE_CHECKING, Final

from lictor.cli import exits
from lictor.cli.parser import Parser
from lictor.errors import ForbiddenError, LictorError, SettingsError

if TYPE_CHECKING:
    from lictor.cli.parser import Subparsers

GROUP: Final = "lictor.commands"
"""Entry points of programs: each is a function that takes the subparsers."""

BUILT_IN: Final = {
    "test": "run the tests that lie beside policies",
    "audit": "verify the signed record, offline",
    "keys": "make the keys of a ledger and the trust file that verifies it",
    "config": "show every setting with its value, unit, default and reason",
}
"""Commands of `lictor.cli`, each a module with `add_parser(subparsers)`."""

_PROGRAMS: Final = {
    "gate": "the admission webhook: judges every write that the API server sends",
    "enforcer": "the reconcile loop: finds what got past the gate, and reverts it",
}
"""What the help says of the programs that it does not import for that."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (of the process, where None) and return its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        return _run(build_parser(words).parse_args(words))
    except SystemExit as stop:  # argparse: --help, --version, or a wrong command line
        return stop.code if isinstance(stop.code, int) else exits.OK
    except SettingsError as err:
        return _say(err, exits.SETTINGS)
    except ForbiddenError as err:
        return _say(err, exits.REFUSED)
    except (LictorError, OSError) as err:
        # An OSError that nobody knew better: a port that is taken, a disk that is full.
        return _say(err, exits.FAILED)
    except KeyboardInterrupt:
        return exits.INTERRUPTED


def _run(arguments: argparse.Namespace) -> int:
    try:
        code = int(arguments.run(arguments))
        sys.stdout.flush()
    except BrokenPipeError:
        # Who read our output has had enough (`| head`); the interpreter must not flush it again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return exits.BROKEN_PIPE
    return code


def build_parser(words: Sequence[str]) -> argparse.ArgumentParser:
    """Return the parser for the command line `words`.

    The commands that `words` does not ask for are there by name only, for the help.
    """
    parser: argparse.ArgumentParser = Parser(
        prog="lictor",
        description="Policy-gated admission and enforcement for Kubernetes: "
        "fail open without being open.",
        epilog=exits.EPILOG,
    )
    parser.add_argument("--version", action="version", version=f"lictor {_version()}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    asked = next((word for word in words if not word.startswith("-")), "")
    programs = {} if asked in BUILT_IN else _entry_points()
    for name, text in BUILT_IN.items():
        if name == asked:
            importlib.import_module(f"lictor.cli.{name}").add_parser(subparsers)
        else:
            subparsers.add_parser(name, help=text)
    for name, point in sorted(programs.items()):
        _add_program(subparsers, point, asked=name == asked)
    return parser


def _entry_points() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP) if point.name not in BUILT_IN}


def _add_program(subparsers: "Subparsers", point: EntryPoint, *, asked: bool) -> None:
    text = _PROGRAMS.get(point.name, f"from {point.value}")
    if not asked:
        subparsers.add_parser(point.name, help=text)
        return
    try:
        point.load()(subparsers)
    except Exception as err:  # the root of somebody else's code
        if point.name in subparsers.choices:
            raise
        fault = f"{type(err).__name__}: {err}"
        broken = subparsers.add_parser(point.name, help=text, add_help=False)
        broken.add_argument("words", nargs=argparse.REMAINDER)
        broken.set_defaults(run=lambda _: _say(f"{point.value} cannot be loaded: {fault}", 1))


def _version() -> str:
    try:
        return version("lictor")
    except PackageNotFoundError:
        return "(not installed)"


def _say(what: object, code: int) -> int:
    print(f"lictor: {what}", file=sys.stderr)
    return code
