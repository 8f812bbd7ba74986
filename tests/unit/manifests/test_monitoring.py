"""Rules and dashboard: every metric and label that they name exists, every alert has its page."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from lictor.telemetry.metrics import REGISTRY

ROOT = Path(__file__).resolve().parents[3]
RULES = ROOT / "manifests" / "monitoring" / "lictor.rules.yaml"
DASHBOARD = ROOT / "manifests" / "monitoring" / "lictor.dashboard.json"
BLOB = "https://github.com/lictor-dev/lictor/blob/main/"
SCRAPED = {"job", "instance", "le"}


def _rules() -> list[dict[str, object]]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def _expressions() -> Iterator[str]:
    for rule in _rules():
        yield str(rule["expr"])
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel["targets"]:
            yield target["expr"]


def _known() -> dict[str, set[str]]:
    known: dict[str, set[str]] = {}
    for family in REGISTRY.collect():
        labels = set(REGISTRY._names_to_collectors[family.name]._labelnames)
        suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}
        for suffix in suffixes.get(family.type, [""]):
            known[family.name + suffix] = labels
    return known


@pytest.mark.parametrize("expression", list(dict.fromkeys(_expressions())), ids=str)
def test_monitoring_names_metrics_and_labels_that_exist(expression: str) -> None:
    """A query about a metric or label that is not there would be empty for ever."""
    known = _known()

    names = re.findall(r"lictor_[a-z_]+", re.sub(r'"[^"]*"', '""', expression))
    labels = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"", expression))
    labels |= {
        label.strip() for by in re.findall(r"by \(([^)]*)\)", expression) for label in by.split(",")
    }

    assert set(names) <= set(known)
    assert labels <= set().union(*(known[name] for name in names), SCRAPED)
    assert expression.count("(") == expression.count(")")


@pytest.mark.parametrize("rule", [pytest.param(r, id=str(r["alert"])) for r in _rules()])
def test_monitoring_alert_has_severity_summary_and_runbook(rule: dict[str, dict[str, str]]) -> None:
    """An alert that wakes somebody says what is wrong and where the page is that helps."""
    url = rule["annotations"]["runbook_url"]

    assert rule["labels"]["severity"] in {"warning", "critical"}
    assert rule["annotations"]["summary"].endswith(".")
    assert url.startswith(BLOB)
    assert (ROOT / url.removeprefix(BLOB)).is_file()


def test_monitoring_dashboard_panels_do_not_overlap() -> None:
    """Every panel has an id and a place of its own."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    taken = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]

    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len(set(taken)) == len(taken)
    assert max(x for x, _ in taken) < 24
