"""From a record to canonical bytes, leaf, tree and checkpoint, and back: verification. Pure."""

from lictor.audit.canonical import canonical
from lictor.audit.checkpoint import Checkpoint, parse_checkpoint
from lictor.audit.digests import Digester, attest_form, digest, is_sensitive
from lictor.audit.encoding import MAX_LEAF_BYTES, decode, encode
from lictor.audit.note import NoteError, VerifierKey, open_note, parse_vkey, sign_note
from lictor.audit.tree import Frontier, leaf_hash, node_hash
from lictor.audit.trust import parse_trust
from lictor.audit.verification import (
    Fault,
    LogReport,
    StoredCheckpoint,
    StoredLeaf,
    verify_log,
)

__all__ = [
    "MAX_LEAF_BYTES",
    "Checkpoint",
    "Digester",
    "Fault",
    "Frontier",
    "LogReport",
    "NoteError",
    "StoredCheckpoint",
    "StoredLeaf",
    "VerifierKey",
    "attest_form",
    "canonical",
    "decode",
    "digest",
    "encode",
    "is_sensitive",
    "leaf_hash",
    "node_hash",
    "open_note",
    "parse_checkpoint",
    "parse_trust",
    "parse_vkey",
    "sign_note",
    "verify_log",
]
