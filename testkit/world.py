"""Lictor as it runs in production, beside a control plane: two processes, two accounts, one law."""

import json
import ssl
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any, Final

from testkit import manifests
from testkit.client import APPLY_PATCH, ApiClient
from testkit.plane import Plane
from testkit.ports import LOOPBACK, lease_port, release_port
from testkit.process import Child

REPOSITORY: Final = Path(__file__).resolve().parent.parent
POLICIES: Final = REPOSITORY / "policies"
NAMESPACE: Final = "lictor-system"
GATE: Final = "gate"
ENFORCER: Final = "enforcer"
ORIGIN: Final = "lictor.example/tour"
_PROBE_SECONDS: Final = 2.0
_ONE_COMMAND_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class WorldOptions:
    """How the two programs are configured; the rest are the defaults of production.

    Attributes:
        enforce: policies that act on existing objects.
        settle_seconds: for those policies.
        owners: the registry.
        audit, gate, enforcer: more settings of these sections.
        gate_url: what is registered in place of the gate's own address (a proxy).
        api_url: what the enforcer talks to in place of the API server (a proxy).
        policies: the folder with the law.
    """

    enforce: tuple[str, ...] = ()
    settle_seconds: float = 0.0
    owners: tuple[str, ...] = ("team-shop",)
    audit: Mapping[str, Any] = field(default_factory=dict)
    gate: Mapping[str, Any] = field(default_factory=dict)
    enforcer: Mapping[str, Any] = field(default_factory=dict)
    gate_url: str = ""
    api_url: str = ""
    policies: Path = POLICIES


class World:
    """Configures, starts and observes one gate and one enforcer on a plane."""

    def __init__(self, plane: Plane, directory: Path, options: WorldOptions) -> None:
        """Choose addresses and files; nothing runs yet."""
        self.plane = plane
        self.directory = directory
        self.options = options
        self.gate_port = lease_port()
        self.metrics_ports = {GATE: lease_port(), ENFORCER: lease_port()}
        self.gate = self._child(GATE)
        self.enforcer = self._child(ENFORCER)

    async def prepare(self, client: ApiClient) -> None:
        """Install CRDs and RBAC, make keys, and write both configurations.

        Raises:
            UnexpectedAnswerError: the API server refused a manifest.
            subprocess.CalledProcessError: the keys could not be made.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        for body in manifests.cluster_objects():
            await client.expect(
                "PATCH",
                manifests.path_of(body),
                body=body,
                content_type=APPLY_PATCH,
                query={"fieldManager": "lictor-install", "fieldValidation": "Strict"},
            )
        for program in (GATE, ENFORCER):
            self._make_keys(program)
            self._write_config(program)

    def ledger(self, program: str) -> Path:
        """Return the ledger of a program."""
        return self.directory / f"{program}.ledger"

    @property
    def trust(self) -> Path:
        """The public keys of both ledgers, from outside of them."""
        return self.directory / "trust"

    @property
    def state(self) -> Path:
        """The enforcer's baselines and state."""
        return self.directory / "enforcer.state"

    def config(self, program: str) -> Path:
        """Return the configuration of a program."""
        return self.directory / f"{program}.yaml"

    def metrics(self, program: str) -> str:
        """Return what Prometheus would scrape.

        Raises:
            OSError: the program does not run.
        """
        connection = HTTPConnection(LOOPBACK, self.metrics_ports[program], timeout=_PROBE_SECONDS)
        try:
            connection.request("GET", "/metrics")
            return connection.getresponse().read().decode()
        finally:
            connection.close()

    def stop(self) -> tuple[int | None, int | None]:
        """Stop both programs in the order of a shutdown; return their exit codes."""
        codes = self.enforcer.stop(), self.gate.stop()
        for port in (self.gate_port, *self.metrics_ports.values()):
            release_port(port)
        return codes

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `lictor` with these arguments to its end, and return what it printed."""
        return subprocess.run(
            [lictor_command(), *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=_ONE_COMMAND_SECONDS,
        )

    def gate_serves(self) -> bool:
        """Whether the gate is ready and registered."""
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE  # a probe, as the kubelet's
        connection = HTTPSConnection(
            LOOPBACK, self.gate_port, context=context, timeout=_PROBE_SECONDS
        )
        registered = (
            "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/lictor",
            "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/lictor",
        )
        try:
            connection.request("GET", "/readyz")
            ready = connection.getresponse().status == 200  # noqa: PLR2004
            return ready and all(self.plane.call("GET", path)[0] == 200 for path in registered)  # noqa: PLR2004
        except (OSError, HTTPException):
            return False
        finally:
            connection.close()

    def enforcer_leads(self) -> bool:
        """Whether the enforcer is the leader and its informers are synced."""
        try:
            text = self.metrics(ENFORCER)
        except (OSError, HTTPException):
            return False
        return any(
            line.startswith("lictor_leader{") and line.endswith(" 1.0")
            for line in text.splitlines()
        )

    def _child(self, program: str) -> Child:
        ready = self.gate_serves if program == GATE else self.enforcer_leads
        argv = [lictor_command(), program, "run", "--config", str(self.config(program))]
        return Child(argv, self.directory / f"{program}.log", ready=ready)

    def _make_keys(self, program: str) -> None:
        made = self.command(
            "keys",
            "init",
            "--origin",
            f"{ORIGIN}/{program}",
            "--key",
            str(self.directory / f"{program}.key"),
            "--digest-key",
            str(self.directory / f"{program}.digest-key"),
            "--trust",
            str(self.trust),
        )
        if made.returncode != 0:
            raise subprocess.CalledProcessError(
                made.returncode, "lictor keys init", made.stdout, made.stderr
            )

    def _write_config(self, program: str) -> None:
        kubeconfig = self.plane.kubeconfig_for_service_account(NAMESPACE, f"lictor-{program}")
        if program == ENFORCER and self.options.api_url:
            text = kubeconfig.read_text().replace(self.plane.url, self.options.api_url)
            kubeconfig = self.directory / "enforcer.kubeconfig"
            kubeconfig.touch(mode=0o600)
            kubeconfig.write_text(text)
        enforced = dict.fromkeys(self.options.enforce, "enforce")
        settle = dict.fromkeys(self.options.enforce, self.options.settle_seconds)
        settings = {
            "cluster": {"kubeconfig": str(kubeconfig), "namespace": NAMESPACE},
            "policies": {
                "paths": [str(self.options.policies)],
                "existing": enforced,
                "settleSeconds": settle,
            },
            "ownership": {"owners": list(self.options.owners)},
            "audit": self._audit(program),
            "gate": self._gate(),
            "enforcer": {
                "state": str(self.state),
                "metricsHost": LOOPBACK,
                "metricsPort": self.metrics_ports[ENFORCER],
                **self.options.enforcer,
            },
        }
        # JSON is YAML.
        self.config(program).write_text(json.dumps(settings, indent=2))

    def _audit(self, program: str) -> dict[str, Any]:
        return {
            "path": str(self.ledger(program)),
            "origin": f"{ORIGIN}/{program}",
            "key": str(self.directory / f"{program}.key"),
            "digestKey": str(self.directory / f"{program}.digest-key"),
            **self.options.audit,
        }

    def _gate(self) -> dict[str, Any]:
        url = self.options.gate_url or f"https://{LOOPBACK}:{self.gate_port}"
        return {
            "host": LOOPBACK,
            "port": self.gate_port,
            "metricsPort": self.metrics_ports[GATE],
            "registration": {"url": url},
            **self.options.gate,
        }


def lictor_command() -> str:
    """Return the path of the command `lictor`, in the environment that this runs in."""
    return str(Path(sys.executable).parent / "lictor")
