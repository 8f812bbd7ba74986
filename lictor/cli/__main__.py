"""`python -m lictor.cli`, where the command is not installed."""

import sys

from lictor.cli.main import main

sys.exit(main())
