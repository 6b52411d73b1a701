"""What the pages of the site show is run as it stands, and names what is there."""

from __future__ import annotations

import inspect
import os
import re
import sys
from pathlib import Path

import matplotlib as mpl
import nibabel as nib
import numpy as np
import pytest
from dask.utils import parse_bytes

import voxarray as vx
from voxarray.core import settings

PAGES = Path(__file__).parents[2] / "notebooks" / "pages"
WITH_CODE = [page for page in sorted(PAGES.rglob("*.md")) if "```python" in page.read_text("utf-8")]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where the pages find the scans that they speak of."""
    from matplotlib import pyplot

    mpl.use("Agg")
    rng = np.random.default_rng(0)
    voxels = rng.integers(0, 400, (96, 80, 70)).astype(np.int16)
    affine = np.diag([-1, 1, 1.5, 1])
    nib.save(nib.Nifti1Image(voxels, affine), tmp_path / "t1.nii.gz")
    nib.save(nib.Nifti1Image((voxels > 200).astype(np.uint8), affine), tmp_path / "seg.nii.gz")
    for name in ("sub-01", "sub-02"):
        (tmp_path / "scans").mkdir(exist_ok=True)
        nib.save(nib.Nifti1Image(voxels, affine), tmp_path / f"scans/{name}.nii.gz")
    monkeypatch.setenv(
        "PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    )
    (tmp_path / "broken.nii").write_bytes(b"nothing")
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    pyplot.close("all")


@pytest.mark.parametrize("page", WITH_CODE, ids=lambda page: page.stem)
def test_code_runs(page, folder):
    names: dict[str, object] = {"__name__": "page"}
    for block in re.findall(r"^```python\n(.*?)^```", page.read_text("utf-8"), re.DOTALL | re.M):
        exec(compile(block, str(page), "exec"), names)


def test_the_label_map_that_the_start_page_makes_suits_the_pages(tmp_path, monkeypatch):
    hint = (PAGES / "index.md").read_text("utf-8").partition("No scan at hand?")[2]
    names: dict[str, object] = {"vx": vx}
    monkeypatch.chdir(tmp_path)
    for line in re.findall("`([^`]*)`", hint.partition("\n\n")[0]):
        if "(" in line:
            exec(line, names)
    scan, seg = vx.ScalarImage("t1.nii.gz"), vx.LabelMap("seg.nii.gz")
    assert seg.grid == scan.grid
    assert 0.05 < seg.statistics().mean < 0.5
    assert set(np.unique(seg.numpy())) == {0, 1}


def table_after(title: str) -> str:
    """First column of a table of the page on migration."""
    text = (PAGES / "migration.md").read_text("utf-8")
    rows = text.partition(f"<!-- {title} -->")[2].partition("\n\n")[0].splitlines()
    return " ".join(row.split("|")[1] for row in rows if row.startswith("|"))


@pytest.mark.parametrize("name", ["Image", "Subject"])
def test_every_member_of_torchio_has_a_row(name):
    import torchio

    classes = [getattr(torchio, name)] + ([torchio.LabelMap] if name == "Image" else [])
    named = set(re.findall(r"`(\w+)`", table_after(f"members of {name}")))
    for cls in classes:
        members = {
            member
            for member, _ in inspect.getmembers(cls)
            if not member.startswith("_") and not hasattr(dict, member)
        }
        assert members <= named, f"not in the table: {sorted(members - named)}"


def test_settings_of_the_page_are_the_defaults():
    text = (PAGES / "memory.md").read_text("utf-8")
    for key, shown in re.findall(r"^\| `voxarray\.([\w-]+)` \| ([^|]+) \|", text, re.M):
        default = settings.DEFAULTS[key]
        value = parse_bytes(shown) if isinstance(default, int) and "iB" in shown else shown.strip()
        assert default is None or str(default).lower() == str(value).lower(), key


def test_members_that_are_said_to_be_the_same_are_there():
    for name, cls in (("Image", vx.LabelMap), ("Subject", vx.Subject)):
        text = (PAGES / "migration.md").read_text("utf-8")
        rows = text.partition(f"<!-- members of {name} -->")[2].partition("\n\n")[0].splitlines()
        for row in rows:
            cells = [cell.strip() for cell in row.strip("|").split("|")]
            if cells[1:2] == ["same"] and "(arguments)" not in cells[0]:
                for member in re.findall(r"`(\w+)`", cells[0].partition("(")[0]):
                    assert hasattr(cls, member), f"{name}.{member}"
