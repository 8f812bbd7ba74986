"""`lictor audit verify` and `lictor keys init`, as a user calls them."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from lictor.cli.main import main
from lictor.ledger import backup
from lictor.ledger.sequencer import open_ledger
from lictor.model.audit_record import AuditRecord, RecordType
from lictor.system import SystemClock
from testkit.ledgers import LedgerHome, new_ledger


@pytest.fixture
async def home(tmp_path: Path) -> LedgerHome:
    """Write a ledger with ten decisions."""
    found = new_ledger(tmp_path)
    async with open_ledger(found.settings, cluster="c", version="1", clock=SystemClock()) as log:
        for _ in range(10):
            await log.append(AuditRecord(type=RecordType.ADMISSION_DECISION))
    return found


def verify(home: LedgerHome, *more: str, path: Path | None = None) -> int:
    """Run the command."""
    return main(["audit", "verify", str(path or home.path), "--trust", str(home.trust), *more])


def test_verify_accepts_an_intact_ledger(
    home: LedgerHome, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 0, with origin, size and root, so that they can be kept elsewhere."""
    assert verify(home) == 0

    out = capsys.readouterr().out
    assert f"origin {home.settings.origin}" in out
    assert "size   13" in out
    assert "10  admission.decision" in out
    assert out.endswith("OK: every leaf and checkpoint is as the trusted key signed it\n")


def test_verify_tells_its_progress(
    home: LedgerHome, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a long ledger, standard error says how far it is."""
    monkeypatch.setattr("lictor.audit.verification._PROGRESS_EVERY", 5)

    assert verify(home) == 0
    assert capsys.readouterr().err.splitlines() == [
        "verified 5 of 13 leaves",
        "verified 10 of 13 leaves",
    ]


def test_verify_counts_what_it_does_not_describe(
    home: LedgerHome, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of many faults some are described; notes on the order of records come with them."""
    monkeypatch.setattr("lictor.audit.verification.MAX_FAULTS", 2)
    with closing(sqlite3.connect(home.path)) as connection:
        connection.execute("DELETE FROM leaf WHERE idx = 4")
        connection.execute("UPDATE leaf SET hash = zeroblob(32)")
        connection.commit()

    assert verify(home) == 1
    out = capsys.readouterr().out
    assert "more faults" in out
    assert "note: boot" in out


async def test_verify_reads_a_live_ledger(tmp_path: Path) -> None:
    """A ledger is verified while it is written, and the writer goes on."""
    home = new_ledger(tmp_path)
    async with open_ledger(home.settings, cluster="c", version="1", clock=SystemClock()) as log:
        await log.append(AuditRecord(type=RecordType.ADMISSION_DECISION))

        assert verify(home) == 0
        assert (await log.append(AuditRecord(type=RecordType.ADMISSION_DECISION))).durable
    assert verify(home) == 0


def test_verify_names_the_leaf_that_was_changed(
    home: LedgerHome, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 1 for a copy with one byte of one leaf changed, and the leaf is named."""
    target = tmp_path / "copy.db"
    backup.copy(home.path, target)
    with closing(sqlite3.connect(target)) as connection:
        connection.execute(
            "UPDATE leaf SET data = CAST(replace(data, 'decision', ?) AS BLOB) WHERE idx = 5",
            ("decisiom",),
        )
        connection.commit()

    assert verify(home, path=target) == 1
    out = capsys.readouterr().out
    assert "fault: leaf 5, bytes or hash" in out
    assert "TAMPERED" in out.splitlines()[-1]
    assert verify(home) == 0


def test_verify_refuses_the_key_of_somebody_else(
    home: LedgerHome, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A trust file without the key of this ledger does not vouch for it."""
    (tmp_path / "other").mkdir()
    other = new_ledger(tmp_path / "other")

    assert verify(other, path=home.path) == 1
    assert "no trusted key has signed it" in capsys.readouterr().out


def test_verify_checks_the_origin(home: LedgerHome, capsys: pytest.CaptureFixture[str]) -> None:
    """A ledger that is intact, but another one, is not what was asked for."""
    assert verify(home, "--origin", home.settings.origin) == 0
    assert verify(home, "--origin", "a.example/other") == 1
    assert "expected a.example/other" in capsys.readouterr().out


@pytest.mark.parametrize("content", [b"x" * 9000, b""])
def test_verify_says_that_a_file_is_no_ledger(
    home: LedgerHome, tmp_path: Path, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    """What cannot be read is not proven: exit 1, with a hint how to copy a live ledger."""
    (tmp_path / "junk").write_bytes(content)

    assert verify(home, path=tmp_path / "junk") == 1
    assert "backup API" in capsys.readouterr().out


def test_verify_needs_a_trust_file(home: LedgerHome, capsys: pytest.CaptureFixture[str]) -> None:
    """Without keys from outside nothing is verified: exit 3."""
    assert main(["audit", "verify", str(home.path)]) == 3
    assert "--trust FILE is required" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("trust", "match"),
    [
        pytest.param(None, "No such file", id="missing"),
        pytest.param("", "no key", id="empty"),
        pytest.param("junk\n", "line 1", id="junk"),
    ],
)
def test_verify_refuses_a_bad_trust_file(
    home: LedgerHome, trust: str | None, match: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A trust file that says nothing is a usage error, not a verdict."""
    home.trust.unlink()
    if trust is not None:
        home.trust.write_text(trust)

    assert verify(home) == 3
    assert match in capsys.readouterr().err


def test_verify_needs_a_ledger(
    home: LedgerHome, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A path that is not there is a usage error."""
    assert verify(home, path=tmp_path / "absent") == 3
    assert "no such file" in capsys.readouterr().err


def init(folder: Path, *more: str) -> int:
    """Run `keys init` for a ledger in `folder`."""
    files = [f"--key={folder / 'k'}", f"--trust={folder / 't'}", *more]
    return main(["keys", "init", "--origin", "a.example/log", *files])


def test_keys_init_makes_keys_and_trust(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Both keys are made, and the verifier key is printed and trusted."""
    assert init(tmp_path, f"--digest-key={tmp_path / 'd'}") == 0

    assert (tmp_path / "t").read_text() == capsys.readouterr().out
    assert {path.name for path in tmp_path.iterdir()} == {"k", "d", "t"}


def test_keys_init_overwrites_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where one key exists, none is made: exit 2."""
    (tmp_path / "d").write_text("precious")

    assert init(tmp_path, f"--digest-key={tmp_path / 'd'}") == 2
    assert "never overwritten" in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"d"}
