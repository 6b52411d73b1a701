"""Every NIfTI image at hand goes into an archive and comes back as nibabel reads it."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from archive_samples import whole
from click.testing import CliRunner

from voxarray.archive.convert import convert
from voxarray.archive.source import open_archive
from voxarray.archive.verify import compare, verify
from voxarray.cli import main
from voxarray.cohort import Cohort
from voxarray.formats.registry import open_source
from voxarray.geometry.selection import Selection

SHARED = Path(__file__).parents[2] / "../shared/data/nifti"
BUNDLED = Path(nib.__file__).parent / "tests/data"

# Connectivity in the clothes of NIfTI-2: no image of three or four dimensions.
NO_IMAGES = {"row_major.dconn.nii"}


def scans(folder: Path) -> list[Path]:
    return sorted(file for file in folder.glob("*.nii*") if file.name not in NO_IMAGES)


def nibabels(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Voxels (C, W, H, D) and affine by nibabel."""
    image = nib.load(path)
    array = np.asanyarray(image.dataobj)
    array = array.reshape(*array.shape[:3], -1)
    return np.moveaxis(array, 3, 0), image.affine


def require_same(archive: Path, scan: Path) -> None:
    expected, affine = nibabels(scan)
    opened = open_archive(archive)
    seen = whole(opened)
    assert np.array_equal(seen, expected.astype(seen.dtype), equal_nan=seen.dtype.kind == "f")
    if expected.dtype.kind in "iu":
        assert seen.dtype == expected.dtype.newbyteorder("=")
    np.testing.assert_allclose(opened.affine, affine, atol=1e-6)


@pytest.mark.parametrize("scan", scans(BUNDLED), ids=lambda scan: scan.name)
def test_scans_that_come_with_nibabel(tmp_path, scan):
    path = tmp_path / "a.ome.zarr"
    convert(open_source(scan), path)
    require_same(path, scan)
    assert verify(path) == []
    assert compare(path, open_source(scan)) == []


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared scans are not here")
@pytest.mark.parametrize("name", [scan.name for scan in scans(SHARED)])
def test_real_scans(tmp_path, name):
    scan, path = SHARED / name, tmp_path / "a.ozx"
    convert(open_source(scan), path)
    require_same(path, scan)
    patch = Selection.whole(open_archive(path).shape)[10:42:3, 30:9:-1, 5:30]
    expected = whole(path)[:, 10:42:3, 30:9:-1, 5:30]
    assert np.array_equal(open_archive(path).read(patch), expected)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared scans are not here")
def test_a_folder_of_scans_on_the_command_line(tmp_path):
    require_converted(SHARED, scans(SHARED), tmp_path / "out")


def test_the_folder_of_nibabel_on_the_command_line(tmp_path):
    folder = tmp_path / "scans"
    folder.mkdir()
    for scan in [*scans(BUNDLED), *(BUNDLED / name for name in NO_IMAGES)]:
        if scan.exists():
            (folder / scan.name).write_bytes(scan.read_bytes())
    refused = (folder / "row_major.dconn.nii").exists()
    copies = [folder / scan.name for scan in scans(BUNDLED)]
    require_converted(folder, copies, tmp_path / "out", "--zip", code=3 if refused else 0)


def require_converted(folder: Path, images: list[Path], out: Path, *options: str, code: int = 0):
    """Every image of a folder is in the cohort that the command line makes of it."""
    result = CliRunner().invoke(main, ["convert", str(folder), str(out), *options])
    assert result.exit_code == code, result.output
    table = Cohort(out).table
    made = table[table["status"] == "done"].set_index("source")["archive"]
    assert set(made.index) == {scan.name for scan in images}
    for scan in images:
        require_same(out / made[scan.name], scan)
