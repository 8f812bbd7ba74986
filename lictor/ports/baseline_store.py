"""Keeps the last known good state of each governed object."""

from dataclasses import dataclass
from typing import Protocol

from lictor.model.names import Digest, ObjectKey, Uid


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """The last state of an object that was persisted and compliant.

    Attributes:
        digest: of the state in `attest` form; keyed for Secrets.
        body: the object as JSON; None for Secrets, whose values are never kept.
        policy_set: the snapshot that found it compliant.
    """

    key: ObjectKey
    uid: Uid
    digest: Digest
    body: bytes | None
    policy_set: Digest


class BaselineStore(Protocol):
    """Survives restarts and, where it is shared, fail-over."""

    def get(self, uid: Uid) -> Baseline | None:
        """Return the baseline of the object with that uid; None where there is none.

        Raises:
            StoreError: the store could not be read.
        """
        ...

    def put(self, baseline: Baseline) -> None:
        """Keep `baseline` durably in place of an earlier one.

        Raises:
            StoreError: the store could not be written.
        """
        ...

    def forget(self, uid: Uid) -> None:
        """Drop the baseline of an object that is gone.

        Raises:
            StoreError: the store could not be written.
        """
        ...
