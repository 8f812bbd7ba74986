"""Key files."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key

from lictor.audit import open_note, parse_trust, sign_note
from lictor.errors import SettingsError
from lictor.ledger.keys import (
    add_trust,
    create_digest_key,
    create_signing_key,
    load_digest_key,
    load_signer,
    verifier_key,
)

ORIGIN = "a.example/log"


def test_signing_key_round_trip(tmp_path: Path) -> None:
    """What was made is read back, signs, and is trusted by its line."""
    key = create_signing_key(tmp_path / "key", origin=ORIGIN)
    add_trust(tmp_path / "trust", key)
    signer = load_signer(tmp_path / "key", origin=ORIGIN)

    trusted = parse_trust((tmp_path / "trust").read_bytes())

    assert trusted == (key,) == (verifier_key(signer),)
    assert open_note(sign_note("x\n", signer), trusted) == ("x\n", (key,))
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600


def test_signer_never_shows_its_key(tmp_path: Path) -> None:
    """The private key is not in repr."""
    create_signing_key(tmp_path / "key", origin=ORIGIN)

    assert repr(load_signer(tmp_path / "key", origin=ORIGIN)) == (
        "Ed25519Signer(_name='a.example/log')"
    )


def test_digest_key_round_trip(tmp_path: Path) -> None:
    """A digest key has 32 bytes, and no two are the same."""
    for name in ("one", "two"):
        create_digest_key(tmp_path / name)
    keys = {load_digest_key(tmp_path / name) for name in ("one", "two")}

    assert {len(key) for key in keys} == {32}
    assert len(keys) == 2
    assert (tmp_path / "one").stat().st_mode & 0o777 == 0o600


def test_keys_are_never_overwritten(tmp_path: Path) -> None:
    """A key that exists stays."""
    (tmp_path / "key").write_text("precious")

    with pytest.raises(SettingsError, match="never overwritten"):
        create_signing_key(tmp_path / "key", origin=ORIGIN)
    with pytest.raises(SettingsError, match="never overwritten"):
        create_digest_key(tmp_path / "key")
    assert (tmp_path / "key").read_text() == "precious"


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o620, 0o602, 0o777])
def test_keys_that_others_can_read_are_refused(tmp_path: Path, mode: int) -> None:
    """A key of ours that the group or others can reach is no secret."""
    create_signing_key(tmp_path / "key", origin=ORIGIN)
    create_digest_key(tmp_path / "digest")
    for name in ("key", "digest"):
        (tmp_path / name).chmod(mode)

    with pytest.raises(SettingsError, match=f"mode {mode:04o}"):
        load_signer(tmp_path / "key", origin=ORIGIN)
    with pytest.raises(SettingsError, match=f"mode {mode:04o}"):
        load_digest_key(tmp_path / "digest")


def test_group_may_read_a_key_of_somebody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Secret volume with fsGroup: owned by root, read by the group of the process."""
    create_signing_key(tmp_path / "key", origin=ORIGIN)
    (tmp_path / "key").chmod(0o440)
    monkeypatch.setattr("os.geteuid", lambda: (tmp_path / "key").stat().st_uid + 1)

    assert load_signer(tmp_path / "key", origin=ORIGIN).name == ORIGIN


def ec_key() -> bytes:
    """Build a key of another type."""
    return generate_private_key(SECP256R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


@pytest.mark.parametrize(
    ("data", "match"),
    [
        pytest.param(b"", "Ed25519 private key as PEM", id="empty"),
        pytest.param(b"hunter2", "Ed25519 private key as PEM", id="garbage"),
        pytest.param(ec_key(), "another type", id="other-type"),
        pytest.param(b"x" * 20_000, "more than", id="large"),
    ],
)
def test_load_signer_refuses_what_is_no_key(tmp_path: Path, data: bytes, match: str) -> None:
    """The error says what was expected, and does not quote the file."""
    path = tmp_path / "key"
    path.touch(mode=0o600)
    path.write_bytes(data)

    with pytest.raises(SettingsError, match=match) as caught:
        load_signer(path, origin=ORIGIN)
    assert "hunter2" not in str(caught.value)


def test_load_digest_key_names_the_setting_that_is_missing() -> None:
    """A setting that was forgotten is an empty path, which would be the folder we run in."""
    with pytest.raises(SettingsError, match=r"audit\.digestKey: it must be set"):
        load_digest_key(Path(""))  # noqa: PTH201 - as the empty setting gives it


@pytest.mark.parametrize("data", [b"", b"zz" * 32, b"ab" * 31, b"abc" * 33])
def test_load_digest_key_refuses_what_is_no_key(tmp_path: Path, data: bytes) -> None:
    """Short keys and other text are refused."""
    path = tmp_path / "key"
    path.touch(mode=0o600)
    path.write_bytes(data)

    with pytest.raises(SettingsError, match="hexadecimal digits"):
        load_digest_key(path)


def test_missing_files_are_named(tmp_path: Path) -> None:
    """Each error names the file."""
    with pytest.raises(SettingsError, match=r"absent: No such file"):
        load_signer(tmp_path / "absent", origin=ORIGIN)
    with pytest.raises(SettingsError, match=r"absent/key: No such file"):
        create_digest_key(tmp_path / "absent" / "key")
    with pytest.raises(SettingsError, match=r"absent/trust: No such file"):
        add_trust(tmp_path / "absent" / "trust", create_signing_key(tmp_path / "k", origin="o"))


@pytest.mark.parametrize("origin", ["", "a b", "a+b", "a\nb"])
def test_origin_must_be_the_name_of_a_key(tmp_path: Path, origin: str) -> None:
    """An origin that no note can carry is refused before a file is made."""
    with pytest.raises(SettingsError, match="origin"):
        create_signing_key(tmp_path / "key", origin=origin)
    assert not (tmp_path / "key").exists()


def test_add_trust_appends(tmp_path: Path) -> None:
    """Keys that are trusted stay so, also after a line without an end; junk is refused."""
    path = tmp_path / "trust"
    keys = [create_signing_key(tmp_path / name, origin=name) for name in ("a", "b")]
    path.write_text(f"# ours\n{keys[0].vkey}")
    add_trust(path, keys[1])

    assert parse_trust(path.read_bytes()) == tuple(keys)
    path.write_text("junk\n")
    with pytest.raises(SettingsError, match="line 1"):
        add_trust(path, keys[1])
