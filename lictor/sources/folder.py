"""Policies from folders and files."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from typing_extensions import override

from lictor.errors import InputError
from lictor.ports.policy_source import PolicyFile, PolicySource

MAX_FILES: Final = 2000
MAX_BYTES: Final = 64 * 1024 * 1024
"""Of all files together."""

MAX_FILE_BYTES: Final = 1024 * 1024
MAX_FOLDERS: Final = 5000

_SUFFIXES: Final = frozenset({".yaml", ".yml"})
_TESTS: Final = "tests"


@dataclass(frozen=True, slots=True)
class FolderSource(PolicySource):
    """Reads every policy file below `paths`, together as one revision.

    A folder is read with all below it. Left out are hidden entries, folders named `tests` and
    files named `*.test.yaml`. A mounted ConfigMap is a folder of symbolic links: links are followed
    within the folder, and one that leads out of it is an error, since without it law is missing.

    So is a path below which there is no policy: law that is empty allows everything, and a mistyped
    or unmounted folder looks just like it.
    """

    paths: Sequence[str | Path]

    @override
    def read(self) -> Sequence[PolicyFile]:
        """Return every policy file, sorted by name.

        Raises:
            InputError: there is no path; or one is not there, cannot be read, leads out of its
                folder, or holds no policy; or there is more than the limits allow.
        """
        if not self.paths:
            raise InputError("no folder of policies is named; expected at least one")
        found: dict[Path, str] = {}
        for path in self.paths:
            root = Path(path)
            try:
                below = list(_files(root))
            except OSError as err:
                raise InputError(f"{root}: {err.strerror or err}") from err
            if not below:
                raise InputError(f"{root}: there is no policy; expected at least one *.yaml file")
            for name, file in below:
                found.setdefault(file, name)
            if len(found) > MAX_FILES:
                raise InputError(f"{root}: more than {MAX_FILES} files")
        return _read_all(sorted(found.items(), key=lambda item: item[1]))


def _read_all(files: Sequence[tuple[Path, str]]) -> tuple[PolicyFile, ...]:
    contents = []
    left = MAX_BYTES
    for file, name in files:
        data = _read(file, name)
        left -= len(data)
        if left < 0:
            raise InputError(f"{name}: more than {MAX_BYTES} bytes in all files together")
        contents.append(PolicyFile(name, data))
    return tuple(contents)


def _read(file: Path, name: str) -> bytes:
    try:
        with file.open("rb") as stream:
            data = stream.read(MAX_FILE_BYTES + 1)
    except OSError as err:
        raise InputError(f"{name}: {err.strerror or err}") from err
    if len(data) > MAX_FILE_BYTES:
        raise InputError(f"{name}: more than {MAX_FILE_BYTES} bytes")
    return data


def _files(root: Path) -> Iterator[tuple[str, Path]]:
    """Yield the name and the real path of each file below `root`."""
    real = root.resolve(strict=True)
    if real.is_dir():
        yield from _below(root, real)
    elif real.is_file():
        yield str(root), real
    else:
        raise InputError(f"{root}: neither a folder nor a regular file")


def _below(root: Path, real: Path) -> Iterator[tuple[str, Path]]:
    # A stack instead of recursion; folders that links lead to a second time are not entered again.
    waiting = [(root, real)]
    entered = {real}
    while waiting:
        folder, real_folder = waiting.pop()
        for entry in sorted(real_folder.iterdir()):
            if entry.name.startswith("."):
                continue
            target, name = entry.resolve(strict=True), folder / entry.name
            if not target.is_relative_to(real):
                raise InputError(f"{name}: a link that leads out of {root}")
            if target.is_file() and _is_policy(entry.name):
                yield str(name), target
            elif target.is_dir() and entry.name != _TESTS and target not in entered:
                entered.add(target)
                waiting.append((name, target))
        if len(entered) > MAX_FOLDERS:
            raise InputError(f"{root}: more than {MAX_FOLDERS} folders")


def _is_policy(name: str) -> bool:
    stem, dot, suffix = name.rpartition(".")
    return f"{dot}{suffix}" in _SUFFIXES and not stem.endswith(".test")
