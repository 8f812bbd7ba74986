"""Identifiers that must not be confused with each other."""

from dataclasses import dataclass
from typing import NewType

from typing_extensions import override

Uid = NewType("Uid", str)
"""`metadata.uid` of an object: a new object of the same name has another."""

RequestUid = NewType("RequestUid", str)
"""`AdmissionRequest.uid`: new for each webhook call."""

ResourceVersion = NewType("ResourceVersion", str)
"""Opaque: compared for equality only (Kubernetes API conventions)."""

PolicyName = NewType("PolicyName", str)

BoundPolicyId = NewType("BoundPolicyId", str)
"""Names policy x binding x parameter in verdicts, records and metrics: at most 63 characters."""

Digest = NewType("Digest", str)
"""`sha256:<hex>` or, keyed, `hmac-sha256:<epoch>:<hex>`."""


@dataclass(frozen=True, slots=True, order=True)
class Gvk:
    """Group, version and kind of an object; the core group is the empty string."""

    group: str
    version: str
    kind: str

    @property
    def api_version(self) -> str:
        """Return `apiVersion` as an object spells it."""
        return f"{self.group}/{self.version}" if self.group else self.version


@dataclass(frozen=True, slots=True, order=True)
class Gvr:
    """Group, version and resource, as a URL of the API names it."""

    group: str
    version: str
    resource: str

    @property
    def api_version(self) -> str:
        """Return `apiVersion` as an object spells it."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def path(self) -> str:
        """Return the URL prefix of this group and version."""
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"


@dataclass(frozen=True, slots=True, order=True)
class ObjectKey:
    """Where an object lives: the key of queues and caches. `namespace` is "" in cluster scope."""

    resource: Gvr
    namespace: str
    name: str

    @override
    def __str__(self) -> str:
        """Write it for a person: `deployments.apps shop/web`."""
        kind = ".".join(filter(None, (self.resource.resource, self.resource.group)))
        return f"{kind} {self.namespace}/{self.name}" if self.namespace else f"{kind} {self.name}"


@dataclass(frozen=True, slots=True, order=True)
class ObjectRef:
    """One object and no other: its key, its kind and its uid."""

    key: ObjectKey
    kind: Gvk
    uid: Uid
