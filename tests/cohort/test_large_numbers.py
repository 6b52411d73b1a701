"""Numbers that no float holds do not stop a catalogue from being written."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from cohort_samples import AFFINE, archives, run, save

import voxarray as vx
from voxarray.cohort.catalogue.entry import _is_end


@pytest.mark.parametrize(
    ("dtype", "value"),
    [(np.uint64, 2**64 - 1), (np.int64, -(2**63)), (np.int64, 2**60 + 1), (np.int64, 2**53 + 1)],
)
def test_voxels(tmp_path, dtype, value):
    voxels = np.zeros((4, 4, 4), dtype)
    voxels[0] = value
    (tmp_path / "in").mkdir()
    nib.save(nib.Nifti1Image(voxels, AFFINE, dtype=dtype), tmp_path / "in/a.nii")
    save(tmp_path / "in/b.nii")
    result = run("convert", tmp_path / "in", tmp_path / "out")
    assert (result.exit_code, "2 converted" in result.stdout) == (0, True)
    table = vx.Cohort(tmp_path / "out").table
    assert float(value) in (table.minimum[0], table.maximum[0])
    assert run("verify", tmp_path / "out").exit_code == 0
    assert "2 of 2" in run("finalise", tmp_path / "out").stdout
    archive = vx.Archive(archives(tmp_path / "out")[0])
    archive.add_labels("seg", vx.LabelMap(tensor=np.ones((1, 4, 4, 4), np.uint8), affine=AFFINE))
    assert [list(one) for one in vx.Cohort(tmp_path / "out").table.labels] == [["seg"], []]


def test_identifiers(tmp_path):
    for name in "ab":
        save(tmp_path / f"{name}.nii")
    rows = {"image": ["a.nii", "b.nii"], "short": [1, 2], "long": [2**53 + 1, 2**53 + 2]}
    pd.DataFrame(rows).to_parquet(tmp_path / "list.parquet")
    vx.convert_cohort(tmp_path / "list.parquet", tmp_path / "out", keep_metadata=["short", "long"])
    table = vx.Cohort(tmp_path / "out").table
    assert table.long.tolist() == ["9007199254740993", "9007199254740994"]
    assert table.short.tolist() == [1.0, 2.0]


def test_an_end_that_no_archive_can_have():
    assert [_is_end(value) for value in (None, 2**64, -1.5)] == [True] * 3
    assert [_is_end(value) for value in (10**400, float("nan"), True, "1")] == [False] * 4


@pytest.mark.parametrize("size", ["-5", "0", "-1 GiB", "nan GiB", "much"])
def test_budgets_that_are_none(tmp_path, size):
    save(tmp_path / "a.nii")
    result = run("convert", tmp_path / "a.nii", tmp_path / "a.ome.zarr", "--memory", size)
    assert (result.exit_code, f"{size!r} is not a size" in result.stderr) == (2, True)
