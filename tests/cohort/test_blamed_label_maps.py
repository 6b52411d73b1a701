"""A label map that cannot be archived is named, and not the scan whose archive it belongs to."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from cohort_samples import AFFINE, run, save

import voxarray as vx

PATTERNS = {"image_patterns": {"t1": "*_t1.nii.gz"}, "label_patterns": {"seg": "*_seg.nii.gz"}}


@pytest.fixture
def scans(tmp_path):
    for name in ("a", "b"):
        save(tmp_path / f"in/{name}_t1.nii.gz")
        voxels = np.ones((12, 10, 8), "float32")
        nib.save(nib.Nifti1Image(voxels, AFFINE), tmp_path / f"in/{name}_seg.nii.gz")
    return tmp_path / "in"


def told_of(scans, cohort):
    made = vx.convert_cohort(scans, cohort, progress=False, **PATTERNS)
    (failure,) = made.failures
    assert failure.file == "a_seg.nii.gz"
    assert "a_seg.nii.gz" in (cohort / "report.txt").read_text()
    (told,) = [line for line in run("verify", cohort).stderr.splitlines() if "MISSING" in line]
    assert "MISSING: a_seg.nii.gz: " in told
    assert "a_t1" not in told
    return told


def test_a_damaged_label_map_is_named(scans, tmp_path):
    file = scans / "a_seg.nii.gz"
    file.write_bytes(file.read_bytes()[:-30])
    assert "TRUNCATED" in told_of(scans, tmp_path / "out")


def test_a_label_map_of_fractions_is_named(scans, tmp_path):
    voxels = np.full((12, 10, 8), 0.5, "float32")
    nib.save(nib.Nifti1Image(voxels, AFFINE), scans / "a_seg.nii.gz")
    told = told_of(scans, tmp_path / "out")
    assert "FRACTIONAL_LABELS" in told
    assert "--image-pattern" in told


def test_what_is_missing_of_a_preprocessed_cohort_is_preprocessed_again(scans, tmp_path):
    vx.convert_cohort(scans, tmp_path / "out", progress=False, **PATTERNS)
    vx.Cohort(tmp_path / "out").map(vx.Clamp(0, 100)).save(tmp_path / "ready", progress=False)
    for cohort, command in (("out", "convert again"), ("ready", "voxarray preprocess")):
        archive = min((tmp_path / cohort / "subjects").iterdir())
        archive.rename(tmp_path / f"{cohort}.ome.zarr")
        (told,) = [
            line
            for line in run("verify", tmp_path / cohort).stderr.splitlines()
            if "MISSING" in line
        ]
        assert command in told
        assert ("convert again" in told) == (cohort == "out")
