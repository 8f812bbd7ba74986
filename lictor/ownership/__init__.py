"""Who answers for an object."""

from lictor.ownership.resolve import Ownership, resolve_owner

__all__ = ["Ownership", "resolve_owner"]
