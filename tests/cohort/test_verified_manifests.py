"""Cohorts of manifests, compared with these: the columns are those of which they were made."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest
from cohort_samples import AFFINE, array, run, save

import voxarray as vx

COLUMNS = {
    "image_columns": ["t1", "flair"],
    "label_columns": ["lesion"],
    "subject_column": "participant_id",
}


@pytest.fixture
def raw(tmp_path):
    """Three subjects; the lesion of the last one is on a grid of its own, and it has no FLAIR."""
    rows = ["participant_id,t1,flair,lesion,age"]
    for number in range(3):
        folder = f"p{number}"
        save(tmp_path / f"raw/{folder}/t1.nii.gz", number)
        flair = f"{folder}/flair.nrrd" if number < 2 else ""
        save(tmp_path / f"raw/{folder}/flair.nrrd", 10 + number)
        shape, affine = ((12, 10, 8), AFFINE) if number < 2 else ((4, 3, 2), AFFINE * 3)
        mask = (array(20 + number, shape) > 100).astype(np.uint8)
        nib.save(nib.Nifti1Image(mask, affine), tmp_path / f"raw/{folder}/lesion.nii.gz")
        rows.append(f"S{number},{folder}/t1.nii.gz,{flair},{folder}/lesion.nii.gz,{40 + number}")
    (tmp_path / "raw/table.csv").write_text("\n".join(rows) + "\n")
    return tmp_path / "raw"


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
@pytest.mark.parametrize("zipped", [False, True])
def test_a_cohort_is_compared_with_its_manifest(raw, tmp_path, zipped, suffix):
    table = raw / f"table{suffix}"
    table.write_text(
        (raw / "table.csv").read_text().replace(",", "\t" if suffix == ".tsv" else ",")
    )
    vx.convert_cohort(table, tmp_path / "cohort", zip=zipped, **COLUMNS)
    assert vx.verify(tmp_path / "cohort", source=table) == []
    told = run("verify", tmp_path / "cohort", "--source", table, "--json")
    assert told.exit_code == 0, told.output
    assert json.loads(told.stdout)["checked"] == 6
    save(raw / "p0/t1.nii.gz", 99)
    (problem,) = vx.verify(tmp_path / "cohort", source=table)
    assert problem.code == "SOURCE_CHANGED"


def test_verify_takes_manifests_and_folders_and_refuses_other_sources(raw, tmp_path):
    save(tmp_path / "more/a.nii", 5)
    sources = [raw / "table.csv", tmp_path / "more"]
    vx.convert_cohort(sources, tmp_path / "cohort", **COLUMNS)
    assert vx.verify(tmp_path / "cohort", source=sources) == []
    (tmp_path / "other.csv").write_text("participant_id,t1\nS0,more/a.nii\n")
    problems = vx.verify(tmp_path / "cohort", source=tmp_path / "other.csv")
    assert {problem.code for problem in problems} == {"OTHER_SOURCE"}


def test_verify_finds_the_default_columns_of_manifests(raw, tmp_path):
    (raw / "plain.csv").write_text("subject,image,mask\nA,p0/t1.nii.gz,p0/lesion.nii.gz\n")
    (raw / "second.csv").write_text("id,path\nB,p1/t1.nii.gz\n")
    sources = [raw / "plain.csv", raw / "second.csv"]
    vx.convert_cohort(sources, tmp_path / "cohort")
    assert vx.verify(tmp_path / "cohort", source=sources) == []
