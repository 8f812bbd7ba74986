"""`lictor audit verify`: is a ledger what the trusted key signed?"""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from lictor.audit import LogReport, NoteError, VerifierKey, parse_trust, verify_log
from lictor.cli import exits
from lictor.errors import StoreError
from lictor.ledger.reader import LedgerReader

if TYPE_CHECKING:
    from lictor.cli.parser import Subparsers

TAMPERED: Final = 1

_DESCRIPTION: Final = """\
Verify every leaf, root and signature of a ledger against the public keys of the trust file. No key
is read from the ledger itself. A ledger that is being written can be verified as it is: it is not
disturbed. What cannot be found in the ledger alone is that it was cut back to an earlier
checkpoint: compare size and root with a head that you kept elsewhere.
"""
_EPILOG: Final = """\
exit codes:
  0  every leaf and checkpoint is as the trusted key signed it
  1  tampered or damaged: standard output says what and where
  3  the command line, the path or the trust file is wrong: nothing was verified
"""


def add_parser(subparsers: "Subparsers") -> None:
    """Add `audit` with its subcommands."""
    parser = subparsers.add_parser("audit", help="verify the signed record, offline")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    verify = commands.add_parser(
        "verify",
        help="verify a ledger against trusted keys",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verify.add_argument("path", metavar="PATH", help="the ledger: its SQLite file")
    verify.add_argument(
        "--trust", metavar="FILE", help="public keys, one a line (`lictor keys init`); required"
    )
    verify.add_argument(
        "--origin", metavar="NAME", default="", help="also require that the ledger is this one"
    )
    verify.set_defaults(run=run_verify)


def run_verify(arguments: argparse.Namespace) -> int:
    """Verify one ledger, say what was found, and return the exit code."""
    if not arguments.trust:
        return _usage("--trust FILE is required: which keys count is not read from the ledger")
    try:
        keys = parse_trust(Path(arguments.trust).read_bytes())
    except OSError as err:
        return _usage(f"trust file {arguments.trust}: {err.strerror}")
    except NoteError as err:
        return _usage(f"trust file {arguments.trust}: {err}")
    path = Path(arguments.path)
    if not path.is_file():
        return _usage(f"{path}: no such file")
    try:
        report = _verify(path, keys)
    except StoreError as err:
        print(f"TAMPERED or damaged: {err}")
        print("(a copy of a live ledger must be made by `VACUUM INTO` or SQLite's backup API)")
        return TAMPERED
    return _tell(path, report, origin=arguments.origin)


def _verify(path: Path, keys: tuple[VerifierKey, ...]) -> LogReport:
    reader = LedgerReader(path)
    snapshot = reader.snapshot()

    def show(done: int) -> None:
        print(f"verified {done} of {snapshot.size} leaves", file=sys.stderr)

    leaves = reader.leaves(end=snapshot.size)
    return verify_log(leaves, snapshot.checkpoints, keys=keys, progress=show)


def _tell(path: Path, report: LogReport, *, origin: str) -> int:
    for warning in report.warnings:
        print(f"note: {warning}")
    for fault in report.faults:
        print(f"fault: {fault.text}")
    if report.fault_count > len(report.faults):
        print(f"and {report.fault_count - len(report.faults)} more faults")
    if not report.is_intact or report.head is None:
        print(f"TAMPERED: {path} is not what the trusted key signed: {report.fault_count} faults")
        return TAMPERED
    if origin and report.head.origin != origin:
        print(f"TAMPERED: {path} is the ledger {report.head.origin}; expected {origin}")
        return TAMPERED
    for kind, count in report.records.items():
        print(f"{count:>9}  {kind}")
    print(f"origin {report.head.origin}")
    print(f"size   {report.head.size}")
    print(f"root   {report.head.root.hex()}")
    print("OK: every leaf and checkpoint is as the trusted key signed it")
    return exits.OK


def _usage(what: str) -> int:
    print(f"lictor audit verify: {what}", file=sys.stderr)
    return exits.USAGE
