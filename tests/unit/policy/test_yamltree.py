"""YAML is read bounded, with lines, and without what explodes or is read in two ways."""

import pytest

from lictor.policy.yamltree import MAX_FILE_BYTES, MAX_NODES, YamlError, read_documents


def test_read_documents_keeps_values_and_lines() -> None:
    """Every node knows the line that it begins at."""
    data = b"a: 1\nb:\n  - x\n  - {c: null, d: [1.5, -3]}\n---\ntext\n"

    first, second = read_documents(data)

    assert first.value == {"a": 1, "b": ["x", {"c": None, "d": [1.5, -3]}]}
    assert first.fields["b"].items[1].fields["d"].line == 4
    assert (second.value, second.line) == ("text", 6)


def test_read_documents_leaves_out_empty_documents() -> None:
    """A separator at the end makes no policy."""
    assert read_documents(b"---\n# nothing\n---\na: 1\n---\n") == read_documents(b"\n\n\na: 1\n")
    assert read_documents(b"") == ()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        pytest.param("true", True, id="true"),
        pytest.param("False", False, id="false"),
        pytest.param("~", None, id="null"),
        pytest.param("off", "off", id="off-is-a-word"),
        pytest.param("yes", "yes", id="yes-is-a-word"),
        pytest.param("'1'", "1", id="quoted"),
        pytest.param("!!str 1", "1", id="tagged-text"),
        pytest.param("1e3", 1000.0, id="exponent"),
        pytest.param("2026-01-01", "2026-01-01", id="no-dates"),
        pytest.param("1:30", "1:30", id="no-sixties"),
        pytest.param("5s", "5s", id="duration"),
        pytest.param("9223372036854775807", 2**63 - 1, id="int64"),
        pytest.param("-9223372036854775808", -(2**63), id="least-int64"),
        pytest.param("+7", 7, id="plus"),
        pytest.param("0", 0, id="zero"),
        pytest.param("1.", 1.0, id="dot"),
    ],
)
def test_read_documents_resolves_scalars_as_yaml_1_2(text: str, value: object) -> None:
    """Words stay words; numbers are exact."""
    found = read_documents(f"a: {text}".encode())[0].value

    assert found == {"a": value}
    assert isinstance(found, dict)
    assert type(found["a"]) is type(value)


@pytest.mark.parametrize(
    ("text", "line", "match"),
    [
        pytest.param("a: 1\nb: *x", 2, "the alias \\*x", id="alias"),
        pytest.param("a: 1\nb: 2\na: 3", 3, 'the key "a" is there twice, first on line 1', id="2x"),
        pytest.param("a: !!python/name:os.system x", 1, "the tag", id="python-tag"),
        pytest.param("a: !thing {}", 1, "the tag !thing", id="tag"),
        pytest.param("a: !!binary eA==", 1, "the tag", id="binary"),
        pytest.param("x:\n  <<: {a: 1}", 2, "the merge key", id="merge"),
        pytest.param("a: 0777", 1, "read differently", id="octal"),
        pytest.param("a: 0x1F", 1, "read differently", id="hexadecimal"),
        pytest.param("a: .inf", 1, "read differently", id="infinity"),
        pytest.param("a: 1e999", 1, "too large", id="overflow"),
        pytest.param("a: 9223372036854775808", 1, "more than 64 bits", id="65-bits"),
        pytest.param(f"a: {'9' * 100_000}", 1, "more than 64 bits", id="long-number"),
        pytest.param("1: a", 1, "the key 1 is no string", id="number-key"),
        pytest.param("? [a]\n: b", 1, "a key that is no string", id="list-key"),
        pytest.param("a: [1\nb: 2", 2, "not YAML", id="syntax"),
        pytest.param('a: 1\nb: "x\u0085y"', 2, "U\\+0085: write it as an escape", id="odd-break"),
        pytest.param("a: \x07", 0, "not YAML", id="control-character"),
        pytest.param("a: " + "[" * 300 + "]" * 300, 1, "nested deeper than 200", id="deep"),
        pytest.param("[" * 100_000, 1, "nested deeper than 200|not YAML", id="deep-and-open"),
        pytest.param("- 1\n" * (MAX_NODES + 1), MAX_NODES + 1, "more than 100000", id="many"),
    ],
)
def test_read_documents_refuses(text: str, line: int, match: str) -> None:
    """What explodes, what is doubled, and what two readers read in two ways is an error."""
    with pytest.raises(YamlError, match=match) as caught:
        read_documents(text.encode())

    assert caught.value.line == line


def test_read_documents_refuses_an_explosion_of_aliases_at_the_first_one() -> None:
    """A billion laughs cost nothing, since the first alias is the last."""
    lines = ["a0: &a0 [x,x,x,x,x,x,x,x,x]"]
    lines += [f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]

    with pytest.raises(YamlError, match="the alias") as caught:
        read_documents("\n".join(lines).encode())

    assert caught.value.line == 2


def test_read_documents_bounds_bytes_and_wants_utf8() -> None:
    """The size is checked before anything is parsed."""
    with pytest.raises(YamlError, match="expected at most 1048576"):
        read_documents(b"#" * (MAX_FILE_BYTES + 1))
    with pytest.raises(YamlError, match="not UTF-8") as caught:
        read_documents(b"a: 1\nb: \xff")
    assert caught.value.line == 2
