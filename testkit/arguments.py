"""The command lines of the control plane's programs."""

from dataclasses import dataclass
from pathlib import Path

from testkit.pki import KeyPair
from testkit.ports import LOOPBACK

AUDIT_POLICY = """\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - level: Metadata
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaneOptions:
    """What may differ between planes.

    Attributes:
        controller_manager: run it too, so that Deployments make Pods and namespaces end.
        fsync: let etcd write to the disk for real; tests that kill etcd or measure need it.
        json_storage: store built-in kinds as JSON rather than protobuf, for who reads etcd.
        request_timeout: of the API server, e.g. `30s`.
        audit: whether the API server writes its audit log.
        extra_apiserver: more flags of kube-apiserver; a later flag wins.
    """

    controller_manager: bool = False
    fsync: bool = False
    json_storage: bool = False
    request_timeout: str = "30s"
    audit: bool = True
    extra_apiserver: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Files and ports of one plane; they stay the same over restarts."""

    directory: Path
    etcd_port: int
    peer_port: int
    secure_port: int
    manager_port: int

    @property
    def etcd_url(self) -> str:
        """Where etcd serves its clients (gRPC, and JSON below `/v3`)."""
        return f"http://{LOOPBACK}:{self.etcd_port}"

    @property
    def audit_log(self) -> Path:
        """Where the API server writes its audit log."""
        return self.directory / "audit.log"


def etcd(program: Path, layout: Layout, *, options: PlaneOptions) -> list[str]:
    """Return the command line of etcd; nothing compacts its history."""
    peer_url = f"http://{LOOPBACK}:{layout.peer_port}"
    arguments = [
        str(program),
        "--name=lictor",
        f"--data-dir={layout.directory / 'etcd'}",
        f"--listen-client-urls={layout.etcd_url}",
        f"--advertise-client-urls={layout.etcd_url}",
        f"--listen-peer-urls={peer_url}",
        f"--initial-advertise-peer-urls={peer_url}",
        f"--initial-cluster=lictor={peer_url}",
        "--auto-compaction-retention=0",
        "--quota-backend-bytes=4294967296",
        "--log-level=warn",
    ]
    return arguments if options.fsync else [*arguments, "--unsafe-no-fsync"]


def apiserver(
    program: Path,
    layout: Layout,
    *,
    options: PlaneOptions,
    serving: KeyPair,
    authority: Path,
    signing: KeyPair,
) -> list[str]:
    """Return the command line of kube-apiserver."""
    directory = layout.directory
    arguments = [
        str(program),
        f"--etcd-servers={layout.etcd_url}",
        "--etcd-compaction-interval=0",  # every revision stays readable
        f"--bind-address={LOOPBACK}",
        f"--secure-port={layout.secure_port}",
        "--endpoint-reconciler-type=none",  # an endpoint may not be a loopback address
        f"--cert-dir={directory}",
        f"--tls-cert-file={serving.certificate}",
        f"--tls-private-key-file={serving.key}",
        f"--client-ca-file={authority}",
        "--anonymous-auth=false",
        "--authorization-mode=RBAC",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={signing.certificate}",
        f"--service-account-signing-key-file={signing.key}",
        "--service-cluster-ip-range=10.96.0.0/16",
        "--allow-privileged=true",  # judging privileged containers is our business
        "--profiling=false",
        f"--request-timeout={options.request_timeout}",
    ]
    if options.json_storage:
        arguments.append("--storage-media-type=application/json")
    if options.audit:
        policy = directory / "audit-policy.yaml"
        policy.write_text(AUDIT_POLICY)
        arguments += [
            f"--audit-policy-file={policy}",
            f"--audit-log-path={layout.audit_log}",
            "--audit-log-maxsize=4096",  # MB: never rotated within a test
        ]
    return [*arguments, *options.extra_apiserver]


def controller_manager(
    program: Path,
    layout: Layout,
    *,
    kubeconfig: Path,
    serving: KeyPair,
    authority: Path,
    signing_key: Path,
) -> list[str]:
    """Return the command line of kube-controller-manager; each controller has its own account."""
    return [
        str(program),
        f"--kubeconfig={kubeconfig}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        f"--bind-address={LOOPBACK}",
        f"--secure-port={layout.manager_port}",
        f"--tls-cert-file={serving.certificate}",
        f"--tls-private-key-file={serving.key}",
        f"--root-ca-file={authority}",
        f"--service-account-private-key-file={signing_key}",
        "--use-service-account-credentials=true",
        "--leader-elect=false",
        "--allocate-node-cidrs=false",
        "--profiling=false",
    ]
