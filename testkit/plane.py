"""A real control plane: etcd, kube-apiserver and, where asked, kube-controller-manager.

Starting and stopping is synchronous, so that a fixture of any scope can do it without an event
loop. There is no scheduler and no kubelet: a Pod object never runs. Without the controller manager
nothing fills the aggregated ClusterRoles either: bind `cluster-admin`, not `edit`.
"""

import atexit
import dataclasses
import http.client
import json
import shutil
import ssl
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from testkit import arguments
from testkit.arguments import Layout, PlaneOptions
from testkit.binaries import Missing, find
from testkit.client import ApiClient
from testkit.pki import Authority, KeyPair, write_signing_keys
from testkit.ports import LOOPBACK, lease_port, release_port
from testkit.process import Child, StartError
from testkit.proxy import HttpProxy

ADMIN: Final = "admin"
ADMINS: Final = ("system:masters",)
MANAGER_USER: Final = "system:kube-controller-manager"
SERVER_NAMES: Final = ("localhost", "kubernetes", "kubernetes.default.svc", LOOPBACK, "10.96.0.1")
PROBE_SECONDS: Final = 5.0
TOKEN_SECONDS: Final = 6 * 3600


class Plane:
    """One control plane with its own CA, addresses and folder; make it with `launch`."""

    def __init__(self, options: PlaneOptions, directory: Path) -> None:
        """Write keys and command lines; nothing runs yet.

        Raises:
            StartError: a program is missing.
        """
        self.options = options
        self.directory = directory
        self.layout = Layout(
            directory=directory,
            etcd_port=lease_port(),
            peer_port=lease_port(),
            secure_port=lease_port(),
            manager_port=lease_port(),
        )
        self.authority = Authority(directory / "pki")
        self._serving = self.authority.server(SERVER_NAMES)
        self._signing = write_signing_keys(directory / "pki", "service-accounts")
        self.etcd = self._etcd()
        self.apiserver = self._apiserver()
        self.controller_manager = self._controller_manager()

    @classmethod
    def launch(cls, options: PlaneOptions | None = None) -> Self:
        """Start a plane and wait until it serves.

        Raises:
            StartError: a program is missing, or one did not start; ends with the tail of its log.
        """
        directory = Path(tempfile.mkdtemp(prefix="lictor-plane-"))
        try:
            plane = cls(options or PlaneOptions(), directory)
        except BaseException:
            shutil.rmtree(directory, ignore_errors=True)
            raise
        atexit.register(plane.stop)
        try:
            plane.resume()
        except BaseException:
            plane.stop()
            raise
        return plane

    @classmethod
    async def start(cls, *, controller_manager: bool = False) -> Self:
        """Start a plane from asynchronous code; blocks its loop for the second that it takes.

        A thread would not do: the kernel kills a child when the thread that made it ends.

        Raises:
            StartError: a program is missing, or one did not start; ends with the tail of its log.
        """
        return cls.launch(PlaneOptions(controller_manager=controller_manager))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Where the API server serves; stays the same over restarts."""
        return f"https://{LOOPBACK}:{self.layout.secure_port}"

    @property
    def etcd_url(self) -> str:
        """Where etcd serves, in plain HTTP (JSON below `/v3`)."""
        return self.layout.etcd_url

    @property
    def ca_file(self) -> Path:
        """The certificate that the API server's chain ends in."""
        return self.authority.certificate

    @property
    def audit_log(self) -> Path:
        """The audit log of the API server: one event in JSON a line."""
        return self.layout.audit_log

    @property
    def children(self) -> tuple[Child, ...]:
        """The programs of this plane, in the order of their start."""
        every = (self.etcd, self.apiserver, self.controller_manager)
        return every if self.options.controller_manager else every[:2]

    def resume(self) -> None:
        """Start whatever does not run, at the same addresses, and wait until it serves.

        Raises:
            StartError: one did not start; ends with the tail of its log.
        """
        for child in self.children:
            child.start()

    def stop(self) -> None:
        """End all programs and remove the folder; calling it again does nothing."""
        atexit.unregister(self.stop)
        for child in reversed(self.children):
            child.kill()  # nothing here is worth an orderly shutdown
        shutil.rmtree(self.directory, ignore_errors=True)
        for field in dataclasses.fields(self.layout):
            if field.name.endswith("_port"):
                release_port(getattr(self.layout, field.name))

    def log_tails(self, lines: int = 30) -> str:
        """Return the last lines of every program's log, for the report of a failed test."""
        return "\n".join(f"--- {c.name}\n{c.log_tail(lines)}" for c in self.children)

    def credentials(self, user: str = ADMIN, groups: Sequence[str] = ADMINS) -> KeyPair:
        """Return a client certificate of this user and these groups."""
        return self.authority.client(user, groups)

    def context(self, user: str = ADMIN, groups: Sequence[str] = ADMINS) -> ssl.SSLContext:
        """Return a TLS context that trusts this plane and shows this user's certificate."""
        return self.authority.client_context(self.credentials(user, groups))

    def proxy(self) -> HttpProxy:
        """Return a proxy in front of the API server for clients with a bearer token; run it."""
        serving = self.authority.server_context(self._serving)
        return HttpProxy(self.url, trust=self.authority.client_context(), serving=serving)

    def kubeconfig(self, user: str = ADMIN, groups: Sequence[str] = ADMINS) -> Path:
        """Write a kubeconfig of this user and these groups and return its path."""
        pair = self.credentials(user, groups)
        identity = {"client-certificate": str(pair.certificate), "client-key": str(pair.key)}
        return self._write_kubeconfig(pair.certificate.stem, user=identity)

    def kubeconfig_for_service_account(
        self, namespace: str, name: str, *, server: str = ""
    ) -> Path:
        """Write a kubeconfig whose `tokenFile` holds a token of this ServiceAccount.

        Args:
            namespace: of the ServiceAccount, which must exist.
            name: of the ServiceAccount.
            server: the address to use instead of the API server's, e.g. that of a proxy.

        Raises:
            StartError: the API server gave no token.
        """
        stem = f"{namespace}-{name}"
        token_file = self.directory / f"{stem}.token"
        token_file.touch(mode=0o600)
        token_file.write_text(self.issue_token(namespace, name))
        stem += "-by-proxy" if server else ""
        return self._write_kubeconfig(stem, user={"tokenFile": str(token_file)}, server=server)

    def issue_token(self, namespace: str, service_account: str) -> str:
        """Return a bearer token of this ServiceAccount, which must exist.

        Raises:
            StartError: the API server gave no token.
        """
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{service_account}/token"
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": TOKEN_SECONDS},
        }
        status, answer = self.call("POST", path, body=body)
        if status != http.HTTPStatus.CREATED:
            raise StartError(f"POST {path}: {status}: {answer}")
        return str(answer["status"]["token"])

    async def token(self, namespace: str, service_account: str) -> str:
        """Return a bearer token of this ServiceAccount, which must exist.

        Raises:
            StartError: the API server gave no token.
        """
        return self.issue_token(namespace, service_account)

    async def admin(self) -> ApiClient:
        """Return a client that may do everything; close it, or use it in `async with`."""
        return self.client()

    def client(self, user: str = ADMIN, groups: Sequence[str] = ADMINS) -> ApiClient:
        """Return a client of this user and these groups; close it, or use it in `async with`."""
        return ApiClient(self.url, self.context(user, groups))

    def client_with_token(self, token: str) -> ApiClient:
        """Return a client that shows a bearer token; close it, or use it in `async with`."""
        return ApiClient(self.url, self.authority.client_context(), token=token)

    def call(self, method: str, path: str, *, body: object = None) -> tuple[int, Any]:
        """Send one request as administrator, synchronously; return status and decoded body.

        Raises:
            OSError: no connection.
            http.client.HTTPException: a cut connection.
        """
        connection = http.client.HTTPSConnection(
            LOOPBACK, self.layout.secure_port, context=self.context(), timeout=PROBE_SECONDS
        )
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        try:
            connection.request(method, path, body=data, headers=headers)
            response = connection.getresponse()
            text = response.read()
        finally:
            connection.close()
        try:
            return response.status, json.loads(text)
        except ValueError:
            return response.status, text.decode(errors="replace")

    def _etcd(self) -> Child:
        argv = arguments.etcd(_program("etcd"), self.layout, options=self.options)
        return Child(argv, self.directory / "etcd.log", ready=_quiet(self._etcd_serves))

    def _apiserver(self) -> Child:
        argv = arguments.apiserver(
            _program("kube-apiserver"),
            self.layout,
            options=self.options,
            serving=self._serving,
            authority=self.ca_file,
            signing=self._signing,
        )
        log = self.directory / "kube-apiserver.log"
        return Child(argv, log, ready=_quiet(self._apiserver_serves))

    def _controller_manager(self) -> Child:
        name = "kube-controller-manager"
        wanted = self.options.controller_manager
        argv = arguments.controller_manager(
            _program(name) if wanted else Path(name),
            self.layout,
            kubeconfig=self.kubeconfig(MANAGER_USER, ()),
            serving=self._serving,
            authority=self.ca_file,
            signing_key=self._signing.key,
        )
        return Child(argv, self.directory / f"{name}.log", ready=_quiet(self._manager_serves))

    def _etcd_serves(self) -> bool:
        return _status(http.client.HTTPConnection(LOOPBACK, self.layout.etcd_port), "/readyz")

    def _apiserver_serves(self) -> bool:
        # The namespaces of the system are made after the server calls itself ready.
        paths = ("/readyz", "/api/v1/namespaces/default", "/api/v1/namespaces/kube-system")
        return all(self.call("GET", path)[0] == http.HTTPStatus.OK for path in paths)

    def _manager_serves(self) -> bool:
        connection = http.client.HTTPSConnection(
            LOOPBACK, self.layout.manager_port, context=self.context()
        )
        return _status(connection, "/healthz")

    def _write_kubeconfig(self, stem: str, *, user: dict[str, str], server: str = "") -> Path:
        # JSON is YAML: every reader of a kubeconfig takes it.
        cluster = {"server": server or self.url, "certificate-authority": str(self.ca_file)}
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "plane", "cluster": cluster}],
            "users": [{"name": "user", "user": user}],
            "contexts": [{"name": "plane", "context": {"cluster": "plane", "user": "user"}}],
            "current-context": "plane",
        }
        path = self.directory / f"{stem}.kubeconfig"
        path.touch(mode=0o600)
        path.write_text(json.dumps(document, indent=2))
        return path


def _program(name: str) -> Path:
    found = find(name)
    if isinstance(found, Missing):
        raise StartError(found.reason)
    return found


def _status(connection: http.client.HTTPConnection, path: str) -> bool:
    connection.timeout = PROBE_SECONDS
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.HTTPStatus.OK
    finally:
        connection.close()


def _quiet(probe: Callable[[], bool]) -> Callable[[], bool]:
    """Let a probe that cannot connect yet say no."""

    def ready() -> bool:
        try:
            return probe()
        except (OSError, http.client.HTTPException):
            return False

    return ready
