"""Archives whose sources are gone, or that do not count as they are: what a run says of them."""

from __future__ import annotations

import json
import os
import shutil

import numpy as np
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


def test_of_many_some_are_named_and_the_report_names_all(cohort, tmp_path):
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
    assert "and 5 more, which report.txt names." in str(made.summary)
    report = (cohort / "report.txt").read_text()
    assert "more" not in report
    assert [name for name in made.summary.unplanned if f"subjects/{name}" not in report] == []
    assert "and 5 more, which report.txt names." in run("convert", tmp_path / "in", cohort).stdout


def test_a_pipeline_that_adds_subjects_leaves_none_over(cohort, tmp_path):
    whole = vx.Cohort(cohort)
    for name in whole.names:
        whole.query(f"subject == '{name}'").map(vx.Flip(0)).save(tmp_path / "new")
    assert finalise(tmp_path / "new").unplanned == ()


def test_an_archive_that_does_not_count_is_not_called_absent(cohort, tmp_path):
    run("plan", tmp_path / "in", cohort, "--codec", "fast")
    assert "was made from other source data or with other options" in str(finalise(cohort))
    build(tmp_path / "in", tmp_path / "other")
    (archives(tmp_path / "other")[1] / "manifest.json").unlink()
    (missing,) = finalise(tmp_path / "other").missing
    assert "incomplete or cannot be read" in missing.message
    shutil.rmtree(archives(tmp_path / "other")[1])
    (missing,) = finalise(tmp_path / "other").missing
    assert missing.message == "not converted yet"


PATTERNS = (
    *("--image-pattern", "t1={subject}/t1.nii", "--image-pattern", "t2={subject}/t2.nii"),
    *("--label-pattern", "seg={subject}/seg.nii"),
)


def _labels(path, spacing, value=1):
    path.parent.mkdir(parents=True, exist_ok=True)
    tensor = np.full((1, 12, 10, 8), value, np.uint8)
    vx.LabelMap(tensor=tensor, affine=np.diag([*spacing, 1])).save(path, overwrite=True)


def _scan(path, spacing):
    path.parent.mkdir(parents=True, exist_ok=True)
    tensor = np.arange(960, dtype=np.int16).reshape(1, 12, 10, 8)
    vx.ScalarImage(tensor=tensor, affine=np.diag([*spacing, 1])).save(path)


@pytest.mark.parametrize("way", ["convert", "python", "parts"])
def test_the_old_archive_of_a_label_map_that_is_stored_elsewhere_is_warned_of(way, tmp_path):
    scans, out = tmp_path / "in", tmp_path / "out"
    _scan(scans / "a/t1.nii", (2, 1, 1))
    _labels(scans / "a/seg.nii", (1, 1, 1))
    first = run("convert", scans, out, *PATTERNS)
    assert "NAME_COLLISION" not in first.stderr
    old, scan = archives(out)
    _labels(scans / "a/seg.nii", (2, 1, 1), 2)
    if way == "python":
        images = {"t1": "{subject}/t1.nii"}
        labels = {"seg": "{subject}/seg.nii"}
        with pytest.warns(vx.VoxarrayWarning, match="NAME_COLLISION") as caught:
            vx.convert_cohort(scans, out, image_patterns=images, label_patterns=labels)
        (told,) = [str(one.message) for one in caught if "NAME_COLLISION" in str(one.message)]
    elif way == "convert":
        done = run("convert", scans, out, *PATTERNS)
        told = done.stderr
        assert done.exit_code == 3
    else:
        run("plan", scans, out, *PATTERNS)
        run("convert", scans, out, *PATTERNS, "--partition", "1/1")
        done = run("finalise", out)
        told = done.stderr
        assert done.exit_code == 3
    assert f"NAME_COLLISION: {out}: the subject 'a' has 'seg' twice" in told
    assert f"An earlier run made subjects/{old.name}, and" in told
    assert f"as subjects/{scan.name}/labels/seg" in told
    assert "delete this archive and run voxarray finalise" in told
    assert "remove-labels" not in told
    shutil.rmtree(old)
    done = run("finalise", out)
    assert "NAME_COLLISION" not in done.stderr
    assert done.exit_code == 0
    assert vx.verify(out) == []
    assert bool((vx.Cohort(out)["a"]["seg"].data == 2).all())


def test_a_label_map_is_removed_from_the_archive_of_a_scan_that_is_gone(tmp_path):
    scans, out = tmp_path / "in", tmp_path / "out"
    for name in ("t1", "t2"):
        _scan(scans / f"a/{name}.nii", (1, 1, 1))
    _labels(scans / "a/seg.nii", (1, 1, 1))
    run("convert", scans, out, *PATTERNS)
    os.remove(scans / "a/t1.nii")
    told = run("convert", scans, out, *PATTERNS).stderr
    old, _ = archives(out)
    assert f"An earlier run made subjects/{old.name}, and" in told
    assert "remove 'seg' from it (voxarray remove-labels), or delete this archive" in told
    run("remove-labels", old, "seg")
    assert "NAME_COLLISION" not in run("convert", scans, out, *PATTERNS).stderr
    assert vx.verify(out) == []
    assert {"t1", "t2", "seg"} <= vx.Cohort(out)["a"].keys()
