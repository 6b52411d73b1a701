"""The page for authors of formats is run as it stands, in a package that is installed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[2] / "notebooks/pages/how-to/add-a-format.md"


def test_the_page_adds_a_format(tmp_path):
    text = PAGE.read_text("utf-8")
    blocks = dict(re.findall(r'```\w+ title="([\w.]+)"\n(.*?)```', text, re.DOTALL))
    assert set(blocks) == {"pln.py", "pln_write.py", "pln_format.py", "pyproject.toml", "use.py"}
    for name, block in blocks.items():
        (tmp_path / name).write_text(block, "utf-8")
    # What pip makes of such a pyproject.toml.
    installed = tmp_path / "pln-1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: pln\nVersion: 1.0\n")
    entries = blocks["pyproject.toml"].replace("[project.entry-points.", "[").replace('"', "")
    (installed / "entry_points.txt").write_text(entries)

    (tmp_path / "work").mkdir()
    ran = subprocess.run(
        [sys.executable, tmp_path / "use.py"],
        cwd=tmp_path / "work",
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert sorted(os.listdir(tmp_path / "work")) == ["scan.ome.zarr", "scan.pln"]

    (tmp_path / "work" / "scan.pln").write_bytes(b"{}\n")
    code = "import voxarray as vx; vx.open_source('scan.pln')"
    ran = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path / "work",
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "NOT_PLN" in ran.stderr
