"""Pages that follow from code are in step with it, and links between pages lead somewhere."""

import re
from pathlib import Path

import pytest

from testkit.reference import DOCS, LABEL_BOUNDS, TABLES, metric_rows, with_table

ROOT = DOCS.parent
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])


@pytest.mark.parametrize("name", sorted(TABLES))
def test_reference_page_equals_the_code(name: str) -> None:
    """The tables say what the code says; `python -m testkit.reference` brings them there."""
    text = (DOCS / name).read_text()

    assert text == with_table(text, TABLES[name]())


def test_reference_every_label_has_a_bound() -> None:
    """A label without a stated bound may not be used."""
    used = {label for _, _, labels, _ in metric_rows() for label in labels.split(", ") if label}

    assert used <= set(LABEL_BOUNDS)
    assert not used & {"name", "namespace", "uid", "user"}


@pytest.mark.parametrize("name", [name for name, _, _, _ in metric_rows()])
def test_metric_name_ends_in_a_unit(name: str) -> None:
    """Prefix `lictor_`, then a base unit, `_total`, `_info` or what is counted."""
    units = {"total", "seconds", "bytes", "info", "records", "objects", "violations", "policies"}

    assert name.startswith("lictor_")
    assert name.rpartition("_")[2] in units | {"depth", "leader"}


@pytest.mark.parametrize("page", [pytest.param(p, id=str(p.relative_to(ROOT))) for p in PAGES])
def test_docs_links_lead_somewhere(page: Path) -> None:
    """A relative link names a file that is there."""
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text())
    broken = [
        link for link in links if "://" not in link and not (page.parent / link).resolve().exists()
    ]

    assert broken == []
