"""Registers the gate: the two webhook configurations, generated from the loaded policies.

For each failure class there is one webhook a phase (more where policies name several versions of a
resource), and none where no policy of that class needs one. Rules are never `*`: with
`matchPolicy: Equivalent` the API server converts an object to a version that a rule names, and
sends it unconverted where the rule names all. What no policy judges never leaves the API server,
and what the cluster needs to start, or to be mended, is kept out.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from lictor.config.settings import FailureClass, RegistrationSettings
from lictor.errors import AlreadyExistsError, ConflictError
from lictor.jsontypes import Json, JsonObject
from lictor.model.document import Document
from lictor.model.names import Gvr, ObjectKey
from lictor.model.policy import ResourceRule
from lictor.model.request import Phase
from lictor.ports.registration_writer import RegistrationWriter
from lictor.telemetry.logs import logger

_LOG = logger(__name__)

_GROUP: Final = "admissionregistration.k8s.io"
_DIGEST: Final = "lictor.dev/registration"
"""Annotation: what we wrote last; tells an edit by somebody else from a change of ours."""

_MANAGED_BY: Final = "app.kubernetes.io/managed-by"

_BOOTSTRAP: Final[Mapping[str, str]] = {
    # A namespaceSelector never excludes cluster-scoped objects, so these are conditions.
    "not-a-node": "!(request.resource.group == '' && request.resource.resource == 'nodes')",
    "not-a-signing-request": "!(request.resource.group == 'certificates.k8s.io'"
    " && request.resource.resource == 'certificatesigningrequests')",
    "not-a-lease": "!(request.resource.group == 'coordination.k8s.io'"
    " && request.resource.resource == 'leases')",
    "not-an-access-review": "!(request.resource.group in"
    " ['authentication.k8s.io', 'authorization.k8s.io'])",
}

Rules = Mapping[tuple[str, Phase], Sequence[Sequence[ResourceRule]]]
"""By failure class and phase, the rules of each webhook (`lictor.matching.registration_rules`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shape:
    """How the two kinds of configuration differ."""

    kind: str
    resource: str
    path: str
    extra: JsonObject = field(default_factory=dict)


_SHAPES: Final = {
    Phase.MUTATE: _Shape(
        kind="MutatingWebhookConfiguration",
        resource="mutatingwebhookconfigurations",
        path="mutate",
        # A webhook that runs after us may change what we completed, or add what we would have
        # completed. Our mutations give nothing the second time, so that asking again is safe.
        extra={"reinvocationPolicy": "IfNeeded"},
    ),
    Phase.VALIDATE: _Shape(
        kind="ValidatingWebhookConfiguration",
        resource="validatingwebhookconfigurations",
        path="validate",
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Registrar:
    """Keeps both configurations as the loaded policies want them.

    Attributes:
        namespace: our own, which is never judged.
        excluded: namespaces besides it that are never judged.
    """

    writer: RegistrationWriter
    settings: RegistrationSettings
    namespace: str
    classes: tuple[FailureClass, ...]
    rules: Rules
    excluded: tuple[str, ...] = ("kube-system",)

    async def reconcile(self, authorities: bytes) -> bool:
        """Write what is missing or different; True where anything was.

        `authorities` are the PEM certificates that the API server shall trust.

        Raises:
            ApiError: the API server refused or could not answer.
        """
        changed = False
        for phase in Phase:
            changed |= await self._reconcile(phase, authorities)
        return changed

    async def remove(self) -> None:
        """Remove both configurations, the one that can deny first.

        Raises:
            ApiError: the API server refused or could not answer.
        """
        for phase in Phase:
            await self.writer.remove(self._key(phase))

    async def _reconcile(self, phase: Phase, authorities: bytes) -> bool:
        key = self._key(phase)
        wanted = self._webhooks(phase, authorities)
        digest = _digest(wanted)
        found = await self.writer.read(key)
        if found is None and not wanted:
            return False
        if found is not None and _is_as_wanted(found, wanted, digest=digest):
            return False
        if found is not None and not wanted:
            await self.writer.remove(key)
            _LOG.info("registration.removed", resource=key.resource.resource, name=key.name)
            return True
        return await self._write(phase, wanted, digest=digest, found=found)

    async def _write(
        self, phase: Phase, wanted: list[Json], *, digest: str, found: Document | None
    ) -> bool:
        key = self._key(phase)
        ours = found is not None and (found.meta.annotations or {}).get(_DIGEST) == digest
        body = self._document(phase, wanted, digest=digest, found=found)
        try:
            await self.writer.write(key, body)
        except (ConflictError, AlreadyExistsError):
            # Somebody wrote it at the same time: the next pass reads what it is now.
            return True
        if ours:
            _LOG.warning("registration.drift", resource=key.resource.resource, name=key.name)
        else:
            _LOG.info(
                "registration.written",
                resource=key.resource.resource,
                name=key.name,
                count=len(wanted),
                digest=digest,
            )
        return True

    def _key(self, phase: Phase) -> ObjectKey:
        return ObjectKey(Gvr(_GROUP, "v1", _SHAPES[phase].resource), "", self.settings.name)

    def _document(
        self, phase: Phase, wanted: list[Json], *, digest: str, found: Document | None
    ) -> Document:
        meta = found.meta if found else None
        metadata: JsonObject = {
            "name": self.settings.name,
            "labels": {**((meta and meta.labels) or {}), _MANAGED_BY: "lictor"},
            "annotations": {**((meta and meta.annotations) or {}), _DIGEST: digest},
        }
        if meta:
            metadata["resourceVersion"] = meta.resource_version
        return Document.of(
            {
                "apiVersion": f"{_GROUP}/v1",
                "kind": _SHAPES[phase].kind,
                "metadata": metadata,
                "webhooks": wanted,
            }
        )

    def _webhooks(self, phase: Phase, authorities: bytes) -> list[Json]:
        """Return the webhooks with every field written out, as the API server gives them back."""
        return [
            self._webhook(phase, part, number=number, rules=rules, authorities=authorities)
            for part in self.classes
            for number, rules in enumerate(self.rules.get((part.name, phase), ()))
        ]

    def _webhook(
        self,
        phase: Phase,
        part: FailureClass,
        *,
        number: int,
        rules: Sequence[ResourceRule],
        authorities: bytes,
    ) -> JsonObject:
        # A second webhook of a class is for policies that name another version of a resource.
        # The dot keeps its name apart from that of a class "open-2".
        name = part.name if number == 0 else f"{part.name}.{number + 1}"
        return {
            "name": f"{name}.{_SHAPES[phase].path}.lictor.dev",
            "clientConfig": self._client(f"/v1/{_SHAPES[phase].path}/{part.name}", authorities),
            "rules": [_rule(rule) for rule in rules],
            "failurePolicy": part.failure_policy,
            "matchPolicy": "Equivalent",
            "namespaceSelector": {
                "matchExpressions": [
                    {
                        "key": "kubernetes.io/metadata.name",
                        "operator": "NotIn",
                        "values": list[Json](self._never()),
                    }
                ]
            },
            "objectSelector": {},
            "sideEffects": "NoneOnDryRun",
            "timeoutSeconds": part.timeout_seconds,
            "admissionReviewVersions": ["v1"],
            "matchConditions": self._conditions(),
            **_SHAPES[phase].extra,
        }

    def _client(self, path: str, authorities: bytes) -> JsonObject:
        trusted = base64.b64encode(authorities).decode()
        if self.settings.url:
            return {"url": self.settings.url.rstrip("/") + path, "caBundle": trusted}
        service: JsonObject = {
            "namespace": self.namespace,
            "name": self.settings.service,
            "path": path,
            "port": self.settings.service_port,
        }
        return {"service": service, "caBundle": trusted}

    def _never(self) -> list[str]:
        return sorted({self.namespace, *self.excluded})

    def _conditions(self) -> list[Json]:
        names = ", ".join(f"'{name}'" for name in self._never())
        # Repeats the namespaceSelector, which relies on a label. A cluster-scoped request has no
        # `namespace` at all: without the guard the condition fails, and what fails open admits.
        ours = f"!(has(request.namespace) && request.namespace in [{names}])"
        conditions = {"not-our-namespace": ours, **_BOOTSTRAP}
        return [{"name": name, "expression": text} for name, text in conditions.items()]


def _is_as_wanted(found: Document, wanted: list[Json], *, digest: str) -> bool:
    annotations = found.meta.annotations or {}
    return found.tree.get("webhooks", []) == wanted and annotations.get(_DIGEST) == digest


def _rule(rule: ResourceRule) -> JsonObject:
    return {
        "apiGroups": list[Json](rule.api_groups),
        "apiVersions": list[Json](rule.api_versions),
        "operations": list[Json](rule.operations),
        "resources": list[Json](rule.resources),
        "scope": rule.scope.value,
    }


def _digest(webhooks: list[Json]) -> str:
    return "sha256:" + hashlib.sha256(msgspec.json.encode(webhooks, order="sorted")).hexdigest()
