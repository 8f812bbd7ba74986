"""Writes governed objects, each exactly as it was read."""

from collections.abc import Sequence
from typing import Final

import msgspec
from typing_extensions import override

from lictor.errors import ConflictError, InvalidError
from lictor.kube.client import KubeClient
from lictor.kube.errors import document_of
from lictor.kube.paths import object_path
from lictor.model.document import Document
from lictor.model.names import ObjectKey, ObjectRef, ResourceVersion
from lictor.model.patch import PatchOp, PatchOperation, operations_to_json
from lictor.ports.object_writer import ObjectWriter

FIELD_MANAGER: Final = "lictor-enforcer"
JSON_PATCH: Final = "application/json-patch+json"


class ApiObjectWriter(ObjectWriter):
    """JSON Patch and DELETE with preconditions."""

    def __init__(self, client: KubeClient) -> None:
        self._client = client

    @override
    async def patch(
        self,
        target: ObjectRef,
        *,
        resource_version: ResourceVersion,
        operations: Sequence[PatchOperation],
        dry_run: bool,
    ) -> Document:
        # Replacing the version makes the API server compare it (409); a `test` answers 422.
        guard = PatchOperation(
            op=PatchOp.REPLACE, path="/metadata/resourceVersion", value=resource_version
        )
        query = {"fieldManager": FIELD_MANAGER, "fieldValidation": "Strict"}
        try:
            answer = await self._client.request(
                "PATCH",
                object_path(target.key),
                query=query | ({"dryRun": "All"} if dry_run else {}),
                body=msgspec.json.encode(operations_to_json((guard, *operations))),
                content_type=JSON_PATCH,
            )
        except InvalidError as err:
            await self._check_version(target.key, resource_version, cause=err)
            raise
        written = document_of(answer, what=f"PATCH {target.key}")
        if written.uid != target.uid:
            raise ConflictError(f"{target.key} has another uid", code=409, reason="Conflict")
        return written

    async def _check_version(
        self, key: ObjectKey, planned: ResourceVersion, *, cause: InvalidError
    ) -> None:
        """Tell a patch that came too late from one that is wrong.

        The API server applies a patch before it compares versions, so one that no longer fits a
        newer state is answered like one that never fitted: 422.
        """
        body = await self._client.request("GET", object_path(key))
        if document_of(body, what=f"GET {key}").resource_version != planned:
            raise ConflictError(f"{key} is newer: {cause}", code=409, reason="Conflict") from cause

    @override
    async def delete(
        self, target: ObjectRef, *, resource_version: ResourceVersion, dry_run: bool
    ) -> None:
        options = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Background",
            "preconditions": {"uid": target.uid, "resourceVersion": resource_version},
            # The API server reads options from the body or from the query, never from both: beside
            # a body `?dryRun=All` is ignored, and the object is gone.
            "dryRun": ["All"] if dry_run else [],
        }
        await self._client.request(
            "DELETE",
            object_path(target.key),
            body=msgspec.json.encode(options),
        )
