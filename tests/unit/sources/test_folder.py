"""Policies are read from folders, sorted, bounded, and without leaving them."""

import os
from pathlib import Path

import pytest

from lictor.errors import InputError
from lictor.sources import folder
from lictor.sources.folder import FolderSource


def write(path: Path, text: str = "x") -> Path:
    """Write a file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def names(*paths: Path) -> list[str]:
    """Return the names of what is read, below the first path."""
    return [
        str(Path(file.name).relative_to(paths[0])) if paths[0].is_dir() else file.name
        for file in FolderSource(paths).read()
    ]


def test_read_gives_policy_files_sorted_by_name(tmp_path: Path) -> None:
    """Folders below are read too; what is no policy is left out."""
    for name in (
        "b/policy.yaml",
        "a/policy.yml",
        "c.yaml",
        "README.md",
        "c.test.yaml",
        "a/tests/case.yaml",
        "tests/deep/case.yaml",
        ".hidden/policy.yaml",
        ".hidden.yaml",
    ):
        write(tmp_path / name)

    assert names(tmp_path) == ["a/policy.yml", "b/policy.yaml", "c.yaml"]


def test_read_refuses_a_source_without_policies(tmp_path: Path) -> None:
    """Empty law allows everything; a folder that is mistyped or not mounted looks just like it."""
    write(tmp_path / "law" / "p.yaml")
    write(tmp_path / "empty" / "README.md")
    write(tmp_path / "empty" / "tests" / "case.yaml")

    with pytest.raises(InputError, match="no folder of policies is named"):
        FolderSource(()).read()
    with pytest.raises(InputError, match=r"empty: there is no policy; expected at least one"):
        FolderSource([tmp_path / "law", tmp_path / "empty"]).read()


def test_read_gives_bytes_as_they_are(tmp_path: Path) -> None:
    """Nothing is decoded here."""
    (tmp_path / "p.yaml").write_bytes(b"\xff\r\n")

    assert FolderSource([tmp_path]).read()[0].data == b"\xff\r\n"


def test_read_takes_files_and_reads_none_twice(tmp_path: Path) -> None:
    """A path may be a file; one that is also below another path counts once."""
    file = write(tmp_path / "a" / "p.yaml")

    assert names(file) == [str(file)]
    assert len(FolderSource([tmp_path, file, tmp_path / "a"]).read()) == 1


def test_read_follows_the_links_of_a_mounted_configmap(tmp_path: Path) -> None:
    """A ConfigMap is mounted as links to a hidden folder beside them, folders too."""
    write(tmp_path / "..2026_01_01" / "p.yaml", "law")
    write(tmp_path / "..2026_01_01" / "sub" / "q.yaml", "more")
    (tmp_path / "..data").symlink_to("..2026_01_01")
    (tmp_path / "p.yaml").symlink_to("..data/p.yaml")
    (tmp_path / "sub").symlink_to("..data/sub")

    found = FolderSource([tmp_path]).read()

    assert [file.data for file in found] == [b"law", b"more"]


def test_read_refuses_links_that_lead_out(tmp_path: Path) -> None:
    """To leave such a link out would leave out law, to follow it would read anything."""
    outside = write(tmp_path / "outside" / "p.yaml")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "p.yaml").symlink_to(outside)

    with pytest.raises(InputError, match=r"in/p\.yaml: a link that leads out of"):
        FolderSource([tmp_path / "in"]).read()


def test_read_ends_where_links_go_in_circles(tmp_path: Path) -> None:
    """A link to a folder above it is entered once."""
    write(tmp_path / "a" / "p.yaml")
    (tmp_path / "a" / "again").symlink_to(tmp_path)

    assert names(tmp_path) == ["a/p.yaml"]


@pytest.mark.parametrize("name", ["missing", "broken"])
def test_read_says_what_is_not_there(tmp_path: Path, name: str) -> None:
    """A path that is not there, or a link to nothing, is an error and not an empty law."""
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "p.yaml").symlink_to("nothing")

    with pytest.raises(InputError, match="No such file"):
        FolderSource([tmp_path / name]).read()


def test_read_opens_no_pipes(tmp_path: Path) -> None:
    """What is no regular file is not opened: a pipe would block."""
    os.mkfifo(tmp_path / "p.yaml")
    write(tmp_path / "q.yaml")

    assert names(tmp_path) == ["q.yaml"]
    with pytest.raises(InputError, match="neither a folder nor a regular file"):
        FolderSource([tmp_path / "p.yaml"]).read()


@pytest.mark.parametrize(
    ("limit", "value", "match"),
    [
        pytest.param("MAX_FILES", 1, "more than 1 files", id="files"),
        pytest.param("MAX_BYTES", 5, "more than 5 bytes in all", id="bytes"),
        pytest.param("MAX_FILE_BYTES", 3, "more than 3 bytes", id="bytes-of-a-file"),
        pytest.param("MAX_FOLDERS", 1, "more than 1 folders", id="folders"),
    ],
)
def test_read_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, limit: str, value: int, match: str
) -> None:
    """Too much is an error, never a part of the law."""
    write(tmp_path / "a" / "p.yaml", "1234")
    write(tmp_path / "b" / "q.yaml", "1234")
    monkeypatch.setattr(folder, limit, value)

    with pytest.raises(InputError, match=match):
        FolderSource([tmp_path]).read()
