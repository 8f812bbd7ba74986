"""Properties of the canonical form and of leaves."""

import contextlib

import msgspec
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from lictor.audit import MAX_LEAF_BYTES, canonical, encode
from lictor.audit.leaf_check import LeafError, check_leaf
from lictor.jsontypes import Json
from lictor.model.audit_record import (
    AuditRecord,
    DecisionSection,
    OwnerSection,
    RecordType,
    RequestSection,
    SourceSection,
    UserSection,
    ViolationSection,
)

TEXTS = st.text(st.characters(), max_size=60)  # with lone surrogates
UNICODE = st.text(max_size=30)
KEYS = st.from_regex(r"[A-Za-z0-9_.-]{1,8}", fullmatch=True)
PROFILE = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | UNICODE,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=20,
)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64)
    | st.floats(allow_nan=False, allow_infinity=False)
    | UNICODE,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(UNICODE, inner, max_size=5),
    max_leaves=20,
)
LARGE = st.builds(lambda text, times: text * times, TEXTS, st.sampled_from([1, 1, 1, 50, 1000]))


class Hostile:
    """A record whose repr stays short."""

    def __init__(self, record: AuditRecord) -> None:
        self.record = record


@st.composite
def records(draw: st.DrawFn) -> Hostile:
    """Draw hostile records: any text anywhere, some of it huge."""
    violations = draw(
        st.lists(st.builds(ViolationSection, p=LARGE, b=TEXTS, path=LARGE, msg=LARGE), max_size=4)
    )
    record = AuditRecord(
        v="audit/1",
        type=draw(st.sampled_from(RecordType)),
        ts=draw(TEXTS),
        mono=draw(st.none() | st.integers(-(2**70), 2**70)),
        src=SourceSection(cluster=draw(LARGE), boot=draw(TEXTS), wseq=draw(st.integers(0, 2**64))),
        req=RequestSection(
            gvk=(draw(LARGE), draw(TEXTS), draw(TEXTS)),
            name=draw(LARGE),
            user=UserSection(name=draw(LARGE), groups=tuple(draw(st.lists(LARGE, max_size=4)))),
            bytes=draw(st.integers(0, 2**65)),
        ),
        dec=DecisionSection(allowed=draw(st.booleans())),
        owner=OwnerSection(name=draw(LARGE)),
        viol=tuple(violations * draw(st.sampled_from([1, 1, 20]))),
        detail=draw(
            st.none() | st.dictionaries(LARGE, LARGE | st.integers(-(2**70), 2**70), max_size=6)
        ),
    )
    return Hostile(record)


@given(PROFILE)
def test_msgspec_agrees_with_rfc8785_on_the_profile(value: Json) -> None:
    """Within the profile the fast encoder gives the bytes of the reference encoder."""
    assert msgspec.json.encode(value, order="sorted") == rfc8785.dumps(value)


@given(PROFILE)
def test_canonical_is_rfc8785_on_the_profile(value: Json) -> None:
    """kcj/1 extends RFC 8785, it does not differ from it."""
    assert canonical(value) == rfc8785.dumps(value)


@given(JSON)
def test_canonical_is_a_fixed_point(value: Json) -> None:
    """What is read back from canonical bytes has the same canonical bytes."""
    data = canonical(value)

    assert canonical(msgspec.json.decode(data)) == data


@given(records())
@settings(max_examples=60, deadline=None)
def test_encode_makes_a_valid_leaf_of_anything(hostile: Hostile) -> None:
    """No record is refused: its leaf is small enough, canonical, and of the schema."""
    leaf = encode(hostile.record)

    assert len(leaf) <= MAX_LEAF_BYTES
    assert check_leaf(leaf).type == hostile.record.type.value
    assert encode(hostile.record) == leaf


@given(st.binary(max_size=200) | PROFILE.map(msgspec.json.encode))
def test_check_leaf_raises_nothing_else(data: bytes) -> None:
    """Whatever the bytes, the answer is facts or a LeafError."""
    with contextlib.suppress(LeafError):
        check_leaf(data)
