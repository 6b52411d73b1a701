"""An archive stays up to date if its source got another time and has the same bytes."""

from __future__ import annotations

import shutil

import pytest
import SimpleITK as sitk
from cohort_samples import (
    PATTERNS,
    again,
    alter,
    archives,
    array,
    converted_by_a_worker,
    label,
    run,
    save,
    touch,
    tree,
)

import voxarray as vx
from voxarray.cohort.folder import CohortLayout
from voxarray.cohort.plan.opened_inputs import FileOpener
from voxarray.cohort.plan.plan import Plan
from voxarray.cohort.run import task, touched
from voxarray.cohort.run.build import build
from voxarray.cohort.run.touched import renewed
from voxarray.core.errors import SourceChangedError
from voxarray.formats._voxels.file_stream import FileStream


@pytest.fixture
def made(tmp_path):
    """A subject with a label map of its source, to whose archive a prediction was added."""
    save(tmp_path / "in/0/t1.nii", 0)
    label(tmp_path / "in/0/seg.nii")
    assert again(tmp_path).exit_code == 0
    archive = vx.Archive(archives(tmp_path / "out")[0])
    archive.add_labels("brain", label(tmp_path / "predicted.nii", 7))
    return archive


def forbid(*_, **__):
    raise AssertionError("a voxel was to be decoded, or a file read")


def touch_both(file):
    touch(file)
    touch(file.with_name("seg.nii"))


def copy_without_times(file):
    shutil.copy(file, file.with_name("copy"))
    file.unlink()
    file.with_name("copy").rename(file)
    touch(file)


@pytest.mark.parametrize("change", [touch, touch_both, copy_without_times])
def test_it_stays_and_is_listed(made, tmp_path, change, monkeypatch):
    files = tree(tmp_path / "out/subjects")
    change(tmp_path / "in/0/t1.nii")
    with monkeypatch.context() as patch:
        patch.setattr(task, "convert", forbid)
        patch.setattr(FileStream, "read_into", forbid)
        result = again(tmp_path)
    assert (result.exit_code, "0 converted, 1 up to date, 0 failed" in result.stdout) == (0, True)
    after = tree(tmp_path / "out/subjects")
    assert {name for name in after if after[name] != files.get(name)} == {
        f"{archives(tmp_path / 'out')[0].name}/{name}"
        for name in ("manifest.json", "generations/1.json")
    }
    [row] = vx.Cohort(tmp_path / "out").table.to_dict("records")
    assert (row["status"], list(row["labels"])) == ("done", ["brain", "seg"])
    assert run("verify", tmp_path / "out").exit_code == 0
    # Found out once: later runs compare names, sizes and times, as they do for other archives.
    monkeypatch.setattr(touched, "FileDigest", forbid)
    result = again(tmp_path)
    assert (result.exit_code, "1 up to date" in result.stdout) == (0, True)
    assert "CONTENT_ADDED" not in run("plan", tmp_path / "in", tmp_path / "out", *PATTERNS).stderr


def test_workers_find_it_out_too(made, tmp_path):
    touch(tmp_path / "in/0/t1.nii")
    done = converted_by_a_worker(tmp_path)
    assert (done.present, done.failures) == (1, ())


def test_cohorts_that_were_made_of_it_stay_up_to_date(made, tmp_path):
    vx.Cohort(tmp_path / "out").map(vx.Flip(0)).save(tmp_path / "flipped")
    vx.Archive(archives(tmp_path / "flipped")[0]).add_notes(quality="good")
    touch(tmp_path / "in/0/t1.nii")
    assert again(tmp_path).exit_code == 0
    before = tree(tmp_path / "flipped/subjects")
    vx.Cohort(tmp_path / "out").map(vx.Flip(0)).save(tmp_path / "flipped")
    assert tree(tmp_path / "flipped/subjects") == before


@pytest.mark.parametrize("name", ["t1.nii", "seg.nii"])
def test_other_bytes_of_the_same_size_are_another_source(made, tmp_path, name):
    touch(tmp_path / "in/0/t1.nii")
    alter(tmp_path / f"in/0/{name}")
    result = again(tmp_path)
    assert (result.exit_code, "CONTENT_ADDED" in result.stderr) == (1, True)
    assert vx.Archive(made.path).labels.keys() == {"brain", "seg"}


def test_the_name_of_a_label_map_is_no_time(made, tmp_path):
    touch(tmp_path / "in/0/t1.nii")
    result = run("convert", tmp_path / "in", tmp_path / "out", *PATTERNS[:3], "x={subject}/seg.nii")
    assert (result.exit_code, "CONTENT_ADDED" in result.stderr) == (1, True)


def test_a_kept_column_is_no_time(tmp_path):
    save(tmp_path / "in/sub-1_T1w.nii", 0)
    table = tmp_path / "in/participants.tsv"
    table.write_text("participant_id\tage\nsub-1_T1w\t30\n")
    keep = ("convert", tmp_path / "in", tmp_path / "out", "--keep-metadata", "age")
    assert run(*keep).exit_code == 0
    vx.Archive(archives(tmp_path / "out")[0]).add_notes(quality="good")
    touch(tmp_path / "in/sub-1_T1w.nii")
    result = run(*keep)
    assert (result.exit_code, "1 up to date" in result.stdout) == (0, True)
    touch(tmp_path / "in/sub-1_T1w.nii")
    table.write_text("participant_id\tage\nsub-1_T1w\t31\n")
    result = run(*keep)
    assert (result.exit_code, "CONTENT_ADDED" in result.stderr) == (1, True)


def test_an_image_of_two_files_is_not_known_again(tmp_path):
    """The archive holds the sha256 of the voxels' file alone, and the header may have changed."""
    (tmp_path / "in").mkdir()
    sitk.WriteImage(sitk.GetImageFromArray(array(1)), str(tmp_path / "in/a.nhdr"))
    build(tmp_path / "in", tmp_path / "out")
    assert Plan.read(str(tmp_path / "out/plan.json")).items[0].failure is None
    vx.Archive(archives(tmp_path / "out")[0]).add_notes(quality="good")
    touch(tmp_path / "in/a.nhdr")
    done = build(tmp_path / "in", tmp_path / "out")
    assert [failure.code for failure in done.failures] == ["CONTENT_ADDED"]


@pytest.fixture
def planned(made, tmp_path):
    """The archive, the item of its touched source, and the opener."""

    def of(options):
        touch(tmp_path / "in/0/t1.nii")
        assert run("plan", tmp_path / "in", tmp_path / "other", *PATTERNS, *options).exit_code == 0
        [item] = Plan.read(CohortLayout.of(tmp_path / "other").plan).items
        names = {one.source: str(tmp_path / "in" / one.source) for one in item.inputs}
        return str(made.path), item, FileOpener(names)

    return of


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--codec", "labels"),
        ("--levels", "1"),
        ("--chunk", "16"),
        ("--keep-metadata", "descrip"),
    ],
)
def test_other_options_make_another_archive(planned, options):
    assert renewed(*planned(options)) == (options == ())


def test_a_source_that_changes_after_it_was_planned(planned, tmp_path):
    archive, item, opener = planned(())
    touch(tmp_path / "in/0/t1.nii")
    with pytest.raises(SourceChangedError):
        renewed(archive, item, opener)


def test_what_older_releases_made_is_not_known_again(planned, monkeypatch):
    """They did not write what a source must be compared with."""
    archive, item, opener = planned(())
    manifest = touched.manifest_at(archive)
    source = {**manifest.source, "cohort": dict(manifest.source["cohort"])}
    del source["cohort"]["unstamped"]
    monkeypatch.setattr(touched, "manifest_at", lambda _: manifest.successor({}, None, source))
    assert not renewed(archive, item, opener)
