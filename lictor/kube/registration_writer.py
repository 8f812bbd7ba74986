"""Reads and writes our webhook configurations and the Secret of their certificates."""

from lictor.kube.client import KubeClient
from lictor.kube.versioned_writer import VersionedWriter
from lictor.ports.registration_writer import RegistrationWriter


class ApiRegistrationWriter(VersionedWriter, RegistrationWriter):
    """For `admission.registration` alone."""

    def __init__(self, client: KubeClient) -> None:
        super().__init__(client, field_manager="lictor-gate")
