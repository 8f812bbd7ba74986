"""The hash tree, against published vectors and the definition."""

import pytest

from lictor.audit import Frontier, leaf_hash, node_hash
from lictor.audit.tree import EMPTY_ROOT
from lictor.errors import InputError

# Inputs and roots of the reference tests of Certificate Transparency (RFC 6962; also in
# google/certificate-transparency and transparency-dev/merkle).
LEAVES = [
    "",
    "00",
    "10",
    "2021",
    "3031",
    "40414243",
    "5051525354555657",
    "606162636465666768696a6b6c6d6e6f",
]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def tree_hash(leaves: list[bytes]) -> bytes:
    """Compute the Merkle tree hash as RFC 6962 2.1 defines it."""
    if not leaves:
        return EMPTY_ROOT
    if len(leaves) == 1:
        return leaf_hash(leaves[0])
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return node_hash(tree_hash(leaves[:split]), tree_hash(leaves[split:]))


def test_empty_root_is_the_hash_of_nothing() -> None:
    """RFC 6962 2.1: MTH({}) = SHA-256()."""
    assert Frontier().root().hex() == (
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    )


def test_frontier_gives_the_published_roots() -> None:
    """Each prefix of the published leaves has the published root."""
    frontier = Frontier()
    for leaf, root in zip(LEAVES, ROOTS, strict=True):
        frontier.append(leaf_hash(bytes.fromhex(leaf)))

        assert frontier.root().hex() == root


@pytest.mark.parametrize("size", [*range(66), 127, 128, 129, 1000])
def test_frontier_agrees_with_the_definition(size: int) -> None:
    """The incremental tree is the recursive one, and survives being packed."""
    leaves = [bytes([number % 256, number // 256]) for number in range(size)]
    frontier = Frontier()
    for leaf in leaves:
        frontier.append(leaf_hash(leaf))

    assert frontier.root() == tree_hash(leaves)
    assert Frontier.unpack(size, frontier.pack()).root() == frontier.root()


@pytest.mark.parametrize(
    ("size", "packed"),
    [
        pytest.param(3, bytes(32), id="too-few"),
        pytest.param(1, bytes(64), id="too-many"),
        pytest.param(1, bytes(31), id="short"),
        pytest.param(-1, b"", id="negative"),
    ],
)
def test_frontier_refuses_what_is_no_frontier(size: int, packed: bytes) -> None:
    """The number of hashes follows from the size."""
    with pytest.raises(InputError, match="subtree"):
        Frontier.unpack(size, packed)
