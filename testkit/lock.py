"""Checks, without a network, that the lock still follows from `pyproject.toml`.

It reads the metadata of the packages that the lock installed: every requirement is met by a
locked version, and every locked package is required by something.
"""

import importlib.metadata
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT: Final = Path(__file__).resolve().parent.parent
ENTRY: Final = re.compile(r"^([A-Za-z0-9._-]+)==([^\s\\;]+)([^\\\n]*)", re.MULTILINE)


def locked_versions(text: str) -> dict[str, str]:
    """Return the version of every package in a lock that applies to this interpreter."""
    found: dict[str, str] = {}
    for name, version, marker in ENTRY.findall(text):
        requirement = Requirement(f"{name}{marker}")
        if requirement.marker is None or requirement.marker.evaluate():
            found[canonicalize_name(name)] = version
    return found


def unhashed(text: str) -> list[str]:
    """Return the packages of a lock that have no hash."""
    blocks = re.split(r"^(?=\S)", text, flags=re.MULTILINE)
    return [block.split("==")[0] for block in blocks if "==" in block and "--hash=" not in block]


def faults(
    roots: Iterable[Requirement], versions: Mapping[str, str], *, name: str
) -> Iterator[str]:
    """Yield what is wrong with a lock of these versions for these requirements."""
    waiting = list(roots)
    visited: set[tuple[str, ...]] = set()
    while waiting:
        requirement = waiting.pop()
        package = canonicalize_name(requirement.name)
        visit = (package, *sorted(requirement.extras))
        version = versions.get(package)
        if version is None:
            yield f"{name} lacks {requirement}"
        elif not requirement.specifier.contains(version, prereleases=True):
            yield f"{name} holds {package} {version}; expected {requirement}"
        elif visit not in visited:
            waiting += _requirements_of(requirement)
        visited.add(visit)
    unneeded = set(versions) - {visit[0] for visit in visited}
    yield from (f"{name} holds {package}, which nothing requires" for package in sorted(unneeded))


def _requirements_of(requirement: Requirement) -> list[Requirement]:
    declared = importlib.metadata.requires(requirement.name) or []
    return _applying([Requirement(text) for text in declared], extras=requirement.extras)


def _applying(requirements: Iterable[Requirement], *, extras: Iterable[str]) -> list[Requirement]:
    environments = [{"extra": extra} for extra in ("", *extras)]
    return [
        requirement
        for requirement in requirements
        if requirement.marker is None
        or any(requirement.marker.evaluate(environment) for environment in environments)
    ]


def main() -> int:
    """Print what is wrong with the locks; 1 where anything is."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    base = project["dependencies"]
    optional = project["optional-dependencies"]
    found: list[str] = []
    texts = {}
    for name, declared in {"base": base, "dev": base + optional["dev"]}.items():
        text = texts[name] = (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8")
        found += [f"{name}.txt has no hash of {package}" for package in unhashed(text)]
        roots = _applying([Requirement(entry) for entry in declared], extras=())
        found += faults(roots, locked_versions(text), name=f"{name}.txt")
    developers = locked_versions(texts["dev"])
    found += [
        f"base.txt holds {package} {version}; dev.txt holds {developers.get(package, 'none')}"
        for package, version in locked_versions(texts["base"]).items()
        if developers.get(package) != version
    ]
    toolchain = (ROOT / "requirements" / "go.txt").read_text(encoding="utf-8")
    found += [f"go.txt lacks {entry}" for entry in optional["go"] if f"{entry} " not in toolchain]
    print("\n".join(found) or "the locks follow from pyproject.toml")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
