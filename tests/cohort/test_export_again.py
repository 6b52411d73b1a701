"""An export that is run again: in every format, also in those that change voxels."""

from __future__ import annotations

import os
import warnings

import dask.config
import nibabel as nib
import numpy as np
import pytest

import voxarray as vx
from voxarray.formats.registry import writable_format, written_suffixes

FILES = [
    suffix for suffix in written_suffixes() if writable_format(f"a{suffix}").identity != "zarr"
]
OTHER_NAMES = (".hdf5", ".jpeg", ".mgh", ".tiff")
"""Suffixes of a format that another suffix names, of formats that are slow to write."""

AFFINE = np.diag([-1.5, -1, 2, 1])  # VTK and GIPL hold no other directions
RANDOM = np.random.default_rng(0)
VOXELS = {
    "integers": RANDOM.integers(-200, 200, (9, 8, 7)).astype(np.int16),
    "fractions": RANDOM.normal(size=(9, 8, 7)),
    "grey slice": RANDOM.integers(0, 200, (9, 8, 1)).astype(np.uint8),
    "slice of fractions": RANDOM.uniform(0, 200, (9, 8, 1)),
    "all of a type": np.arange(256, dtype=np.uint8).reshape(8, 8, 4),
    "deep slice": RANDOM.integers(0, 60_000, (9, 8, 1)).astype(np.uint16),
}


@pytest.fixture(scope="module")
def cohorts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cohorts")
    found = {}
    for name, voxels in VOXELS.items():
        (folder / name).mkdir()
        nib.save(nib.Nifti1Image(voxels, AFFINE), folder / name / "a.nii")
        vx.convert_cohort(folder / name, folder / f"{name} out", progress=False)
        found[name] = vx.Cohort(folder / f"{name} out")
    return found


@pytest.mark.filterwarnings("ignore::voxarray.VoxarrayWarning")
@pytest.mark.parametrize(
    "suffix",
    [pytest.param(one, marks=pytest.mark.slow if one in OTHER_NAMES else ()) for one in FILES],
)
def test_what_was_written_is_up_to_date(cohorts, tmp_path, suffix):
    written = 0
    for name, cohort in cohorts.items():
        try:
            cohort.save(tmp_path / name, suffix=suffix, progress=False)
        except vx.VoxarrayError:  # a format that cannot hold it
            continue
        written += 1
        again = cohort.save(tmp_path / name, suffix=suffix, progress=False)
        assert (again.converted, again.present) == (0, 1), name
    assert written


@pytest.mark.parametrize(
    ("suffix", "name", "remark"),
    [
        (".jpg", "grey slice", "LOSSY"),
        (".bmp", "grey slice", "GREY_AS_COLOURS"),
        (".png", "slice of fractions", "CAST_TO_UINT8"),
    ],
)
def test_a_format_that_changes_voxels_is_compared_with_what_it_makes(
    cohorts, tmp_path, suffix, name, remark
):
    cohort, file = cohorts[name], tmp_path / f"n/a/image{suffix}"
    with (
        dask.config.set({"voxarray.download-directory": str(tmp_path / "spool")}),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("always")
        with pytest.warns(vx.VoxarrayWarning, match=remark), pytest.warns(match="GEOMETRY_LOST"):
            cohort.save(tmp_path / "n", suffix=suffix, progress=False)
        before = file.read_bytes()
        warnings.simplefilter("error")  # of a file that is not written nothing is remarked
        assert cohort.save(tmp_path / "n", suffix=suffix, progress=False).present == 1
        assert file.read_bytes() == before
        assert os.listdir(tmp_path / "spool") == []
        warnings.simplefilter("ignore")
        other = vx.ScalarImage(tensor=np.full((3, 9, 8, 1), 77, np.uint8))
        other.save(file, overwrite=True)
        theirs = file.read_bytes()
        with pytest.raises(vx.VoxarrayError, match=r"EXISTS: .* exists already, and .* new file"):
            cohort.save(tmp_path / "n", suffix=suffix, progress=False)
        assert file.read_bytes() == theirs
        cohort.save(tmp_path / "n", suffix=suffix, overwrite=True, progress=False)
        assert file.read_bytes() == before
