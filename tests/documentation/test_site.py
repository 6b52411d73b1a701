"""The site builds with warnings as errors: links, anchors, names of objects, pages in no menu."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

CONFIGURATION = Path(__file__).parents[2] / "notebooks" / "mkdocs.yml"


def test_builds_strictly(tmp_path):
    environment = {
        **os.environ,
        "VOXARRAY_DOCS_EXECUTE": "false",  # test_notebooks.py runs them
        "NO_MKDOCS_2_WARNING": "1",
    }
    built = subprocess.run(
        [
            *(sys.executable, "-m", "mkdocs", "build", "--strict"),
            *("-f", CONFIGURATION, "-d", tmp_path / "site"),
        ],
        env=environment,
        cwd=tmp_path,  # mkdocs-jupyter keeps a cache there
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stderr
    for page in ("index.html", "first-look/index.html", "reference/images/index.html"):
        assert (tmp_path / "site" / page).stat().st_size > 10_000
    reference = (tmp_path / "site/reference/images/index.html").read_text("utf-8")
    assert "Nothing is read before it is needed" in reference
    assert "memory_report" in reference
