"""Copies of cohorts in buckets, compared with what they were made of."""

from __future__ import annotations

import nibabel as nib
import numpy as np

import voxarray as vx
from remote_samples import AFFINE


def test_copies_from_and_into_a_bucket_are_compared(bucket, tmp_path):
    for number in range(2):
        (tmp_path / f"in/{number}").mkdir(parents=True)
        scan = np.random.default_rng(number).integers(0, 90, (9, 8, 7)).astype("i2")
        mask = (scan > 40).astype("u1")
        nib.save(nib.Nifti1Image(scan, AFFINE), tmp_path / f"in/{number}/t1.nii")
        nib.save(nib.Nifti1Image(mask, AFFINE), tmp_path / f"in/{number}/seg.nii")
    there = f"{bucket.url}/cohort"
    vx.convert_cohort(
        tmp_path / "in",
        there,
        image_patterns={"t1": "{subject}/t1.nii"},
        label_patterns={"seg": "{subject}/seg.nii"},
    )
    vx.Cohort(there).save(tmp_path / "copy")
    assert vx.verify(tmp_path / "copy", source=there) == []
    vx.Cohort(tmp_path / "copy").save(f"{bucket.url}/again")
    assert vx.verify(f"{bucket.url}/again", source=tmp_path / "copy") == []
    assert all(vx.Cohort(there).table["labels"].map(list) == [["seg"]] * 2)
