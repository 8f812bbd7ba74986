"""Reads and writes Leases."""

from lictor.kube.client import KubeClient
from lictor.kube.versioned_writer import VersionedWriter
from lictor.ports.lease_writer import LeaseWriter


class ApiLeaseWriter(VersionedWriter, LeaseWriter):
    """Give it a client of its own, so that no other request can delay a renewal."""

    def __init__(self, client: KubeClient) -> None:
        super().__init__(client, field_manager="lictor-election")
