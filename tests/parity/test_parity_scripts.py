"""Scripts of a user of TorchIO 1.x run with only the import changed, and say the same."""

from __future__ import annotations

import contextlib
import io
import sys
from pathlib import Path
from unittest import mock

import nibabel as nib
import numpy as np
import pytest

pytest.importorskip("torchio")
pytestmark = pytest.mark.filterwarnings("ignore")

SCRIPTS = Path(__file__).parent / "scripts"
AFFINE = np.array([[-0.9, 0, 0, 40], [0, 1.1, 0, -30], [0, 0, 2.5, 20], [0, 0, 0, 1.0]])


@pytest.fixture
def files(tmp_path):
    """A scan, and a segmentation of it into three labels and background."""
    rng = np.random.default_rng(0)
    x, y, z = np.mgrid[:12, :11, :9]
    labels = (np.hypot(x - 6, y - 5) < 4).astype("uint8") + (z > 4) + (x > 8)
    scan = (100 * labels + rng.integers(0, 30, labels.shape)).astype("int16")
    nib.save(nib.Nifti1Image(scan, AFFINE), tmp_path / "scan.nii.gz")
    nib.save(nib.Nifti1Image(labels.astype("uint8"), AFFINE), tmp_path / "labels.nii")
    return tmp_path / "scan.nii.gz", tmp_path / "labels.nii"


@pytest.mark.parametrize("name", ["inspect_and_plot", "crop_edit_save", "labels_and_statistics"])
def test_same_output(name, files, tmp_path):
    scan, labels = files
    printed = {}
    for package in ("torchio", "voxarray"):
        folder = tmp_path / package
        folder.mkdir()
        last = labels if name == "labels_and_statistics" else folder
        printed[package] = run(name, package, scan, last)
    assert len(printed["torchio"]) > 10
    assert printed["voxarray"] == printed["torchio"]
    check_saved(tmp_path / "torchio", tmp_path / "voxarray")


def run(name, package, *arguments):
    """Lines that a script prints with ``import torchio as tio``, or voxarray instead."""
    code = (SCRIPTS / f"{name}.py").read_text()
    line, changed = "import torchio as tio\n", f"import {package} as tio\n"
    assert code.count("torchio") == 1
    printed = io.StringIO()
    argv = [name, *map(str, arguments)]
    with mock.patch.object(sys, "argv", argv), contextlib.redirect_stdout(printed):
        exec(compile(code.replace(line, changed), name, "exec"), {"__name__": "__main__"})
    return printed.getvalue().splitlines()


def check_saved(theirs, ours):
    """The same files, and the same voxels in the same places in them."""
    import SimpleITK as sitk

    assert sorted(p.name for p in ours.iterdir()) == sorted(p.name for p in theirs.iterdir())
    for path in theirs.iterdir():
        if path.suffix in (".gif", ".npy") or path.name == "planes.png":
            assert path.stat().st_size > 100
            assert (ours / path.name).stat().st_size > 100
            continue
        one, other = sitk.ReadImage(path), sitk.ReadImage(ours / path.name)
        np.testing.assert_array_equal(*map(sitk.GetArrayViewFromImage, (one, other)))
        assert one.GetPixelID() == other.GetPixelID()
        for place in ("GetSpacing", "GetOrigin", "GetDirection"):
            np.testing.assert_allclose(getattr(one, place)(), getattr(other, place)(), atol=1e-6)
