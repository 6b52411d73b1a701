"""What the source and the pages give as evidence is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILE = re.compile(r"\b(?:benchmarks|tests)/[\w/.-]*\w\.(?:py|json|txt|md)\b")
READ = [
    *(ROOT / "src").rglob("*.py"),
    *(ROOT / "src").rglob("*.md"),
    *(ROOT / "notebooks").rglob("*.md"),
    *(ROOT / "benchmarks").rglob("*.md"),
    *ROOT.glob("*.md"),
]


def named() -> dict[str, Path]:
    """Files that are named, each with a place that names it."""
    return {
        name: path
        for path in READ
        if path.name != "CHANGELOG.md"  # of files that there were
        for name in FILE.findall(path.read_text("utf-8"))
    }


def test_files_that_are_named_exist():
    found = named()
    assert "benchmarks/archive_codecs.py" in found  # the evidence of the profiles
    missing = {name: str(path) for name, path in found.items() if not (ROOT / name).is_file()}
    assert not missing


@pytest.mark.parametrize("name", ["ARCHIVE_SUFFIXES", "ZIP_SUFFIX", "FOLDER_SUFFIX"])
def test_suffixes_of_archives_stand_in_one_place(name):
    sources = [path.read_text("utf-8") for path in (ROOT / "src").rglob("*.py")]
    assert sum(len(re.findall(rf"^{name}\b.*=", text, re.MULTILINE)) for text in sources) <= 1


def test_codes_of_intents_stand_with_the_fields_of_the_header():
    sources = {path: path.read_text("utf-8") for path in (ROOT / "src").rglob("*.py")}
    places = {path.name for path, text in sources.items() if re.search(r"= 100[1-9]$", text, re.M)}
    assert places == {"fields.py"}
