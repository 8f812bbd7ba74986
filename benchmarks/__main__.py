"""`python -m benchmarks [NAME..]`: runs all measurements, or those that are named."""

import argparse
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from benchmarks.machine import RESULTS

_HELPERS: Final = {"__init__", "__main__", "machine"}


def main() -> int:
    """Run each measurement in a process of its own, and return 1 where one failed."""
    folder = Path(__file__).parent
    names = sorted(path.stem for path in folder.glob("*.py") if path.stem not in _HELPERS)
    parser = argparse.ArgumentParser(prog="make bench", description=main.__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(names))
    chosen = parser.parse_args().names or names
    unknown = sorted(set(chosen) - set(names))
    if unknown:
        parser.error(f"no such measurement: {', '.join(unknown)}; known are {', '.join(names)}")
    failed = []
    for name in chosen:
        began = time.monotonic()
        print(f"=== {name}", flush=True)
        done = subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=False)
        failed += [name] if done.returncode else []
        print(f"=== {name}: {time.monotonic() - began:.0f} s, exit {done.returncode}", flush=True)
    print(f"results: {RESULTS}" + (f"; failed: {', '.join(failed)}" if failed else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
