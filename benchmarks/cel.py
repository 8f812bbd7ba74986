"""16 pod-security expressions on one Pod: one activation for all against one for each."""

import sys
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Final

import msgspec

from benchmarks.machine import keep
from lictor.engines.cel import CelEnvironment, CelProgram, CelResult
from lictor.jsontypes import Json, JsonObject
from lictor.model.policy import NamedExpression

ROUNDS: Final = 15
REVIEWS: Final = 200

_VARIABLES: Final = (
    NamedExpression(name="spec", expression="object.spec"),
    NamedExpression(
        name="containers",
        expression="variables.spec.containers + variables.spec.?initContainers.orValue([]) "
        "+ variables.spec.?ephemeralContainers.orValue([])",
    ),
)
_EXPRESSIONS: Final = (
    "!variables.spec.?hostNetwork.orValue(false)",
    "!variables.spec.?hostPID.orValue(false) && !variables.spec.?hostIPC.orValue(false)",
    "variables.spec.?volumes.orValue([]).all(v, !has(v.hostPath))",
    "variables.containers.all(c, !c.?securityContext.?privileged.orValue(false))",
    (
        "variables.containers.all(c, c.?securityContext.?allowPrivilegeEscalation.orValue(true) "
        "== false)"
    ),
    (
        "variables.containers.all(c, c.?securityContext.?runAsNonRoot.orValue("
        "variables.spec.?securityContext.?runAsNonRoot.orValue(false)))"
    ),
    "variables.containers.all(c, c.?securityContext.?runAsUser.orValue(1) != 0)",
    "variables.containers.all(c, 'ALL' in c.?securityContext.?capabilities.?drop.orValue([]))",
    (
        "variables.containers.all(c, c.?securityContext.?capabilities.?add.orValue([])"
        ".all(a, a == 'NET_BIND_SERVICE'))"
    ),
    (
        "variables.containers.all(c, c.?securityContext.?seccompProfile.?type.orValue("
        "variables.spec.?securityContext.?seccompProfile.?type.orValue('')) "
        "in ['RuntimeDefault', 'Localhost'])"
    ),
    "variables.containers.all(c, c.?securityContext.?procMount.orValue('Default') == 'Default')",
    "variables.containers.all(c, c.?ports.orValue([]).all(p, p.?hostPort.orValue(0) == 0))",
    "variables.containers.all(c, c.image.matches('^registry[.]example[.]com/[a-z/-]+:[0-9.]+$'))",
    "variables.containers.all(c, has(c.resources.limits.memory))",
    "has(object.metadata.labels) && 'lictor.dev/owner' in object.metadata.labels",
    (
        "variables.spec.?volumes.orValue([]).all(v, ['configMap', 'emptyDir', 'projected', "
        "'secret'].exists(k, k in v))"
    ),
)


def _container(name: str) -> JsonObject:
    return {
        "name": name,
        "image": f"registry.example.com/team/{name}:1.2.3",
        "args": ["--listen=:8080", "--log-format=json"],
        "env": [{"name": f"SETTING_{n}", "value": "v" * 30} for n in range(8)],
        "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}],
        "resources": {
            "limits": {"cpu": "500m", "memory": "256Mi"},
            "requests": {"cpu": "100m", "memory": "128Mi"},
        },
        "livenessProbe": {
            "httpGet": {"path": "/healthz", "port": 8080, "scheme": "HTTP"},
            "timeoutSeconds": 1,
            "periodSeconds": 10,
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "runAsNonRoot": True,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumeMounts": [
            {"name": "config", "mountPath": "/etc/app", "readOnly": True},
            {"name": "token", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"},
        ],
    }


def _pod() -> JsonObject:
    fields: list[str] = [f"f:field-{n}" for n in range(60)]
    managed: Json = {"f:spec": {field: {} for field in fields}, "f:metadata": {"f:labels": {}}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "web-7d9c5b8f6-x2x7q",
            "namespace": "shop",
            "labels": {"lictor.dev/owner": "team-shop", "app.kubernetes.io/name": "web"},
            "annotations": {"example.com/note": "n" * 200},
            "managedFields": [{"manager": "kubelet", "operation": "Update", "fieldsV1": managed}],
        },
        "spec": {
            "containers": [_container("web"), _container("log"), _container("proxy")],
            "securityContext": {"runAsNonRoot": True},
            "volumes": [
                {"name": "config", "configMap": {"name": "web"}},
                {"name": "token", "projected": {"sources": [{"serviceAccountToken": {}}]}},
            ],
        },
    }


def _shared(
    environment: CelEnvironment, programs: Sequence[CelProgram], values: dict[str, Json]
) -> bool:
    activation = environment.activation(values)
    return all(program.run_bool(activation) for program in programs)


def _separate(
    environment: CelEnvironment, programs: Sequence[CelProgram], values: dict[str, Json]
) -> bool:
    return all(program.run_bool(environment.activation(values)) for program in programs)


def _microseconds(work: Callable[[], object], *, times: int) -> float:
    began = time.perf_counter()
    for _ in range(times):
        work()
    return (time.perf_counter() - began) / times * 1e6


def main() -> int:
    """Measure in interleaved rounds; print the medians and keep them."""
    environment = CelEnvironment()

    def compiled() -> list[CelProgram]:
        return [
            environment.compile(text, result=CelResult.BOOL, variables=_VARIABLES)
            for text in _EXPRESSIONS
        ]

    began = time.perf_counter()
    programs = compiled()
    compile_ms = (time.perf_counter() - began) * 1000
    values: dict[str, Json] = {"object": _pod(), "request": {"operation": "CREATE"}}
    pod = _pod()
    metadata = pod["metadata"]
    if isinstance(metadata, dict):
        metadata["creationTimestamp"] = None
    nulls: dict[str, Json] = {**values, "object": pod}
    cases: dict[str, Callable[[], object]] = {
        "shared_us": lambda: _shared(environment, programs, values),
        "shared_with_nulls_us": lambda: _shared(environment, programs, nulls),
        "separate_us": lambda: _separate(environment, programs, values),
    }
    if not all(case() for case in cases.values()):
        print("a verdict is wrong: nothing is measured", file=sys.stderr)
        return 1
    rounds: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(ROUNDS):
        for name, case in cases.items():
            rounds[name].append(_microseconds(case, times=REVIEWS))
    medians = {name: round(median(found), 1) for name, found in rounds.items()}
    result = {
        "expressions": len(programs),
        "document_bytes": len(msgspec.json.encode(values["object"])),
        "compile_ms": round(compile_ms, 2),
        **medians,
        "separate_to_shared": round(medians["separate_us"] / medians["shared_us"], 1),
    }
    keep("cel", result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
