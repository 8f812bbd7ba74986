"""The client's identity on a real API server."""

import json
from pathlib import Path
from typing import Any

import pytest

from lictor.config.settings import ClusterSettings
from lictor.errors import ForbiddenError, UnavailableError
from lictor.kube import credentials
from lictor.kube.client import open_client
from testkit.client import ApiClient
from testkit.plane import Plane

pytestmark = pytest.mark.controlplane

WHO = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
REVIEW = b'{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}'


async def account(plane: Plane, admin: ApiClient, namespace: str, name: str) -> Path:
    """Make a ServiceAccount and return its kubeconfig, which names a token file."""
    body = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}}
    await admin.expect("POST", f"/api/v1/namespaces/{namespace}/serviceaccounts", body=body)
    return plane.kubeconfig_for_service_account(namespace, name)


def token_file(kubeconfig: Path) -> Path:
    """Return the token file that a kubeconfig names."""
    document: dict[str, Any] = json.loads(kubeconfig.read_text())
    return Path(document["users"][0]["user"]["tokenFile"])


async def who(client: Any) -> str:  # noqa: ANN401 - a KubeClient
    """Return the name that the API server knows us by."""
    answer = json.loads(await client.request("POST", WHO, body=REVIEW))
    return str(answer["status"]["userInfo"]["username"])


async def test_client_takes_a_rotated_token_in_time(
    plane: Plane, admin: ApiClient, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The token file is read again after a while, before the old token is refused."""
    one = await account(plane, admin, namespace, "one")
    await account(plane, admin, namespace, "two")
    async with open_client(ClusterSettings(kubeconfig=str(one))) as client:
        before = await who(client)
        token_file(one).write_text(await plane.token(namespace, "two"))
        kept = await who(client)
        monkeypatch.setattr(credentials, "RELOAD_SECONDS", 0.0)

        after = await who(client)

    assert before == kept == f"system:serviceaccount:{namespace}:one"
    assert after == f"system:serviceaccount:{namespace}:two"


async def test_client_reads_the_token_again_when_it_is_refused(
    plane: Plane, admin: ApiClient, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token that the API server refuses costs no request where the file has a better one."""
    monkeypatch.setattr(credentials, "_RETRY_SECONDS", 0.0)
    kubeconfig = await account(plane, admin, namespace, "one")
    good = token_file(kubeconfig).read_text()
    token_file(kubeconfig).write_text("refused")
    async with open_client(ClusterSettings(kubeconfig=str(kubeconfig))) as client:
        with pytest.raises(ForbiddenError, match="401"):
            await who(client)
        token_file(kubeconfig).write_text(good)

        assert await who(client) == f"system:serviceaccount:{namespace}:one"


async def test_client_keeps_its_token_where_the_file_is_unreadable(
    plane: Plane, admin: ApiClient, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is gone or empty for a moment, as in a rotation, costs nothing."""
    monkeypatch.setattr(credentials, "RELOAD_SECONDS", 0.0)
    kubeconfig = await account(plane, admin, namespace, "one")
    async with open_client(ClusterSettings(kubeconfig=str(kubeconfig))) as client:
        token_file(kubeconfig).write_text("")
        empty = await who(client)
        token_file(kubeconfig).unlink()
        gone = await who(client)

    assert empty == gone == f"system:serviceaccount:{namespace}:one"


async def test_request_to_a_frozen_api_server_ends_in_time(fresh_plane: Plane) -> None:
    """A request has its own end; whether it took effect is unknown."""
    settings = ClusterSettings(
        kubeconfig=str(fresh_plane.kubeconfig()), request_timeout_seconds=0.5
    )
    async with open_client(settings) as client:
        await client.request("GET", "/version")
        fresh_plane.apiserver.freeze()

        with pytest.raises(UnavailableError, match="GET /version"):
            await client.request("GET", "/version")

        fresh_plane.apiserver.thaw()
