"""A raw client of the API server for tests, so that what they observe is not our own client."""

import asyncio
import io
import json
import sys
from collections.abc import Mapping
from ssl import SSLContext
from types import TracebackType
from typing import Any, Final, Self

import aiohttp

JSON_TYPE: Final = "application/json"
MERGE_PATCH: Final = "application/merge-patch+json"
JSON_PATCH: Final = "application/json-patch+json"
APPLY_PATCH: Final = "application/apply-patch+yaml"
WAIT_SECONDS: Final = 30.0
POLL_SECONDS: Final = 0.05
_LEAKS: Final = sys.version_info < (3, 12, 7)
"""CPython gh-118950: a TLS connection whose other side was killed or frozen is never closed."""


class UnexpectedAnswerError(Exception):
    """The API server answered a call that a test relies on with an error."""


class ApiClient:
    """Speaks JSON over one identity. Close it, or use it as an asynchronous context manager."""

    def __init__(self, url: str, context: SSLContext, *, token: str = "") -> None:
        """Connect to nothing yet; must be used from one event loop only."""
        self._url = url
        self._context = context
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def request(
        self,
        method: str,
        path: str,
        *,
        body: object = None,
        content_type: str = JSON_TYPE,
        query: Mapping[str, str] | None = None,
        timeout_seconds: float = 60.0,
    ) -> tuple[int, Any]:
        """Send one request and return the status and the decoded body (text where not JSON).

        `body` is sent as it is when it is bytes, else as JSON. A refused or cut connection
        raises `aiohttp.ClientError`.
        """
        if self._session is None:
            connector = aiohttp.TCPConnector(
                ssl=self._context, limit=100, enable_cleanup_closed=_LEAKS
            )
            self._session = aiohttp.ClientSession(connector=connector, headers=self._headers)
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        async with self._session.request(
            method,
            self._url + path,
            data=None if data is None else io.BytesIO(data),
            params=dict(query or {}),
            headers={"Content-Type": content_type, "Accept": JSON_TYPE},
            timeout=aiohttp.ClientTimeout(total=timeout_seconds),
        ) as response:
            text = await response.text()
        try:
            return response.status, json.loads(text)
        except ValueError:
            return response.status, text

    async def expect(
        self,
        method: str,
        path: str,
        *,
        body: object = None,
        content_type: str = JSON_TYPE,
        query: Mapping[str, str] | None = None,
    ) -> Any:  # noqa: ANN401 - whatever JSON the API server sends
        """Send one request and return the decoded body.

        Raises:
            UnexpectedAnswerError: the status is not 2xx.
        """
        status, answer = await self.request(
            method, path, body=body, content_type=content_type, query=query
        )
        if not 200 <= status < 300:  # noqa: PLR2004 - the class of HTTP statuses that mean success
            detail = answer.get("message", answer) if isinstance(answer, dict) else answer
            raise UnexpectedAnswerError(f"{method} {path}: {status}: {detail}")
        return answer

    async def create_namespace(
        self,
        name: str,
        *,
        labels: Mapping[str, str] | None = None,
        annotations: Mapping[str, str] | None = None,
    ) -> None:
        """Create a namespace and its `default` ServiceAccount, without which no Pod is admitted.

        Raises:
            UnexpectedAnswerError: the API server refused.
        """
        metadata = {
            "name": name,
            "labels": {**(labels or {})},
            "annotations": {**(annotations or {})},
        }
        await self.expect(
            "POST",
            "/api/v1/namespaces",
            body={"apiVersion": "v1", "kind": "Namespace", "metadata": metadata},
        )
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
        path = f"/api/v1/namespaces/{name}/serviceaccounts"
        status, answer = await self.request("POST", path, body=account)
        if status not in (201, 409):  # 409: the controller manager was faster
            raise UnexpectedAnswerError(f"POST {path}: {status}: {answer}")

    async def delete_namespace(self, name: str) -> None:
        """Delete what is in a namespace, then itself, also where no controller manager runs.

        Objects that a finalizer holds stay; what is gone already is not an error.
        """
        namespace = f"/api/v1/namespaces/{name}"
        status, found = await self.request("DELETE", namespace)
        if status == 404:  # noqa: PLR2004 - not found
            return
        for prefix, resource in await self._deletable():
            await self.request(
                "DELETE",
                f"{prefix}/namespaces/{name}/{resource}",
                body={"gracePeriodSeconds": 0, "propagationPolicy": "Background"},
            )
        if isinstance(found, dict):
            status, found = await self.request("GET", namespace)
        if status == 200:  # noqa: PLR2004 - still there
            found["spec"]["finalizers"] = []
            await self.request("PUT", f"{namespace}/finalize", body=found)

    async def wait_for(
        self, path: str, *, status: int = 200, timeout_seconds: float = WAIT_SECONDS
    ) -> Any:  # noqa: ANN401 - whatever JSON the API server sends
        """Poll until a GET of `path` has this status, and return its body.

        Raises:
            TimeoutError: it never had.
        """
        async with asyncio.timeout(timeout_seconds):
            while True:
                found, answer = await self.request("GET", path)
                if found == status:
                    return answer
                await asyncio.sleep(POLL_SECONDS)

    async def _deletable(self) -> list[tuple[str, str]]:
        """Return (API prefix, resource) of all that is namespaced and deletable as a collection."""
        groups = (await self.expect("GET", "/apis"))["groups"]
        prefixes = ["/api/v1", *(f"/apis/{g['preferredVersion']['groupVersion']}" for g in groups)]
        found: list[tuple[str, str]] = []
        for prefix in prefixes:
            status, listing = await self.request("GET", prefix)
            if status != 200:  # noqa: PLR2004 - a group that has just been removed
                continue
            found += [
                (prefix, resource["name"])
                for resource in listing["resources"]
                if resource["namespaced"] and "deletecollection" in resource["verbs"]
            ]
        return found
