"""From a record to canonical bytes, leaf, tree and checkpoint, and back: verification. Pure."""

from lictor.audit.canonical import canonical
from lictor.audit.digests import Digester, attest_form, digest, is_sensitive

__all__ = ["Digester", "attest_form", "canonical", "digest", "is_sensitive"]
