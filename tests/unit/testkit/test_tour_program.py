"""The tour ends in order, whatever happens on its way."""

import asyncio
from pathlib import Path

import pytest

from testkit.process import StartError
from testkit.tour import __main__ as program


async def test_unless_raises_what_did_not_start() -> None:
    """A program that does not start is named; no group of exceptions hides it."""

    async def walk() -> bool:
        raise StartError("lictor ended with 4")

    with pytest.raises(StartError, match="ended with 4"):
        await program._unless(asyncio.Event(), walk())


async def test_unless_ends_the_walk_at_a_stop() -> None:
    """A Ctrl-C on the way is no success, and nobody waits for the rest of the way."""
    stop = asyncio.Event()

    async def walk() -> bool:
        stop.set()
        await asyncio.Event().wait()
        return True

    assert await program._unless(stop, walk()) is False


@pytest.mark.parametrize("right", [pytest.param(True, id="right"), pytest.param(False, id="wrong")])
async def test_unless_gives_what_the_walk_gave(right: bool) -> None:  # noqa: FBT001 - a table
    """Whether every step was right is what counts."""

    async def walk() -> bool:
        return right

    assert await program._unless(asyncio.Event(), walk()) is right


def test_kubectl_is_that_of_the_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is a kubectl on PATH it is named, else the one that was built, with its path."""
    own, built = tmp_path / "own", tmp_path / "built"
    for folder in (own, built):
        folder.mkdir()
        (folder / "kubectl").write_text("#!/bin/sh\n")
        (folder / "kubectl").chmod(0o755)
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(built))

    monkeypatch.setenv("PATH", str(own))
    named = program._kubectl()
    monkeypatch.setenv("PATH", str(tmp_path))
    found = program._kubectl()

    assert (named, found) == ("kubectl", str(built / "kubectl"))
