"""Label maps on another grid than their images: that they stand alone is said when they do."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest
from cohort_samples import AFFINE, run, save

import voxarray as vx

WORDS = ("--image-pattern", "t1=*_t1.nii.gz", "--label-pattern", "seg=*_seg.nii.gz")


@pytest.fixture
def scans(tmp_path):
    """Three scans with a label map each; those of b and c are a little aside."""
    for name, aside in (("a", 0), ("b", 0.01), ("c", 5)):
        save(tmp_path / f"in/{name}_t1.nii.gz")
        affine = AFFINE.copy()
        affine[0, 3] += aside
        voxels = np.ones((12, 10, 8), "uint8")
        nib.save(nib.Nifti1Image(voxels, affine), tmp_path / f"in/{name}_seg.nii.gz")
    return tmp_path / "in"


def test_convert_says_so_once(scans, tmp_path):
    told = "2 label maps have archives of their own"
    for arguments in (("plan", "--dry-run"), ("convert",), ("convert",)):
        result = run(*arguments, scans, tmp_path / "out", *WORDS)
        assert result.output.count(told) == 1, result.output
    document = json.loads(run("convert", scans, tmp_path / "out", *WORDS, "--json").stdout)
    assert document["labels_apart"] == 2
    made = vx.convert_cohort(
        scans,
        tmp_path / "again",
        image_patterns={"t1": "*_t1.nii.gz"},
        label_patterns={"seg": "*_seg.nii.gz"},
        progress=False,
    )
    assert made.labels_apart == 2
    assert "label maps in archives of their own: 2" in repr(made)


@pytest.mark.parametrize("words", [(), ("--label",)])
def test_nothing_is_said_of_others(scans, tmp_path, words):
    for name in "bc":
        (scans / f"{name}_seg.nii.gz").unlink()
    patterns = () if words else WORDS
    result = run("convert", scans, tmp_path / "out", *patterns, *words)
    assert "of their own" not in result.output
