"""Signed notes, keys, checkpoints and trust files."""

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from lictor.audit import (
    Checkpoint,
    NoteError,
    VerifierKey,
    open_note,
    parse_checkpoint,
    parse_trust,
    parse_vkey,
    sign_note,
)
from lictor.audit.tree import EMPTY_ROOT
from lictor.ledger.keys import Ed25519Signer, verifier_key

# From the documentation of golang.org/x/mod/sumdb/note.
PETER = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
PETERS_TEXT = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
)
PETERS_LINE = (
    "\N{EM DASH} PeterNeumann "
    "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM="
)
PETERS_NOTE = f"{PETERS_TEXT}\n{PETERS_LINE}\n".encode()

SIGNER = Ed25519Signer("a.example/log", Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
KEY = verifier_key(SIGNER)
NOTE = sign_note("hello\n", SIGNER)


def test_ed25519_is_that_of_rfc_8032() -> None:
    """The signer gives the signature of RFC 8032 7.1, test 2."""
    private = "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb"
    signer = Ed25519Signer("x", Ed25519PrivateKey.from_private_bytes(bytes.fromhex(private)))

    assert signer.public.hex() == "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
    assert signer.sign(b"\x72").hex() == (
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    )


def test_open_note_accepts_a_note_of_go() -> None:
    """The example of golang.org/x/mod is opened with its key."""
    text, signers = open_note(PETERS_NOTE, [parse_vkey(PETER)])

    assert text == PETERS_TEXT
    assert [key.vkey for key in signers] == [PETER]


def test_parse_vkey_accepts_the_key_of_the_go_checksum_database() -> None:
    """A key in use, with a slash and plus signs in its base64."""
    vkey = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8"

    assert parse_vkey(vkey).vkey == vkey


def test_sign_note_is_opened_by_its_key() -> None:
    """What we write, we accept."""
    assert open_note(NOTE, [KEY]) == ("hello\n", (KEY,))


def test_open_note_passes_over_other_keys() -> None:
    """A signature by somebody unknown neither counts nor harms."""
    both = NOTE + f"{PETERS_LINE}\n".encode()

    assert open_note(both, [KEY]) == ("hello\n", (KEY,))


def test_open_note_counts_a_key_once() -> None:
    """The same signature twice is one."""
    twice = NOTE + NOTE.split(b"\n\n")[1]

    assert open_note(twice, [KEY])[1] == (KEY,)


LINE = NOTE.split(b"\n\n")[1].rstrip(b"\n")
WRONG = b"\xe2\x80\x94 a.example/log " + base64.b64encode(KEY.id + bytes(64))


@pytest.mark.parametrize(
    ("note", "match"),
    [
        pytest.param(b"", "empty line", id="empty"),
        pytest.param(b"hello\n", "empty line", id="no-signature"),
        pytest.param(b"hello\n\n", "signature line", id="empty-signature"),
        pytest.param(b"hello\n" + LINE + b"\n", "empty line", id="no-empty-line"),
        pytest.param(b"hello\n\n" + LINE, "empty line", id="no-last-line-break"),
        pytest.param(b"hello\r\n\n" + LINE + b"\n", "control", id="carriage-return"),
        pytest.param(b"hel\x00lo\n\n" + LINE + b"\n", "control", id="nul"),
        pytest.param(b"hello\n\n" + LINE + b"\t\n", "control", id="tab"),
        pytest.param(b"hel\xfflo\n\n" + LINE + b"\n", "UTF-8", id="not-utf-8"),
        pytest.param(b"Hello\n\n" + LINE + b"\n", "wrong", id="other-text"),
        pytest.param(b"hello\n\n" + WRONG + b"\n", "wrong", id="wrong-signature"),
        pytest.param(b"hello\n\n" + LINE + b"\n" + b"junk\n", "signature line", id="junk-line"),
        pytest.param(b"hello\n\n" + LINE[:-2] + b"\n", "signature line", id="torn-base64"),
        pytest.param(b"hello\n\n" + LINE.replace(b" a.", b" a+."), "empty line", id="no-end"),
        pytest.param(b"hello\n\n" + LINE.replace(b" a.", b" a+.") + b"\n", "key name", id="plus"),
        pytest.param(b"hello\n\n\xe2\x80\x94  AAAAAAA=\n", "key name", id="no-name"),
        pytest.param(b"hello\n\n\xe2\x80\x94 x AAAA\n", "signature line", id="short"),
        pytest.param(b"hello\n\n- x AAAAAAAA\n", "signature line", id="hyphen"),
        pytest.param(b"hello\n\n" + (LINE + b"\n") * 101, "101 signatures", id="many"),
        pytest.param(b"x" * 1_000_001, "at most", id="large"),
        pytest.param(PETERS_NOTE, "no trusted key", id="not-ours"),
        pytest.param(b"\n\n" + LINE + b"\n", "wrong", id="no-text"),
    ],
)
def test_open_note_refuses_malicious_notes(note: bytes, match: str) -> None:
    """Each malformed or forged note is refused, and says why."""
    with pytest.raises(NoteError, match=match):
        open_note(note, [KEY])


def test_open_note_refuses_base64_in_a_second_spelling() -> None:
    """Stray bits at the end of base64 do not give a second form of one signature."""
    assert LINE.endswith(b"=")
    last = LINE[-2:-1]
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    other = alphabet[alphabet.index(last) + 1 : alphabet.index(last) + 2]

    with pytest.raises(NoteError, match="signature line"):
        open_note(b"hello\n\n" + LINE[:-2] + other + b"=\n", [KEY])


def test_open_note_refuses_twin_key_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two keys of one name and id cannot be told apart, so neither is believed."""
    twin = VerifierKey(KEY.name, bytes(32))
    monkeypatch.setattr(VerifierKey, "id", b"same")

    with pytest.raises(NoteError, match="cannot be told apart"):
        open_note(NOTE, [KEY, twin])


def test_open_note_detects_every_flipped_bit() -> None:
    """No single bit of a note can be changed."""
    for position in range(len(NOTE) * 8):
        changed = bytearray(NOTE)
        changed[position // 8] ^= 1 << (position % 8)

        with pytest.raises(NoteError, match=r"."):
            open_note(bytes(changed), [KEY])


@pytest.mark.parametrize("text", ["hello", "a\rb\n", "\x00\n"])
def test_sign_note_refuses_what_no_note_can_hold(text: str) -> None:
    """The writer is as strict as the reader."""
    with pytest.raises(NoteError, match="note"):
        sign_note(text, SIGNER)


@pytest.mark.parametrize(
    ("vkey", "match"),
    [
        pytest.param("", "verifier key", id="empty"),
        pytest.param("a+b", "verifier key", id="two-parts"),
        pytest.param(PETER.replace("c74f20a3", "c74f20a4"), "was changed", id="other-id"),
        pytest.param(PETER.replace("c74f20a3", "C74F20A3"), "verifier key", id="upper-case"),
        pytest.param(PETER.replace("Peter", "Peter "), "key name", id="space"),
        pytest.param(PETER[:-4], "32 bytes", id="short-key"),
        pytest.param("a+00000000+BBBB", "type 4", id="other-type"),
        pytest.param(PETER + "=", "verifier key", id="not-base64"),
    ],
)
def test_parse_vkey_refuses(vkey: str, match: str) -> None:
    """A key that was changed or is no Ed25519 key is refused."""
    with pytest.raises(NoteError, match=match):
        parse_vkey(vkey)


def test_checkpoint_round_trip() -> None:
    """The text of a checkpoint is three lines, and is read back."""
    checkpoint = Checkpoint("a.example/log", 0, EMPTY_ROOT)

    assert checkpoint.text == "a.example/log\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n"
    assert parse_checkpoint(checkpoint.text) == checkpoint


def test_parse_checkpoint_passes_over_extensions() -> None:
    """Other logs may have extension lines."""
    checkpoint = Checkpoint("o", 7, bytes(32))

    assert parse_checkpoint(checkpoint.text + "more\n") == checkpoint


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("o\n1\n", id="two-lines"),
        pytest.param(f"o\n01\n{'A' * 43}=\n", id="leading-zero"),
        pytest.param(f"o\n-1\n{'A' * 43}=\n", id="negative"),
        pytest.param(f"o\n\u0661\n{'A' * 43}=\n", id="other-digits"),
        pytest.param(f"o\n{10**19}\n{'A' * 43}=\n", id="huge"),
        pytest.param("o\n1\nAAAA\n", id="short-root"),
        pytest.param(f"o\n1\n{'A' * 42}B=\n", id="stray-bits"),
        pytest.param("o\n1\n!\n", id="not-base64"),
        pytest.param(f"\n1\n{'A' * 43}=\n", id="no-origin"),
        pytest.param(f"a b\n1\n{'A' * 43}=\n", id="space"),
        pytest.param(f"o\n1\n{'A' * 43}=\n\nx\n", id="empty-extension"),
        pytest.param(f"o\n1\n{'A' * 43}=", id="no-end"),
    ],
)
def test_parse_checkpoint_refuses(text: str) -> None:
    """What is not exactly a checkpoint is refused."""
    with pytest.raises(NoteError, match=r"checkpoint|key name"):
        parse_checkpoint(text)


def test_parse_trust_reads_keys() -> None:
    """One key a line; comments and repetitions do no harm."""
    data = f"# gate\n\n{PETER}\n  {KEY.vkey}  \n{PETER}\n".encode()

    assert [key.vkey for key in parse_trust(data)] == [PETER, KEY.vkey]


@pytest.mark.parametrize(
    ("data", "match"),
    [
        pytest.param(b"", "no key", id="empty"),
        pytest.param(b"# nothing\n", "no key", id="comment-only"),
        pytest.param(b"\xff", "UTF-8", id="not-utf-8"),
        pytest.param(f"{PETER}\njunk\n".encode(), "line 2", id="names-the-line"),
        pytest.param(b"#" * (1024 * 1024 + 1), "at most", id="large"),
    ],
)
def test_parse_trust_refuses(data: bytes, match: str) -> None:
    """A trust file that names no key, or is malformed, is an error and not an empty trust."""
    with pytest.raises(NoteError, match=match):
        parse_trust(data)
