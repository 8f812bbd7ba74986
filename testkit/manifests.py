"""Reads `manifests/` as kustomize does, as far as our own files use it: no binary is needed."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

BASE: Final = Path(__file__).resolve().parents[1] / "manifests" / "base"
KUSTOMIZATIONS: Final = ("kustomization.yaml", "Kustomization")

_UNDERSTOOD: Final = {"apiVersion", "kind", "resources", "configMapGenerator", "generatorOptions"}
_CLUSTER_KINDS: Final = (
    "Namespace",
    "CustomResourceDefinition",
    "ServiceAccount",
    "ClusterRole",
    "ClusterRoleBinding",
    "Role",
    "RoleBinding",
)
"""What has to be there before our processes can run, wherever they run."""

_PLURALS: Final = {"NetworkPolicy": "networkpolicies"}


class ManifestError(Exception):
    """A kustomization uses what this reader does not understand."""


def objects(base: Path = BASE) -> list[dict[str, Any]]:
    """Return the objects of the kustomization in the folder `base`, in the order of its files.

    Raises:
        ManifestError: the kustomization uses more than resources and files for ConfigMaps.
    """
    file = next(base / name for name in KUSTOMIZATIONS if (base / name).is_file())
    kustomization = yaml.safe_load(file.read_text())
    strange = sorted(set(kustomization) - _UNDERSTOOD)
    if strange:
        raise ManifestError(f"{file}: {', '.join(strange)} is not understood here")
    found: list[dict[str, Any]] = []
    for entry in kustomization.get("resources", ()):
        path = (base / entry).resolve()
        if path.is_dir():
            found += objects(path)
        else:
            found += [body for body in yaml.safe_load_all(path.read_text()) if body]
    options = kustomization.get("generatorOptions", {})
    for generator in kustomization.get("configMapGenerator", ()):
        found.append(_config_map(base, generator, options=options))
    return found


def cluster_objects(base: Path = BASE) -> list[dict[str, Any]]:
    """Return what our processes need wherever they run: namespace, CRDs, accounts and RBAC.

    Raises:
        ManifestError: as `objects`.
    """
    return [body for body in objects(base) if body["kind"] in _CLUSTER_KINDS]


def path_of(body: dict[str, Any]) -> str:
    """Return the URL path of an object on the API server."""
    version, metadata = body["apiVersion"], body["metadata"]
    prefix = f"/apis/{version}" if "/" in version else f"/api/{version}"
    namespace = metadata.get("namespace")
    scope = f"/namespaces/{namespace}" if namespace else ""
    kind = body["kind"]
    return f"{prefix}{scope}/{_PLURALS.get(kind, kind.lower() + 's')}/{metadata['name']}"


def _config_map(
    base: Path, generator: dict[str, Any], *, options: dict[str, Any]
) -> dict[str, Any]:
    if not options.get("disableNameSuffixHash"):
        raise ManifestError(f"{base}: a name with a hash is not understood here")
    metadata = {"name": generator["name"], "namespace": generator["namespace"]}
    own = generator.get("options", {})
    labels = {**options.get("labels", {}), **own.get("labels", {})}
    if labels:
        metadata["labels"] = labels
    data = dict(_files(base, generator.get("files", ())))
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def _files(base: Path, entries: list[str]) -> Iterator[tuple[str, str]]:
    for entry in entries:
        key, _, name = entry.rpartition("=")
        yield key or Path(name).name, (base / name).read_text()
