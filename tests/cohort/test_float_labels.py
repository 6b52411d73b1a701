"""Label maps of floats are stored as they are, which OME-Zarr does not foresee: it is said once."""

from __future__ import annotations

import re
import warnings

import nibabel as nib
import numpy as np
import pytest
from cohort_samples import AFFINE, run, save

import voxarray as vx

WORDS = ("--image-pattern", "t1=*_t1.nii.gz", "--label-pattern", "seg=*_seg.nii.gz")


def scans_with(folder, dtype):
    for name in ("a", "b", "c"):
        save(folder / f"{name}_t1.nii.gz")
        voxels = np.arange(12 * 10 * 8).reshape(12, 10, 8) % 3
        nib.save(nib.Nifti1Image(voxels.astype(dtype), AFFINE), folder / f"{name}_seg.nii.gz")


@pytest.mark.parametrize("workers", [0, 2])
def test_a_cohort_says_so_once(tmp_path, workers):
    scans_with(tmp_path / "in", "float32")
    done = run("convert", tmp_path / "in", tmp_path / "out", *WORDS, "--workers", workers)
    assert done.exit_code == 0
    assert done.stderr.count("FLOAT_LABELS") == 1
    assert "the label map 'seg' of a_seg.nii.gz is stored as float32" in done.stderr
    assert "and the same holds for 2 more: OME-Zarr requires integers" in done.stderr
    label_map = vx.Cohort(tmp_path / "out")[0]["seg"]
    assert label_map.dtype == np.float32
    assert set(label_map.count_labels()) == {0, 1, 2}


def test_nothing_is_said_of_integers(tmp_path):
    scans_with(tmp_path / "in", "uint8")
    assert "FLOAT_LABELS" not in run("convert", tmp_path / "in", tmp_path / "out", *WORDS).stderr


@pytest.mark.filterwarnings("error:FLOAT_LABELS.*halves")
def test_whoever_adds_one_is_told_what_helps(tmp_path):
    vx.ScalarImage(tensor=np.ones((1, 6, 5, 4), "int16")).save(tmp_path / "a.ome.zarr")
    label_map = vx.LabelMap(tensor=np.ones((1, 6, 5, 4), "float32"))
    archive = vx.Archive(tmp_path / "a.ome.zarr")
    with pytest.warns(vx.VoxarrayWarning, match="FLOAT_LABELS: the label map 'seg' is") as told:
        archive.add_labels("seg", label_map)
    assert [one.filename for one in told] == [__file__]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        archive.add_labels("whole", vx.Lambda(lambda v: v.astype("uint8"))(label_map))
    assert archive.labels["whole"].dtype == np.uint8
    halves = vx.LabelMap(tensor=np.full((1, 6, 5, 4), 0.5, "float32"))
    with pytest.raises(vx.FormatError, match="FRACTIONAL_LABELS"):  # and no warning before it
        archive.add_labels("halves", halves)


def test_what_is_advised_keeps_each_label(tmp_path):
    """Labels of parcellations exceed 255, and a cast to bytes would wrap them silently."""
    labels = np.array([0, 300, 2035, 14175], "float32").reshape(1, 4, 1, 1)
    vx.ScalarImage(tensor=np.ones((1, 4, 1, 1), "int16")).save(tmp_path / "a.ome.zarr")
    archive, label_map = vx.Archive(tmp_path / "a.ome.zarr"), vx.LabelMap(tensor=labels)
    with pytest.warns(vx.VoxarrayWarning, match="holds the largest label") as told:
        archive.add_labels("seg", label_map)
    (advised,) = re.findall(r"astype\('(\w+)'\)", str(told[0].message))
    archive.add_labels("whole", vx.Lambda(lambda v: v.astype(advised))(label_map))
    assert set(archive.labels["whole"].count_labels()) == {0, 300, 2035, 14175}
