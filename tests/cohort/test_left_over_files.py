"""An export says which files in its folders it did not write, and did not find up to date."""

from __future__ import annotations

import warnings

import nibabel as nib
import numpy as np
import pytest
from cohort_samples import AFFINE, archives, run, save

import voxarray as vx

PATTERNS = ("--image-pattern", "t1={subject}/t1.nii", "--label-pattern", "seg={subject}/seg.nii")


@pytest.fixture
def cohort(tmp_path):
    for number in range(2):
        save(tmp_path / f"in/{number}/t1.nii", number)
        marks = np.ones((12, 10, 8), np.uint8)
        nib.save(nib.Nifti1Image(marks, AFFINE), tmp_path / f"in/{number}/seg.nii")
    run("convert", tmp_path / "in", tmp_path / "out", *PATTERNS)
    run("convert", tmp_path / "out", tmp_path / "files", "--suffix", ".nii.gz")
    return tmp_path / "out"


def quietly(cohort, to):
    with warnings.catch_warnings():
        warnings.simplefilter("error", vx.VoxarrayWarning)
        return vx.Cohort(cohort).save(to, suffix=".nii.gz")


def test_a_label_map_that_was_removed_is_named(cohort, tmp_path):
    (tmp_path / "files/0/notes.txt").touch()
    quietly(cohort, tmp_path / "files")
    vx.Archive(archives(cohort)[0]).remove_labels("seg")
    result = run("convert", cohort, tmp_path / "files", "--suffix", ".nii.gz")
    assert (result.exit_code, "3 up to date" in result.stdout) == (0, True)
    assert f"LEFT_OVER: {tmp_path / 'files/0/seg.nii.gz'} is of an earlier export" in result.stderr
    assert (tmp_path / "files/0/seg.nii.gz").exists()
    (tmp_path / "files/0/seg.nii.gz").unlink()
    quietly(cohort, tmp_path / "files")


def test_files_of_a_failed_subject_are_not_reported_as_left_over(cohort, tmp_path):
    (archives(cohort)[0] / "manifest.json").unlink()
    with warnings.catch_warnings():
        warnings.simplefilter("error", vx.VoxarrayWarning)
        with pytest.raises(vx.VoxarrayError, match="NO_MANIFEST"):
            vx.Cohort(cohort).save(tmp_path / "files", suffix=".nii.gz")


def test_other_subjects_and_formats_are_not_left_over(cohort, tmp_path):
    quietly(cohort, tmp_path / "files")
    with warnings.catch_warnings():
        warnings.simplefilter("error", vx.VoxarrayWarning)
        chosen = vx.Cohort(cohort).query("subject == '0'")
        chosen.save(tmp_path / "files", suffix=".nii.gz")
        chosen.save(tmp_path / "files", suffix=".nrrd")
