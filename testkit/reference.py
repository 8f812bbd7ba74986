"""Keeps the tables in `docs/` that follow from code: `python -m testkit.reference` writes them."""

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, Final

from prometheus_client.metrics import MetricWrapperBase

from lictor.config.load import camel
from lictor.config.settings import Settings
from lictor.telemetry import metrics

DOCS: Final = Path(__file__).resolve().parents[1] / "docs"
BEGIN: Final = "<!-- begin: written by python -m testkit.reference -->"
END: Final = "<!-- end -->"

LABEL_BOUNDS: Final[Mapping[str, str]] = {
    "action": "what policies can do: at most 8",
    "code": "HTTP status: at most 40",
    "decision": "at most 5",
    "digest": "one at a time",
    "fault": "kinds of malformed review: at most 20",
    "gate": "reason codes of the gates: at most 30",
    "kind": "resources that loaded policies name",
    "lease": "at most 2",
    "limit": "limits in the code: at most 40",
    "operation": "CREATE, UPDATE, DELETE, CONNECT, unknown",
    "origin": "admission, existing",
    "owner": "owners of the registry, and `unknown`",
    "phase": "validate, mutate",
    "policy": "ids of loaded bound policies",
    "reason": "at most 10",
    "result": "at most 10",
    "severity": "low, medium, high, critical",
    "type": "types of record: at most 20",
    "verb": "HTTP methods, and watch: at most 10",
}
"""What keeps each label bounded. A label that is not here may not be used."""


def metric_rows() -> Iterator[tuple[str, str, str, str]]:
    """Yield name, type, labels and meaning of each metric, in the order of the module."""
    for name, metric in vars(metrics).items():
        if not name.startswith("_") and isinstance(metric, MetricWrapperBase):
            kind = str(metric._type)  # noqa: SLF001 (there is no public way)
            suffix = "_total" if kind == "counter" else ""
            labels = ", ".join(metric._labelnames)  # noqa: SLF001
            yield metric._name + suffix, kind, labels, metric._documentation  # noqa: SLF001


def metrics_table() -> str:
    """Return the table of all metrics, then that of their labels."""
    rows = [f"| `{name}` | {kind} | {labels or '-'} | {text} |" for name, kind, labels, text in
            metric_rows()]  # fmt: skip
    used = {label for _, _, labels, _ in metric_rows() for label in labels.split(", ") if label}
    bounds = [f"| `{label}` | {LABEL_BOUNDS[label]} |" for label in sorted(used)]
    return "\n".join(
        ["| Name | Type | Labels | Meaning |", "|---|---|---|---|", *rows, "",
         "| Label | Bound |", "|---|---|", *bounds]
    )  # fmt: skip


def settings_table() -> str:
    """Return one table a section of the settings."""
    return "\n".join(_section(Settings, key="")).strip()


def _section(kind: type[Any], *, key: str) -> Iterator[str]:
    own, below = [], []
    for item in fields(kind):
        name = f"{key}.{camel(item.name)}".lstrip(".")
        default = item.default_factory() if item.default_factory is not MISSING else item.default
        if is_dataclass(default):
            below.append((type(default), name))
            continue
        unit, reason = item.metadata["unit"], item.metadata["reason"]
        own.append(f"| `{name}` | {_shown(default)} | {unit} | {reason} |")
        if isinstance(default, tuple) and default and is_dataclass(default[0]):
            below.append((type(default[0]), f"{name}[]"))
    if own:
        doc = (kind.__doc__ or "").partition("\n")[0]
        yield from ["", f"### {key}", "", doc, "", "| Key | Default | Unit | Reason |"]
        yield from ["|---|---|---|---|", *own]
    for part, name in below:
        yield from _section(part, key=name)


def _shown(value: object) -> str:
    match value:
        case bool():
            return f"`{str(value).lower()}`"
        case tuple() if value and is_dataclass(value[0]):
            return "one, as below"
        case tuple():
            return ", ".join(f"`{item}`" for item in value) or "none"
        case dict():
            return "none"
        case "":
            return "empty"
        case _:
            return f"`{value}`"


TABLES: Final[Mapping[str, Callable[[], str]]] = {
    "metrics.md": metrics_table,
    "configuration.md": settings_table,
}


def with_table(text: str, table: str) -> str:
    """Return the page `text` with `table` between its marks."""
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n{table}\n{END}{tail}"


def main() -> int:
    """Write every table; say what changed."""
    for name, table in TABLES.items():
        path = DOCS / name
        text = path.read_text()
        new = with_table(text, table())
        if new != text:
            path.write_text(new)
            print(f"written: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
