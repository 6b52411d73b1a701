"""What the README shows is run as it stands."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
from click.testing import CliRunner

from voxarray.cli import main
from voxarray.formats.table import FORMATS

README = Path(__file__).parents[2] / "README.md"


def test_python_blocks_run(tmp_path, monkeypatch):
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 6
    voxels = np.arange(96 * 80 * 70, dtype=np.int16).reshape(96, 80, 70)
    nib.save(nib.Nifti1Image(voxels, np.diag([-1, 1, 1.5, 1])), tmp_path / "t1.nii.gz")
    monkeypatch.chdir(tmp_path)
    for name in ("sub-01", "sub-02"):
        (tmp_path / "scans").mkdir(exist_ok=True)
        shutil.copy("t1.nii.gz", f"scans/{name}.nii.gz")
    converted = CliRunner().invoke(main, ["convert", "scans", "cohort"])
    assert converted.exit_code == 0, converted.output
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, str(README), "exec"), names)
    assert names["tensor"].shape == (1, 64, 80, 1)
    assert (names["tensor"].numpy() == voxels[20:84, ::-1, 30:31]).all()
    assert len(names["cohort"]) == 2
    assert len(names["patches"]) == 8
    assert names["batch"]["image"]["data"].shape == (2, 1, 32, 32, 32)
    assert (tmp_path / "preview.png").stat().st_size > 10_000
    assert names["labels"].spatial_shape == (96, 80, 70)
    doubled = nib.load(tmp_path / "doubled.nii.gz")
    assert (np.asarray(doubled.dataobj) == voxels.astype("float32") * 2).all()
    for opened in (names["plain"], names["again"]):
        np.testing.assert_array_equal(
            np.squeeze(opened.values).T if opened.dims[-1] == "x" else np.squeeze(opened.values),
            voxels,
        )


def test_the_scan_that_the_readme_makes_suits_its_examples(tmp_path, monkeypatch):
    """It is large enough for the patch and for a second level."""
    text = README.read_text(encoding="utf-8")
    making = re.search(r"No scan at hand\? `(.*?)` makes one", text)
    assert making
    assert making[1] in (README.parent / "notebooks/pages/index.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(f"import voxarray as vx\n{making[1]}", names)
    for block in (*blocks[:4], blocks[5]):  # the fifth needs a cohort
        exec(compile(block, str(README), "exec"), names)
    assert names["tensor"].shape[1] == 64  # as its comment says


def test_the_demo_prints_what_is_shown(tmp_path):
    """Sizes and shapes to the letter; what a machine needs of time and memory may differ."""
    shown = README.read_text(encoding="utf-8").partition("```text\na real scan")[2]
    shown = "a real scan" + shown.partition("```")[0]
    answer = subprocess.run(
        [sys.executable, "-m", "voxarray", "demo"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    for ours, theirs in zip(shown.splitlines(), answer.stdout.splitlines(), strict=True):
        if ours.startswith(" "):  # seconds, bytes
            assert re.sub(r"[\d.]+( [KM]iB)?", "#", ours) == re.sub(
                r"[\d.]+( [KM]iB)?", "#", theirs
            )
        else:
            assert theirs.startswith(ours.removesuffix("..."))


def test_pictures_exist():
    pictures = re.findall(r"!\[[^]]*\]\(([^)]+)\)", README.read_text(encoding="utf-8"))
    assert pictures
    assert all((README.parent / picture).is_file() for picture in pictures)


def test_the_readme_names_the_formats_that_are_only_read():
    (formats,) = re.findall(r"## Formats\n(.*?)\n## ", README.read_text("utf-8"), re.DOTALL)
    (named,) = re.findall(r"writes all of them except (.+?);", formats)
    only_read = {"NumPy" if name == "`.npy`" else name for name in re.split(", | and ", named)}
    assert only_read == {record.name for record in FORMATS if not record.written}
