"""Folders that may not be read are named, whatever looks into them, and stop nothing else."""

from __future__ import annotations

import os
import shutil

import pytest
from cohort_samples import archives, save
from unprivileged import unprivileged

import voxarray as vx
from voxarray.archive.cleaning import clean
from voxarray.cohort.discover.search import search
from voxarray.cohort.options import InputSelection
from voxarray.cohort.run.build import build


@pytest.fixture
def scans(tmp_path):
    for n in (1, 2, 3):
        save(tmp_path / f"in/sub-{n}/anat/sub-{n}_T1w.nii.gz", n)
    return tmp_path / "in"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    for n in (1, 2):
        save(folder / f"in/{n}.nii.gz", n)
    build(folder / "in", folder / "cohort")
    return folder


@pytest.fixture
def cohort(made, tmp_path):
    return shutil.copytree(made / "cohort", tmp_path / "all/cohort")


@pytest.fixture
def close():
    """Closes folders, and opens them again for whoever deletes them."""
    closed = []

    def do(path, mode=0):
        closed.append(path)
        os.chmod(path, mode)

    yield do
    for path in closed:
        os.chmod(path, 0o700)


def found(*sources, **choice):
    with unprivileged():
        inputs = search(list(map(str, sources)), "nowhere/out", InputSelection(**choice))
    return [one.source for one in inputs]


def codes(problems):
    return [problem.code for problem in problems]


@pytest.mark.parametrize("mode", [0, 0o444], ids=["closed", "listed only"])
@pytest.mark.parametrize("is_bids", [False, True], ids=["folder", "BIDS"])
def test_a_closed_folder_fails_alone_and_no_rule_leaves_it_out(
    scans, tmp_path, close, mode, is_bids
):
    if is_bids:
        (scans / "dataset_description.json").write_text("{}")
    close(scans / "sub-2", mode)
    with unprivileged():
        result = build(scans, tmp_path / "out")
    assert (result.converted, result.failed) == (2, 1)
    failed = result.summary.failed[0]
    assert (failed.code, failed.failure.file) == ("ACCESS_DENIED", "sub-2")


def test_no_pattern_leaves_out_a_closed_folder(scans, close):
    close(scans / "sub-2")
    names = found(scans, image_patterns=(("t1", "**/*_T1w.nii.gz"),))
    assert names == ["sub-1/anat/sub-1_T1w.nii.gz", "sub-3/anat/sub-3_T1w.nii.gz", "sub-2"]


@pytest.mark.parametrize("pattern", ["*/anat/*.nii.gz", "**/*.nii.gz", "sub-?/*/*.nii.gz"])
def test_a_glob_names_the_closed_folders_that_it_leads_into(scans, close, pattern):
    close(scans / "sub-2")
    assert [name.split("/")[0] for name in found(scans / pattern)] == ["sub-1", "sub-2", "sub-3"]


def test_a_glob_needs_no_list_of_folders_that_it_names(scans, close):
    close(scans, 0o311)
    assert found(scans / "sub-1/*/*.nii.gz") == ["anat/sub-1_T1w.nii.gz"]


def test_what_bids_leaves_out_is_left_out_unread(scans, close):
    (scans / "dataset_description.json").write_text("{}")
    (scans / ".bidsignore").write_text("sub-3/\n")
    (scans / "sourcedata").mkdir()
    for name in ("sourcedata", "sub-3"):
        close(scans / name)
    assert found(scans) == ["sub-1/anat/sub-1_T1w.nii.gz", "sub-2/anat/sub-2_T1w.nii.gz"]


def test_a_source_in_a_closed_folder_is_not_said_to_be_missing(scans, close):
    close(scans / "sub-2")
    with pytest.raises(vx.AccessDeniedError):
        found(scans / "sub-2/anat/sub-2_T1w.nii.gz")


def test_verify_names_closed_folders_and_checks_the_others(cohort, close):
    shutil.copytree(cohort, cohort.parent / "other")
    close(cohort)
    with unprivileged():
        for path in (cohort.parent, cohort):
            problems = vx.verify(path)
            assert codes(problems) == ["ACCESS_DENIED"]
            assert problems[0].where.endswith(f": {cohort}")
        assert vx.verify(cohort.parent / "other") == []
        problems = vx.verify(cohort / "subjects/a.ome.zarr")
        assert codes(problems) == ["ACCESS_DENIED"]


@pytest.mark.parametrize("quick", [True, False])
def test_a_closed_archive_is_not_called_unfinished(cohort, close, quick):
    archive = sorted((cohort / "subjects").iterdir())[0]
    close(archive)
    with unprivileged():
        assert codes(vx.verify(cohort, quick=quick)) == ["ACCESS_DENIED"]
        with pytest.raises(vx.AccessDeniedError):
            vx.ScalarImage(archive).shape  # noqa: B018


def test_a_cohort_whose_archives_are_closed_misses_none(cohort, close):
    close(cohort / "subjects")
    with unprivileged():
        for path in (cohort, cohort.parent):
            problems = vx.verify(path)
            assert codes(problems) == ["ACCESS_DENIED"]
            assert "MISSING" not in problems[0].message


def test_a_closed_cohort_is_not_said_to_be_none(cohort, close):
    close(cohort)
    with unprivileged(), pytest.raises(vx.AccessDeniedError):
        vx.Cohort(cohort)


def test_sources_that_lack_one_of_the_cohort_are_told(made):
    problems = vx.verify(made / "cohort", source=made / "in/1.nii.gz")
    assert codes(problems) == ["OTHER_SOURCE"]
    assert "2.nii.gz" in problems[0].message


def test_clean_names_closed_folders(cohort, close):
    close(cohort)
    with unprivileged():
        (left,) = clean(cohort.parent)
    assert (left.path, left.outcome) == (str(cohort), "failed")


def test_an_archive_that_may_not_be_read_is_not_blamed_on_its_source(scans, tmp_path, close):
    build(scans, tmp_path / "out")
    archive = archives(tmp_path / "out")[0]
    close(archive, 0)
    with unprivileged():
        (failed,) = build(scans, tmp_path / "out").failures
    assert failed.code == "ACCESS_DENIED"
    assert archive.name in failed.message
    assert "check the permissions" in failed.message
