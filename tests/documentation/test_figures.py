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
    six = text.partition(table.BEGIN)[2].partition(table.END)[0]
    assert six.count("\n| ") == 8, "six rows and their titles"
    codecs = text.partition(table.CODECS_BEGIN)[2].partition(table.CODECS_END)[0]
    assert codecs.count("\n| ") == 7, "five kinds of voxels and titles"


def test_page_of_benchmarks_shows_the_results(table):
    text = (ROOT / "benchmarks" / "README.md").read_text("utf-8")
    assert table.with_tables(text) == text, "run benchmarks/table.py"


def test_page_has_every_suite(table):
    text = table.page()
    for path in RESULTS:
        assert f"## {path.stem.replace('_', ' ').capitalize()}\n" in text


def test_results_of_one_form_are_lines_of_a_table(table):
    ratio = {"folder": 2.5, "zip": 1.25}
    rows = [{"kind": kind, "ratio": ratio, "inodes": n} for kind, n in (("int16", 20), ("u1", 3))]
    text = table.page({"small_scans": {"shape": [4, 4, 4], "rows": rows}})
    assert "| kind | ratio / folder | ratio / zip | inodes |\n" in text
    assert "| int16 | 2.5 | 1.25 | 20 |\n| u1 | 2.5 | 1.25 | 3 |" in text
    cells = {name: {one: {"peak": n} for one in ("hist", "plot")} for n, name in enumerate("ab")}
    text = table.page({"memory": {"rows": cells}})
    assert "| a | hist | 0 |\n| a | plot | 0 |\n| b | hist | 1 |" in text


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_results_say_when_and_where(path):
    result = json.loads(path.read_text("utf-8"))
    assert result["suite"] == path.stem
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:]+\+00:00", result["date"])
    assert result["machine"]["cpu"]
    assert result["machine"]["cores"] >= 1
    assert result["versions"]["own"]["python"]


def test_page_of_clusters_shows_the_measured_operations():
    text = (ROOT / "notebooks/pages/how-to/cluster-and-cloud.md").read_text("utf-8")
    result = json.loads((ROOT / "benchmarks/results/simulation.json").read_text("utf-8"))
    measured = result["metadata_operations"]
    row = re.search(
        r"at most (\d+) for each part; in addition, about (\d+) for each image that is converted, "
        r"and at most (\d+) for each image that is up to date",
        text,
    )
    assert row
    task, converted, up_to_date = map(int, row.groups())
    assert converted == round(measured["converted"])
    assert measured["task"] <= task
    assert measured["up_to_date"] <= up_to_date


def test_a_script_wrote_each():
    scripts = "".join(file.read_text("utf-8") for file in (ROOT / "benchmarks").glob("*.py"))
    for path in RESULTS:
        assert f'save("{path.stem}"' in scripts, f"no script writes {path.name}"


def test_results_of_older_peers_say_so(table):
    result = json.loads((ROOT / "benchmarks/results/patches.json").read_text("utf-8"))
    newest = {name: found["newest"] for name, found in table.known()["peers"].items()}
    result["versions"] = {"own": {"python": "3.11.7", **newest}}
    assert "Newer versions" not in table.page({"patches": result})
    result["versions"]["own"]["torch"] = "2.13.0+cpu"
    assert "Newer versions exist of: torch 2.13.0 (newest" in table.page({"patches": result})


def test_peers_of_results_and_requirements_are_dated(table):
    dated = {name: found["releases"] for name, found in table.known()["peers"].items()}
    seen = set()
    for path in RESULTS:
        for versions in json.loads(path.read_text("utf-8"))["versions"].values():
            seen |= {(name, version.split("+")[0]) for name, version in versions.items()}
    for path in (ROOT / "benchmarks/requirements").glob("*.txt"):
        found = re.findall(r"^([\w-]+)(?:\[\w+\])?==(\S+)", path.read_text("utf-8"), re.MULTILINE)
        seen |= set(found)
    peers = {(name, version) for name, version in seen if name in dated}
    assert peers
    assert not [(name, version) for name, version in peers if version not in dated[name]]
