"""Words of pages and texts are spelt right, and what they link to in the repository is there."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXTS = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")),
    ROOT / "benchmarks" / "README.md",
    *sorted((ROOT / "notebooks").rglob("*.md")),
]


def test_words():
    pytest.importorskip("codespell_lib")
    checked = subprocess.run(
        [sys.executable, "-m", "codespell_lib", "src", *map(str, TEXTS)],
        cwd=ROOT,  # where its exceptions are configured
        capture_output=True,
        text=True,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


LINKING = [*TEXTS, *sorted((ROOT / "notebooks").glob("*.ipynb"))]


@pytest.mark.parametrize("text", LINKING, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere_in_a_clone(text):
    """Those of the site are made of these, and checked when it is built."""
    links = re.findall(r"\]\(([^)#\s]+)", words_of(text))
    missing = [
        link
        for link in links
        if not link.startswith(("http:", "https:", "mailto:")) and not (text.parent / link).exists()
    ]
    assert not missing


def test_the_one_test_that_contributors_are_shown_is_there():
    """pytest exits with an error if ``-k`` chooses none."""
    shown = re.search(r"pytest -n0 (\S+) -k (\w+)", (ROOT / "CONTRIBUTING.md").read_text("utf-8"))
    assert shown
    tests = (ROOT / shown[1]).read_text("utf-8")
    assert re.search(rf"^ *def test_\w*{shown[2]}", tests, re.MULTILINE)


def words_of(text):
    """The Markdown of a page or notebook."""
    content = text.read_text("utf-8")
    if text.suffix != ".ipynb":
        return content
    cells = json.loads(content)["cells"]
    return "\n".join("".join(one["source"]) for one in cells if one["cell_type"] == "markdown")
