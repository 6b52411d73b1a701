"""Every figure that README and site show is one that a script wrote, with its date and machine."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RESULTS = sorted((ROOT / "benchmarks" / "results").glob("*.json"))


@pytest.fixture
def table(monkeypatch):
    before = set(sys.modules)
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import table

    yield table
    for name in set(sys.modules) - before:
        home = getattr(sys.modules[name], "__file__", None) or ""
        if Path(home).parent == ROOT / "benchmarks":
            del sys.modules[name]


def test_readme_shows_the_results(table):
    text = (ROOT / "README.md").read_text("utf-8")
    assert table.with_instead(text) == text, "run benchmarks/table.py"
    assert text.partition(table.BEGIN)[2].count("\n| ") == 8, "six rows and their titles"


def test_page_of_benchmarks_shows_the_results(table):
    text = (ROOT / "benchmarks" / "README.md").read_text("utf-8")
    assert table.with_tables(text) == text, "run benchmarks/table.py"


def test_page_has_every_suite(table):
    text = table.page()
    for path in RESULTS:
        assert f"## {path.stem.replace('_', ' ').capitalize()}\n" in text


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_results_say_when_and_where(path):
    result = json.loads(path.read_text("utf-8"))
    assert result["suite"] == path.stem
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:]+\+00:00", result["date"])
    assert result["machine"]["cpu"]
    assert result["machine"]["cores"] >= 1
    assert result["versions"]["own"]["python"]


def test_a_script_wrote_each():
    scripts = "".join(file.read_text("utf-8") for file in (ROOT / "benchmarks").glob("*.py"))
    for path in RESULTS:
        assert f'save("{path.stem}"' in scripts, f"no script writes {path.name}"
