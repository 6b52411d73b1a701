"""Archives whose sources are gone, or that do not count as they are: what a run says of them."""

from __future__ import annotations

import json
import os
import shutil

import pytest
from cohort_samples import archives, run, save

import voxarray as vx
from voxarray.cohort.catalogue.finalise import finalise
from voxarray.cohort.run.build import build


@pytest.fixture
def cohort(tmp_path):
    for number in range(3):
        save(tmp_path / f"in/{number}.nii", number)
    build(tmp_path / "in", tmp_path / "out")
    return tmp_path / "out"


def test_a_scan_that_was_renamed_is_there_twice_and_named(cohort, tmp_path):
    old = archives(cohort)[0].name
    assert finalise(cohort).unplanned == ()
    os.rename(tmp_path / "in/0.nii", tmp_path / "in/renamed.nii")
    result = run("convert", tmp_path / "in", cohort)
    assert result.exit_code == 0
    assert (
        "note: 1 archive is still in the catalogue, though its source was removed" in result.stdout
    )
    assert f"subjects/{old}" in result.stdout
    assert f"subjects/{old}" in (cohort / "report.txt").read_text()
    assert f"subjects/{old}" in run("finalise", cohort).stdout
    told = json.loads(run("convert", "--json", tmp_path / "in", cohort).stdout)
    assert told["unplanned"] == [old]
    shutil.rmtree(cohort / "subjects" / old)
    assert finalise(cohort).unplanned == ()
    assert len(vx.Cohort(cohort)) == 3
    assert vx.verify(cohort) == []


def test_of_many_some_are_named_and_all_counted(cohort, tmp_path):
    for number in range(3):
        os.remove(tmp_path / f"in/{number}.nii")
    for number in range(7):
        save(tmp_path / f"in/a{number}.nii", number)
    build(tmp_path / "in", cohort)
    for number in range(7):
        os.remove(tmp_path / f"in/a{number}.nii")
    save(tmp_path / "in/b.nii")
    made = build(tmp_path / "in", cohort)
    assert len(made.summary.unplanned) == 10
    assert "10 archives are still in the catalogue, though their sources were removed" in str(
        made.summary
    )
    assert "and 5 more." in str(made.summary)


def test_a_pipeline_that_adds_subjects_leaves_none_over(cohort, tmp_path):
    whole = vx.Cohort(cohort)
    for name in whole.names:
        whole.query(f"subject == '{name}'").map(vx.Flip(0)).save(tmp_path / "new")
    assert finalise(tmp_path / "new").unplanned == ()


def test_an_archive_that_does_not_count_is_not_called_absent(cohort, tmp_path):
    run("plan", tmp_path / "in", cohort, "--codec", "fast")
    assert "was made of other bytes or with other options" in str(finalise(cohort))
    build(tmp_path / "in", tmp_path / "other")
    (archives(tmp_path / "other")[1] / "manifest.json").unlink()
    (missing,) = finalise(tmp_path / "other").missing
    assert "not whole or may not be read" in missing.message
    shutil.rmtree(archives(tmp_path / "other")[1])
    (missing,) = finalise(tmp_path / "other").missing
    assert missing.message == "not converted yet"
