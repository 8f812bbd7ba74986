"""Digests and the canonical form that they are taken of."""

import hashlib
import json
import math

import pytest

from lictor.audit import Digester, attest_form, canonical, digest, is_sensitive
from lictor.errors import InputError, TooDeepError
from lictor.jsontypes import Json
from lictor.model.document import Document
from lictor.model.names import Gvk

KEY = bytes(range(32))


def secret(password: str) -> Document:
    """Build a Secret."""
    return Document.of(
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"p": password}}
    )


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param({"b": 1, "a": [True, None, "x"]}, b'{"a":[true,null,"x"],"b":1}', id="keys"),
        pytest.param(
            {"\U00010000": 1, "\uffff": 2}, '{"\uffff":2,"\U00010000":1}'.encode(), id="code-points"
        ),
        pytest.param(2**63 - 1, b"9223372036854775807", id="int64"),
        pytest.param(
            [1.0, 1e16, -0.0, 1e21, 0.1], b"[1,10000000000000000,0,1e+21,0.1]", id="floats"
        ),
        pytest.param(1.5, b"1.5", id="scalar-float"),
        pytest.param({"image": "nginx:1.25"}, b'{"image":"nginx:1.25"}', id="looks-like-a-float"),
        pytest.param(["1.0]", ":1.0,"], b'["1.0]",":1.0,"]', id="string-that-looks-like-a-token"),
        pytest.param({"a": 1.0, "b": "x"}, b'{"a":1,"b":"x"}', id="float-in-a-map"),
    ],
)
def test_canonical_form(value: Json, expected: bytes) -> None:
    """Keys are sorted by code point, integers exact, floats by the RFC 8785 rule."""
    assert canonical(value) == expected


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_canonical_refuses_what_json_cannot_say(value: float) -> None:
    """NaN must not share a digest with null."""
    with pytest.raises(InputError, match="NaN"):
        canonical({"a": [value]})


def test_canonical_refuses_a_lone_surrogate() -> None:
    """A string that is not valid Unicode has no canonical form."""
    with pytest.raises(InputError, match="surrogate"):
        canonical({"a": "\ud800"})


def test_canonical_refuses_bottomless_nesting() -> None:
    """Depth is an error of the tree of errors, not a RecursionError."""
    value: Json = []
    for _ in range(100_000):
        value = [value]

    with pytest.raises(TooDeepError, match="deeper"):
        canonical(value)


def test_digest_is_plain_sha256() -> None:
    """A stranger can recompute it with any tool."""
    assert digest(b"abc") == "sha256:" + hashlib.sha256(b"abc").hexdigest()


def test_attest_form_drops_what_the_server_changes() -> None:
    """Status, resourceVersion, generation and managedFields do not count; the input stays."""
    tree = {
        "kind": "Deployment",
        "metadata": {"name": "a", "resourceVersion": "1", "generation": 2, "managedFields": []},
        "spec": {"replicas": 1},
        "status": {"replicas": 1},
    }
    before = json.dumps(tree)

    assert attest_form(tree) == {
        "kind": "Deployment",
        "metadata": {"name": "a"},
        "spec": {"replicas": 1},
    }
    assert json.dumps(tree) == before


def test_digester_object_ignores_managed_fields_only() -> None:
    """`obj` covers the status and the resourceVersion, but not managedFields."""
    digester = Digester("e1", KEY)
    base = {"kind": "Pod", "metadata": {"name": "a", "resourceVersion": "1"}}
    managed = {**base, "metadata": {**base["metadata"], "managedFields": [{"manager": "x"}]}}
    later = {**base, "metadata": {**base["metadata"], "resourceVersion": "2"}}

    assert digester.object(Document.of(managed)) == digester.object(Document.of(base))
    assert digester.object(Document.of(later)) != digester.object(Document.of(base))
    assert digester.attest(Document.of(later)) == digester.attest(Document.of(base))


def test_digester_keys_everything_about_a_secret() -> None:
    """No digest of a Secret can be recomputed without the key."""
    digester = Digester("e12", KEY)
    other = Digester("e12", bytes(32))
    document = secret("aHVudGVyMg==")
    digests = {digester.object(document), digester.attest(document)}

    assert all(value.startswith("hmac-sha256:e12:") for value in digests)
    assert digests.isdisjoint({other.object(document), other.attest(document)})
    assert digester.raw(b"x", sensitive=True) != other.raw(b"x", sensitive=True)
    assert digester.raw(b"x", sensitive=False) == digest(b"x")


def test_digester_keyed_digests_have_a_purpose_each() -> None:
    """A message and a body of the same bytes do not give the same digest."""
    digester = Digester("e1", KEY)

    assert digester.message("x") != digester.raw(b"x", sensitive=True)


def test_digester_value_is_salted_by_its_place() -> None:
    """The same value elsewhere has another commitment, and path and value do not run together."""
    digester = Digester("e1", KEY)
    places = {
        digester.value("b0", 1, path="/a", value="x"),
        digester.value("b0", 2, path="/a", value="x"),
        digester.value("b1", 1, path="/a", value="x"),
        digester.value("b0", 1, path="/b", value="x"),
        digester.value("b0", 1, path="/a", value="y"),
        digester.value("b0", 1, path="/a", value=None),
    }

    assert len(places) == 6
    assert digester.value("b0", 1, path="/a", value="x") in places


def test_digester_never_shows_its_key() -> None:
    """The key is not in repr."""
    assert KEY.hex() not in repr(Digester("e1", KEY))
    assert repr(KEY) not in repr(Digester("e1", KEY))


@pytest.mark.parametrize(
    ("epoch", "key", "match"),
    [
        pytest.param("", KEY, "digest epoch", id="empty-epoch"),
        pytest.param("a:b", KEY, "digest epoch", id="colon"),
        pytest.param("e1", b"short", "5 bytes", id="short-key"),
    ],
)
def test_digester_refuses_a_bad_key(epoch: str, key: bytes, match: str) -> None:
    """A weak key or an ambiguous epoch is refused."""
    with pytest.raises(InputError, match=match):
        Digester(epoch, key)


def test_is_sensitive_is_about_secrets() -> None:
    """Secrets are sensitive; their neighbours are not."""
    assert is_sensitive(Gvk("", "v1", "Secret"))
    assert not is_sensitive(Gvk("", "v1", "ConfigMap"))


def test_digester_keys_what_it_is_told_is_sensitive() -> None:
    """An object that does not call itself a Secret was still sent as one."""
    digester = Digester("e1", KEY)
    unnamed = Document.of({"metadata": {"name": "s"}, "data": {"p": "x"}})

    assert digester.object(unnamed).startswith("sha256:")
    assert digester.object(unnamed, sensitive=True).startswith("hmac-sha256:e1:")
    assert digester.attest(unnamed, sensitive=True).startswith("hmac-sha256:e1:")
    assert digester.object(secret("x"), sensitive=False).startswith("hmac-sha256:e1:")
