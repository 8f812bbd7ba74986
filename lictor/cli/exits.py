"""Exit codes, the same for every command unless its help says otherwise."""

from typing import Final

OK: Final = 0
FAILED: Final = 1
SETTINGS: Final = 2
USAGE: Final = 3
LEDGER: Final = 4
REFUSED: Final = 5
INTERRUPTED: Final = 130
BROKEN_PIPE: Final = 141
"""As a shell counts SIGPIPE: nobody read the output to its end."""

EPILOG: Final = """\
exit codes (of `run`; other commands say theirs in their help):
  0  done, or stopped cleanly by SIGTERM or SIGINT
  1  anything else that went wrong
  2  the configuration is wrong
  3  the command line is wrong
  4  the ledger cannot be opened, or is damaged
  5  the API server refused us (RBAC)
"""
