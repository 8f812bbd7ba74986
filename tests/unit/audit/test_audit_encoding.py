"""Records as leaves."""

import msgspec
import pytest
import rfc8785

from lictor.audit import MAX_LEAF_BYTES, decode, encode
from lictor.audit.leaf_check import LeafError, check_leaf
from lictor.errors import InputError
from lictor.model.audit_record import (
    AuditRecord,
    DecisionSection,
    ExemptionSection,
    ReasonSection,
    RecordType,
    RequestSection,
    SourceSection,
    UserSection,
    ViolationSection,
)

SOURCE = SourceSection(cluster="c", writer="w0", boot="b0", wseq=7)


def decision(**fields: object) -> AuditRecord:
    """Build a record as the sequencer completes it."""
    return AuditRecord(
        v="audit/1",
        type=RecordType.ADMISSION_DECISION,
        ts="2026-01-01T00:00:00.000000Z",
        mono=1,
        src=SOURCE,
        **fields,  # type: ignore[arg-type]  # each test gives real fields
    )


def test_encode_gives_rfc_8785() -> None:
    """The leaf is what RFC 8785 gives for the same value; empty fields are left out."""
    record = decision(
        req=RequestSection(gvk=("apps", "v1", "Deployment"), dry_run=False, name="wéb"),
        dec=DecisionSection(allowed=False, code=403),
    )
    leaf = encode(record)

    assert leaf == rfc8785.dumps(msgspec.json.decode(leaf))
    assert msgspec.json.decode(leaf)["req"] == {
        "dryRun": False,
        "gvk": ["apps", "v1", "Deployment"],
        "name": "wéb",
    }
    assert decode(leaf) == record


def test_encode_uses_the_names_of_the_schema() -> None:
    """`attempt` travels as `try`; the version is `v`."""
    leaf = msgspec.json.decode(encode(decision(attempt=2)))

    assert leaf["try"] == 2
    assert leaf["v"] == "audit/1"


@pytest.mark.parametrize(
    "record",
    [
        pytest.param(decision(viol=(ViolationSection(msg="x" * 100_000),)), id="long-message"),
        pytest.param(decision(viol=(ViolationSection(msg="\x00" * 100_000),)), id="controls"),
        pytest.param(
            decision(viol=tuple(ViolationSection(p=f"p{n}", msg="x" * 300) for n in range(5000))),
            id="many-violations",
        ),
        pytest.param(
            decision(req=RequestSection(user=UserSection(groups=("g" * 99,) * 9000))), id="groups"
        ),
        pytest.param(
            decision(exempt=tuple(ExemptionSection(id="e" * 500) for _ in range(500))), id="exempt"
        ),
        pytest.param(decision(why=ReasonSection(policies=("p" * 63,) * 2000)), id="policies"),
        pytest.param(
            decision(detail={"k" * 500 + str(n): "v" * 500 for n in range(900)}), id="detail"
        ),
        pytest.param(
            AuditRecord(
                v="audit/1", type=RecordType.HEARTBEAT, src=SourceSection(cluster="c" * 99_999)
            ),
            id="source",
        ),
    ],
)
def test_encode_holds_the_hard_cap(record: AuditRecord) -> None:
    """However large, a record becomes a valid leaf below the cap, and always the same one."""
    leaf = encode(record)

    assert len(leaf) <= MAX_LEAF_BYTES
    assert check_leaf(leaf).type == record.type.value
    assert b"sha256:" in leaf
    assert encode(record) == leaf


def test_encode_tells_long_texts_apart() -> None:
    """What differs only beyond the cut still gives different leaves."""
    one = encode(decision(viol=(ViolationSection(msg="x" * 99_999 + "a"),)))
    other = encode(decision(viol=(ViolationSection(msg="x" * 99_999 + "b"),)))

    assert one != other


@pytest.mark.parametrize("text", ["\ud800", "a\udfffb", "\udc00\ud800"])
def test_encode_takes_lone_surrogates(text: str) -> None:
    """A text that is not Unicode is replaced, and its digest keeps it apart from others."""
    leaf = encode(decision(req=RequestSection(name=text)))

    check_leaf(leaf)
    assert leaf != encode(decision(req=RequestSection(name="?" * len(text))))
    assert "sha256:" in msgspec.json.decode(leaf)["req"]["name"]


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        pytest.param(2**53 - 1, 2**53 - 1, id="largest"),
        pytest.param(2**53, 2**53 - 1, id="one-more"),
        pytest.param(-(2**70), -(2**53) + 1, id="most-negative"),
    ],
)
def test_encode_keeps_integers_in_the_profile(number: int, expected: int) -> None:
    """An integer that a double cannot hold is cut to the largest that it can."""
    leaf = encode(decision(detail={"n": number}))

    check_leaf(leaf)
    assert msgspec.json.decode(leaf)["detail"]["n"] == expected


@pytest.mark.parametrize("key", ["ä", "a b", "", "x" * 65, "\ud800"])
def test_encode_replaces_keys_outside_the_profile(key: str) -> None:
    """A key that is not plain ASCII becomes a digest of itself."""
    leaf = encode(decision(detail={key: 1}))

    check_leaf(leaf)
    assert next(iter(msgspec.json.decode(leaf)["detail"])).startswith("sha256.")


def test_decode_refuses_what_is_no_record() -> None:
    """A type that is not known, or no JSON at all, is an InputError."""
    for leaf in (b"", b"\xff", b"[]", b'{"type":"not.known","v":"audit/1"}'):
        with pytest.raises(InputError, match="not a record"):
            decode(leaf)


@pytest.mark.parametrize(
    ("leaf", "field", "match"),
    [
        pytest.param(b"{", "bytes", "not JSON", id="torn"),
        pytest.param(b"[]", "bytes", "not a JSON object", id="list"),
        pytest.param(b'{"type":"heartbeat", "v":"audit/1"}', "bytes", "one encoding", id="space"),
        pytest.param(b'{"v":"audit/1","type":"heartbeat"}', "bytes", "one encoding", id="order"),
        pytest.param(b'{"type":"heartbeat"}', "v", "audit/1", id="no-version"),
        pytest.param(b'{"type":"heartbeat","v":"audit/2"}', "v", "audit/1", id="other-version"),
        pytest.param(b'{"v":"audit/1"}', "type", "words", id="no-type"),
        pytest.param(b'{"type":"a","v":"audit/1","x":1}', "x", "no such field", id="field"),
        pytest.param(
            b'{"req":{"q":1},"type":"a","v":"audit/1"}', "req.q", "no such field", id="nested-field"
        ),
        pytest.param(b'{"trace":"","type":"a","v":"audit/1"}', "trace", "empty", id="empty-field"),
        pytest.param(b'{"http":"x","type":"a","v":"audit/1"}', "record", "int", id="wrong-type"),
        pytest.param(b'{"http":1.5,"type":"a","v":"audit/1"}', "http", "float", id="float"),
        pytest.param(
            b'{"http":9007199254740992,"type":"a","v":"audit/1"}', "http", "2.53", id="wide"
        ),
        pytest.param(b'{"detail":{"a b":1},"type":"a","v":"audit/1"}', "detail", "key", id="key"),
        pytest.param(b'{"v":' + b"[" * 50 + b"]" * 50 + b"}", "bytes", "deeper", id="deep"),
        pytest.param(b" " * (MAX_LEAF_BYTES + 1), "bytes", "at most", id="large"),
    ],
)
def test_check_leaf_names_the_field(leaf: bytes, field: str, match: str) -> None:
    """What is not a leaf of ours is refused, and the field is named."""
    with pytest.raises(LeafError, match=match) as caught:
        check_leaf(leaf)

    assert caught.value.field == field


def test_check_leaf_accepts_a_type_that_comes_later() -> None:
    """New types may come without a new version."""
    assert check_leaf(b'{"type":"brand.new","v":"audit/1"}').type == "brand.new"
