"""Runbooks: a page for every reason to hold and every alert, and none for what does not exist."""

import re
from pathlib import Path

import yaml

from enforcer.gates.values import Reason
from enforcer.plan.values import Obstacle

ROOT = Path(__file__).resolve().parents[3]
RUNBOOKS = ROOT / "docs" / "runbooks"


def test_runbooks_cover_every_reason_and_alert_and_nothing_else() -> None:
    """Who sees a reason code or an alert finds its page by its name."""
    rules = (ROOT / "manifests" / "monitoring" / "lictor.rules.yaml").read_text()
    alerts = {
        Path(rule["annotations"]["runbook_url"]).stem
        for group in yaml.safe_load(rules)["groups"]
        for rule in group["rules"]
    }

    pages = {path.stem for path in RUNBOOKS.glob("*.md")} - {"README"}

    assert pages == {code.value for code in (*Reason, *Obstacle)} | alerts


def test_runbooks_say_what_to_look_at_and_what_to_do() -> None:
    """Each page has the two parts, in this order, and a command."""
    parts = re.compile(r"^## Look\n\n```\n.+\n```\n\n## Do\n\n.+", re.MULTILINE | re.DOTALL)

    bad = [
        path.name
        for path in RUNBOOKS.glob("*.md")
        if path.stem != "README" and not parts.search(path.read_text())
    ]

    assert bad == []


def test_runbooks_index_names_every_page() -> None:
    """The index leads to each page."""
    index = (RUNBOOKS / "README.md").read_text()

    assert [p.name for p in RUNBOOKS.glob("*.md") if f"({p.name})" not in index] == ["README.md"]
