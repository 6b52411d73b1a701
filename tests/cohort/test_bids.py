"""BIDS datasets as sources: which files are images and labels, their entities, and what is made."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest
from cohort_samples import AFFINE, array, save

import voxarray as vx
from voxarray.cohort.discover import bids
from voxarray.cohort.options import ArchiveOptions
from voxarray.cohort.run.build import build


def dataset(root):
    save(root / "sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz", 1)
    save(root / "sub-01/ses-1/anat/sub-01_ses-1_run-2_T1w.nii.gz", 2)
    save(root / "sub-02/pet/sub-02_pet.nii.gz", 3)
    save(root / "sub-02/anat/sub-02_desc-bad_T1w.nii.gz", 4)
    save(root / "sourcedata/sub-03/anat/sub-03_T1w.nii.gz", 5)
    save(root / "derivatives/x/sub-02/pet/sub-02_desc-smooth_pet.nii.gz", 6)
    mask = (array(1) > 100).astype(np.uint8)
    path = root / "derivatives/x/sub-01/ses-1/anat/sub-01_ses-1_run-2_dseg.nii.gz"
    path.parent.mkdir(parents=True)
    nib.save(nib.Nifti1Image(mask, AFFINE), path)
    (root / "dataset_description.json").write_text(json.dumps({"Name": "x", "BIDSVersion": "1.9"}))
    (root / ".bidsignore").write_text("# not these\n*desc-bad*\n")
    (root / "participants.tsv").write_text("participant_id\tage\tname\nsub-01\t33\tCANARY\n")


def test_bids(tmp_path):
    dataset(tmp_path / "in")
    options = ArchiveOptions(keep_metadata=("age",))
    made = build(tmp_path / "in", tmp_path / "out", options=options)
    assert (made.converted, made.failed) == (3, 0)
    cohort = vx.Cohort(tmp_path / "out")
    assert cohort.names == ["sub-01/ses-1", "sub-02"]
    assert set(cohort["sub-01/ses-1"].get_images_names()) == {"T1w", "run-2_T1w", "run-2_dseg"}
    labelled = cohort.table[cohort.table.image == "run-2_T1w"].iloc[0]
    assert list(labelled.labels) == ["run-2_dseg"]
    assert (labelled.run, labelled.suffix, labelled.modality, labelled.age) == (
        *("2", "T1w", "MR", "33"),
    )
    assert len(cohort.query("modality == 'PT'")) == 1
    assert "CANARY" not in cohort.table.to_csv()


def test_output_inside_a_dataset_says_that_it_is_a_derivative(tmp_path):
    dataset(tmp_path)
    build(tmp_path, tmp_path / "derivatives/voxarray")
    written = json.loads((tmp_path / "derivatives/voxarray/dataset_description.json").read_bytes())
    assert written["DatasetType"] == "derivative"
    made = build(tmp_path, tmp_path / "derivatives/voxarray")
    assert made.converted == 0


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("sub-1/anat/sub-1_T1w.nii.gz", {"sub": "1", "suffix": "T1w", "modality": "MR"}),
        ("sub-1_task-rest_run-01_bold.nii", {"task": "rest", "run": "01", "suffix": "bold"}),
        ("scan.nii", {}),
    ],
)
def test_entities(path, expected):
    found = bids.entities(path)
    assert {key: found.get(key) for key in expected} == expected
    assert bool(found) == bool(expected)
