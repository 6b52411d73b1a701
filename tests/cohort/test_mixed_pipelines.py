"""One cohort and two pipelines: refused, kept on purpose, and found by `verify`."""

from __future__ import annotations

import json
import warnings

import pytest
from cohort_samples import archives, run, save, truth

import voxarray as vx
from voxarray.cohort.catalogue import pipelines
from voxarray.cohort.folder import CohortLayout
from voxarray.cohort.options import ArchiveOptions
from voxarray.cohort.run.build import build
from voxarray.cohort.run.progress import ProgressListener
from voxarray.core.errors import FormatError


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> vx.Cohort:
    folder = tmp_path_factory.mktemp("cohort")
    for number in range(3):
        save(folder / f"in/{number}.nii.gz", number)
    build(folder / "in", folder / "out")
    return vx.Cohort(folder / "out")


@pytest.fixture
def cropped(cohort, tmp_path):
    """The subjects 0 and 1, cropped."""
    cohort.query("subject < '2'").map(vx.CropOrPad(6)).save(tmp_path / "new")
    return tmp_path / "new"


def other(cohort):
    return cohort.query("subject == '2'").map(vx.CropOrPad(5))


def codes(cohort):
    return [problem.code for problem in vx.verify(cohort)]


def test_another_pipeline_for_other_subjects_is_refused(cohort, cropped):
    before = truth(cropped)
    for attempt in (
        lambda: other(cohort).save(cropped),
        lambda: other(cohort).plan(cropped),
        lambda: cohort.query("subject == '2'").save(cropped),  # as they are
        lambda: cohort.query("subject == '0'").map(vx.CropOrPad(5)).save(cropped),
    ):
        with pytest.raises(FormatError, match="made by another pipeline") as caught:
            attempt()
        assert caught.value.code == "OTHER_PIPELINE"
        assert truth(cropped) == before
    assert vx.verify(cropped) == []


def test_the_same_pipeline_adds_subjects(cohort, cropped):
    """So that a cohort may grow, query by query."""
    made = cohort.query("subject == '2'").map(vx.CropOrPad(6)).save(cropped)
    assert made.names == ["0", "1", "2"]
    assert made.table["pipeline_digest"].nunique() == 1
    assert vx.verify(cropped) == []


def test_another_pipeline_for_all_subjects_makes_all_anew(cohort, cropped):
    made = cohort.map(vx.CropOrPad(5)).save(cropped)
    assert {subject.spatial_shape for subject in made} == {(5, 5, 5)}
    assert vx.verify(cropped) == []


def replacing(action):
    """Warnings of replaced archives, and where they are shown."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        action()
    return [
        (str(one.message).split(". ")[0], one.filename)
        for one in caught
        if "PIPELINE_REPLACED" in str(one.message)
    ]


def test_what_another_pipeline_made_is_not_replaced_without_a_word(cohort, cropped):
    """It was, and a folder of 3 mm became one of 4 mm."""
    five = cohort.map(vx.CropOrPad(5))
    told = [("PIPELINE_REPLACED: 2 images of another pipeline were replaced", __file__)]
    assert replacing(lambda: five.save(cropped)) == told  # of three, of which one is new
    assert replacing(lambda: five.save(cropped)) == []
    assert replacing(lambda: five.save(cropped, codec="raw")) == []
    three = [("PIPELINE_REPLACED: 3 images of another pipeline were replaced", __file__)]
    assert replacing(lambda: cohort.save(cropped)) == three
    assert replacing(lambda: cohort.map(vx.CropOrPad(4)).save(cropped, overwrite=True)) == []


def test_a_part_says_what_it_replaced(cohort, cropped):
    made, five = [], cohort.map(vx.CropOrPad(5))
    five.plan(cropped)
    told = replacing(lambda: made.append(five.save(cropped, partition=(1, 1))))
    assert len(told) == 1
    assert made[0].replaced == 2
    assert "converted: 3 (2 images of another pipeline were replaced)" in repr(made[0])


def test_a_subject_that_fails_replaces_nothing(cohort, cropped):
    def fails_when_read(voxels):
        raise ValueError("no")

    def action():
        with pytest.raises(vx.VoxarrayError, match="3 images failed"):
            cohort.map(vx.Lambda(fails_when_read)).save(cropped)

    assert replacing(action) == []


def test_two_pipelines_on_purpose_are_told_apart(cohort, cropped):
    made = other(cohort).save(cropped, mixed=True)
    assert [subject.spatial_shape[0] for subject in made] == [6, 6, 5]
    digests = dict(zip(made.table["subject"], made.table["pipeline_digest"], strict=True))
    assert digests["0"] == digests["1"] != digests["2"]
    assert made.query(f"pipeline_digest == '{digests['2']}'").names == ["2"]
    assert vx.verify(cropped) == []
    told = run("verify", cropped)
    assert told.exit_code == 0
    assert (
        "note: 2 archives are of another pipeline than the plan's, and kept on purpose"
        in told.stdout
    )
    other(cohort).plan(cropped, mixed=True)
    other(cohort).save(cropped, partition=(1, 1))  # goes by the plan
    assert vx.verify(cropped) == []


def test_verify_finds_what_was_mixed_without_a_word(cohort, cropped, monkeypatch):
    """As releases before this one did."""
    with monkeypatch.context() as patch:
        patch.setattr("voxarray.cohort.mapped.refuse_other_pipelines", lambda *_: None)
        other(cohort).save(cropped)
    found = vx.verify(cropped)
    assert [one.code for one in found] == ["OTHER_PIPELINE"] * 2
    assert "made by another pipeline than the plan's" in found[0].message
    cohort.query("subject < '2'").map(vx.CropOrPad(5)).save(cropped)
    assert codes(cropped) == []


def test_archives_that_do_not_say_what_made_them_are_refused(cohort, tmp_path, monkeypatch):
    mapped = cohort.query("subject < '2'").map(vx.CropOrPad(6))
    with monkeypatch.context() as patch:
        patch.setattr("voxarray.cohort.mapped_items.PIPELINE", "_other")  # 0.2.0 wrote none
        mapped.save(tmp_path / "new")
    assert "pipeline_digest" not in vx.Cohort(tmp_path / "new").table
    assert codes(tmp_path / "new") == []
    with pytest.raises(
        FormatError, match="or by an older voxarray that did not record the pipeline"
    ):
        cohort.query("subject == '2'").map(vx.CropOrPad(6)).save(tmp_path / "new")
    assert len(cohort.map(vx.CropOrPad(6)).save(tmp_path / "new")) == 3


def test_a_conversion_does_not_join_what_a_pipeline_made(cohort, cropped, tmp_path):
    (cropped / "plan.json").unlink()  # as one does when sources have moved
    save(tmp_path / "in/9.nii.gz", 9)
    with pytest.raises(FormatError, match="made by another pipeline") as caught:
        vx.convert_cohort(tmp_path / "in", cropped, progress=False)
    assert caught.value.code == "OTHER_PIPELINE"
    assert "mixed" not in str(caught.value)
    assert len(archives(cropped)) == 2


def test_a_subject_that_fails_leaves_no_archive_of_another_pipeline(cohort, cropped):
    """Its failure has another name than the archive has that was made before."""

    def fails(subject):
        if subject["subject"] == "0":
            raise ValueError("no")
        return vx.Subject(t1=subject["image"])

    with pytest.raises(FormatError, match="made by another pipeline"):
        cohort.map(fails).save(cropped)


def test_zipped_archives_do_not_join_folders(cohort, cropped):
    """Or each image would be there twice."""
    with pytest.raises(FormatError, match="this cohort is not zipped") as caught:
        cohort.map(vx.CropOrPad(6)).save(cropped, zip=True)
    assert caught.value.code == "OTHER_FORM"


def test_a_suffix_of_files_mixes_nothing(cohort, tmp_path):
    with pytest.raises(vx.UnsupportedError, match="mixed= would have no effect"):
        cohort.save(tmp_path / "n", suffix=".nii", mixed=True)


# --- From a terminal ------------------------------------------------------------------------------

CROP = "- operation: CropOrPad\n  arguments: {target_shape: %d}\n"


def preprocess(cohort, destination, size, *more):
    file = destination.parent / f"{size}.yaml"
    file.write_text(CROP % size)
    return run("preprocess", cohort.path, destination, "--pipeline", file, *more)


def test_a_query_preprocesses_a_part(cohort, tmp_path):
    done = preprocess(cohort, tmp_path / "a", 6, "--query", "subject < '2'", "--json")
    assert json.loads(done.stdout)["converted"] == 2
    cohort.query("subject < '2'").map(vx.Compose([vx.CropOrPad(6)])).save(tmp_path / "b")
    assert truth(tmp_path / "a") == truth(tmp_path / "b")
    again = preprocess(cohort, tmp_path / "a", 6, "--query", "subject < '2'")
    assert "0 converted, 2 up to date" in again.stdout


@pytest.mark.parametrize("query", ["nonsense <", "age > 3"])
def test_what_is_no_query_is_said_before_anything_is_made(cohort, tmp_path, query):
    done = preprocess(cohort, tmp_path / "a", 6, "--query", query)
    assert done.exit_code == 2
    assert not (tmp_path / "a").exists()


def test_a_query_that_matches_nothing_makes_nothing(cohort, tmp_path):
    done = preprocess(cohort, tmp_path / "a", 6, "--query", "subject == 'nobody'")
    assert done.exit_code == 1
    assert "NOTHING_FOUND: nothing to do: 0 of 3 subjects" in done.stderr
    assert not (tmp_path / "a").exists()


def test_a_job_array_has_the_query(cohort, tmp_path):
    query = "subject in ['0', '2']"
    script = preprocess(cohort, tmp_path / "a", 6, "--query", query, "--slurm", 2)
    assert script.exit_code == 0
    assert """--query 'subject in ['"'"'0'"'"', '"'"'2'"'"']'""" in script.stdout
    for part in ("1/2", "2/2"):
        done = preprocess(cohort, tmp_path / "a", 6, "--query", query, "--partition", part)
        assert "1 converted" in done.stdout
    assert run("finalise", tmp_path / "a").exit_code == 0
    assert vx.Cohort(tmp_path / "a").names == ["0", "2"]


def test_two_pipelines_from_a_terminal(cohort, tmp_path):
    preprocess(cohort, tmp_path / "a", 6, "--query", "subject < '2'")
    rest = ("--query", "subject == '2'")
    for more in ((), ("--slurm", 2)):
        refused = preprocess(cohort, tmp_path / "a", 5, *rest, *more)
        assert refused.exit_code == 1
        assert "OTHER_PIPELINE" in refused.stderr
    assert preprocess(cohort, tmp_path / "a", 5, *rest, "--mixed").exit_code == 0
    assert run("verify", tmp_path / "a").exit_code == 0
    assert len(vx.Cohort(tmp_path / "a")) == 3


def test_the_terminal_says_what_was_replaced(cohort, tmp_path):
    first = preprocess(cohort, tmp_path / "a", 6)
    assert "replaced" not in first.stdout
    second = preprocess(cohort, tmp_path / "a", 5)
    assert "3 images of another pipeline were replaced" in second.stdout
    third = preprocess(cohort, tmp_path / "a", 4, "--json", "--workers", 1)
    assert json.loads(third.stdout)["replaced"] == 3


def test_only_archives_that_are_not_planned_are_read(cohort, cropped, monkeypatch):
    """Or each part of a large cohort would read all of it."""
    read = []
    entries_at = pipelines.entries_at
    monkeypatch.setattr(
        pipelines, "entries_at", lambda paths: read.extend(paths) or entries_at(paths)
    )
    monkeypatch.setattr(CohortLayout, "archives", None)  # who asks each whether it is whole
    cohort.map(vx.CropOrPad(6)).freeze(
        CohortLayout.of(cropped), ArchiveOptions(), ProgressListener()
    )
    assert read == []
