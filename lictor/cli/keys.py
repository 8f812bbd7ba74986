"""`lictor keys init`: the keys of a ledger, and the trust file that verifies it."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Final

from lictor.cli import exits
from lictor.errors import SettingsError
from lictor.ledger.keys import add_trust, create_digest_key, create_signing_key

if TYPE_CHECKING:
    from lictor.cli.parser import Subparsers

_DESCRIPTION: Final = """\
Make the private key that signs the checkpoints of one ledger, and the key of the digests of
Secrets, each in a new file that only its owner can read, and append the public key to the trust
file that `lictor audit verify` takes. No file is overwritten. Keep the trust file away from the
ledger: who can write both can replace both.
"""
_EPILOG: Final = """\
exit codes:
  0  the keys are made
  2  a file exists or cannot be written, or the origin cannot name a key
"""


def add_parser(subparsers: "Subparsers") -> None:
    """Add `keys` with its subcommands."""
    parser = subparsers.add_parser(
        "keys", help="make the keys of a ledger and the trust file that verifies it"
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    init = commands.add_parser(
        "init",
        help="make the keys of a new ledger",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    init.add_argument(
        "--origin",
        metavar="NAME",
        required=True,
        help="name of the ledger and of its key, such as example.org/<cluster uid>/gate-0/1",
    )
    init.add_argument("--key", metavar="FILE", required=True, help="the private key, to be made")
    init.add_argument("--digest-key", metavar="FILE", help="the key of the digests, to be made")
    init.add_argument("--trust", metavar="FILE", required=True, help="the trust file, appended to")
    init.set_defaults(run=run_init)


def run_init(arguments: argparse.Namespace) -> int:
    """Make the keys.

    Raises:
        SettingsError: a file exists or cannot be written, or the origin cannot name a key.
    """
    # Looked at first, so that no half of the keys is made.
    for name in filter(None, (arguments.key, arguments.digest_key)):
        if Path(name).exists():
            raise SettingsError(f"{name}: it exists; a key is never overwritten")
    key = create_signing_key(Path(arguments.key), origin=arguments.origin)
    if arguments.digest_key:
        create_digest_key(Path(arguments.digest_key))
    add_trust(Path(arguments.trust), key)
    print(key.vkey)
    return exits.OK
