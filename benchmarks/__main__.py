"""`python -m benchmarks [NAME..]`: runs all measurements, or those that are named."""

import argparse
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

_HELPERS: Final = {"__init__", "__main__", "machine"}


def main() -> int:
    """Run each measurement in a process of its own, and return how many failed."""
    folder = Path(__file__).parent
    names = sorted(path.stem for path in folder.glob("*.py") if path.stem not in _HELPERS)
    parser = argparse.ArgumentParser(prog="make bench", description=main.__doc__)
    parser.add_argument("names", nargs="*", choices=[*names, []], help=", ".join(names))
    failed = 0
    for name in parser.parse_args().names or names:
        began = time.monotonic()
        print(f"=== {name}", flush=True)
        done = subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=False)
        failed += done.returncode != 0
        print(f"=== {name}: {time.monotonic() - began:.0f} s, exit {done.returncode}", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
