"""Scans that links to folders, or two sources, lead to twice: taken once, and counted."""

from __future__ import annotations

import json
import os
import shutil

import pytest
from cohort_samples import archives, run, save

import voxarray as vx
from voxarray.cohort.discover.census import Census
from voxarray.cohort.discover.duplicates import AGAIN
from voxarray.cohort.discover.globs import matches
from voxarray.cohort.discover.linked_folders import UPWARDS
from voxarray.cohort.discover.search import search
from voxarray.cohort.options import InputSelection


@pytest.fixture
def study(tmp_path):
    """Two subjects."""
    for number in (1, 2):
        save(tmp_path / f"in/sub-{number}/t1.nii", number)
    return tmp_path / "in"


def found_in(*sources, **patterns):
    census = Census()
    found = search([str(one) for one in sources], "out", InputSelection(**patterns), census=census)
    assert census.taken == len(found) == census.inputs
    assert not any(one.collides_with for one in found)
    return [one.source for one in found], dict(census.ignored)


BOTH = ["sub-1/t1.nii", "sub-2/t1.nii"]


@pytest.mark.parametrize("name", ["latest", "zz"])
def test_a_link_to_a_folder_that_is_searched_brings_nothing_new(study, name):
    (study / name).symlink_to(study / "sub-2")
    assert found_in(study) == (BOTH, {AGAIN: 1})


@pytest.mark.parametrize("name", ["latest", "a/sub-2"])
def test_a_source_behind_a_link_keeps_its_own_names(study, name):
    """Home folders of clusters often are links: those are none that lead to a scan again."""
    (study / name).parent.mkdir(exist_ok=True)
    (study / name).symlink_to(study / "sub-2")
    (study.parent / "home").symlink_to(study.parent)
    assert found_in(study.parent / "home/in") == (BOTH, {AGAIN: 1})
    assert found_in(study.parent / "home/in/**")[0] == BOTH


def test_the_cohort_and_its_summary(study, tmp_path):
    (study / "latest").symlink_to("sub-2")
    result = run("convert", study, tmp_path / "out")
    assert result.exit_code == 0
    assert f"ignored: 1 {AGAIN}" in result.stdout
    assert len(archives(tmp_path / "out")) == 2
    told = json.loads(run("plan", study, tmp_path / "out", "--json", "--dry-run").stdout)
    assert told["census"]["ignored"] == {AGAIN: 1}


def test_a_series_and_an_archive_behind_a_link(study, tmp_path):
    vx.ScalarImage(study / "sub-1/t1.nii").save(study / "a.ome.zarr")
    (study / "b.ome.zarr").symlink_to(study / "a.ome.zarr")
    assert found_in(study) == (["a.ome.zarr", *BOTH], {AGAIN: 1})


def test_links_out_of_the_source_are_followed_once(study, tmp_path):
    shutil.move(study / "sub-2", tmp_path / "elsewhere")
    for name in ("x", "y"):
        (study / name).symlink_to(tmp_path / "elsewhere")
    assert found_in(study) == (["sub-1/t1.nii", "x/t1.nii"], {AGAIN: 1})


def test_what_only_a_link_leads_to_is_found(study):
    (study / ".store").mkdir()
    shutil.move(study / "sub-2", study / ".store/2")
    (study / "sub-2").symlink_to(".store/2")
    assert found_in(study)[0] == BOTH


def test_a_pattern_may_choose_the_link(study):
    (study / "train").mkdir()
    (study / "train/sub-2").symlink_to(study / "sub-2")
    chosen, ignored = found_in(study, image_patterns=(("t1", "train/{subject}/t1.nii"),))
    assert chosen == ["train/sub-2/t1.nii"]
    assert AGAIN not in ignored
    both = (("t1", "train/{subject}/t1.nii"), ("whole", "{subject}/t1.nii"))
    assert len(found_in(study, image_patterns=both)[0]) == 3  # two images, by the user's word


def test_a_link_to_a_file_is_an_input_of_its_own(study):
    """As git-annex makes them of two files of one content, of two subjects."""
    (study / "sub-3").mkdir()
    (study / "sub-3/t1.nii").symlink_to(study / "sub-2/t1.nii")
    assert found_in(study) == ([*BOTH, "sub-3/t1.nii"], {})


def test_links_that_lead_to_each_other_end(study):
    (study / "sub-1/other").symlink_to(study / "sub-2")
    (study / "sub-2/other").symlink_to(study / "sub-1")
    chosen, ignored = found_in(study)
    assert chosen == BOTH
    assert ignored == {AGAIN: 2, UPWARDS: 2}


@pytest.mark.parametrize("second", ["sub-2", "sub-2/t1.nii", "", "../link", "sub-*"])
def test_two_sources_that_overlap(study, second):
    (study.parent / "link").symlink_to(study)
    chosen, ignored = found_in(study, study / second)
    assert chosen == [f"in/{name}" for name in BOTH]
    assert ignored == {AGAIN: 1 if second.startswith("sub-2") else 2}


def test_a_glob_that_overlaps_with_itself(study):
    assert found_in(study / "**") == (BOTH, {AGAIN: 4})


def test_two_rows_of_a_manifest_may_name_one_file(study):
    (study / "list.csv").write_text("subject,image\na,sub-1/t1.nii\nb,sub-1/t1.nii\n")
    assert len(search([str(study / "list.csv")], "out")) == 2


def test_no_path_is_resolved_where_there_are_no_links(study, monkeypatch):
    asked = []
    from voxarray.cohort.discover import duplicates

    real = duplicates.os.path.realpath
    monkeypatch.setattr(
        duplicates.os.path, "realpath", lambda *a, **k: asked.append(a) or real(*a, **k)
    )
    search([str(study)], "out")
    assert asked == []


@pytest.fixture
def web(tmp_path):
    """Folders of which each links to all others: there are 13,699 ways through seven."""
    for number in range(12):
        save(tmp_path / f"in/sub-{number}/t1.nii", number)
        for other in range(12):
            if other != number:
                (tmp_path / f"in/sub-{number}/l{other}").symlink_to(f"../sub-{other}")
    return tmp_path / "in"


OF_WEB = sorted(f"sub-{number}/t1.nii" for number in range(12))


@pytest.mark.parametrize("pattern", ["", "**", "**/*.nii", "**/t1.nii", "sub-*"])
def test_folders_that_all_link_to_each_other_are_searched_once(web, pattern):
    assert found_in(web / pattern)[0] == OF_WEB


@pytest.mark.parametrize(
    ("pattern", "chosen"),
    [
        ("**/t1.nii", OF_WEB),
        ("{subject}/t1.nii", OF_WEB),
        ("sub-3/*/l7/t1.nii", ["sub-3/l0/l7/t1.nii"]),
        ("sub-3/{subject}/t1.nii", sorted(f"sub-3/l{n}/t1.nii" for n in range(12) if n != 3)),
    ],
)
def test_names_through_links_are_chosen_without_trying_all(web, pattern, chosen):
    assert found_in(web, image_patterns=(("t1", pattern),))[0] == chosen


def test_a_subject_named_twice_is_found_behind_one_of_several_links(study):
    save(study / ".store/b_t1.nii")
    for name in ("a", "b"):
        (study / name).symlink_to(".store")
    chosen, _ = found_in(study, image_patterns=(("t1", "{subject}/{subject}_t1.nii"),))
    assert chosen == ["b/b_t1.nii"]


def test_what_bids_leaves_out_by_one_name_is_found_by_another(study):
    (study / "dataset_description.json").write_text("{}")
    save(study / "sourcedata/sub-3/anat/sub-3_T1w.nii")
    (study / "sub-3").symlink_to("sourcedata/sub-3")
    assert found_in(study)[0] == ["sub-3/anat/sub-3_T1w.nii"]


def test_a_folder_behind_two_chains_is_followed_by_both(study, tmp_path):
    """Where a link leads upwards in one chain of links, and not in the other."""
    save(tmp_path / "far/one/a.nii")
    save(tmp_path / "far/b.nii")
    (tmp_path / "near").mkdir()
    (tmp_path / "near/back").symlink_to(tmp_path / "far")
    (tmp_path / "far/one/on").symlink_to(tmp_path / "near")
    (study / "a").symlink_to(tmp_path / "far/one")
    (study / "z").symlink_to(tmp_path / "near")
    found = {one.rsplit("/", 1)[1] for one in found_in(study)[0]}
    assert found == {"a.nii", "b.nii", "t1.nii"}


@pytest.mark.parametrize("pattern", ["*/t1.nii", "**/*.nii", "[sl]*", "sub-2", "latest/*"])
def test_a_glob_takes_a_scan_behind_a_link_once(study, pattern):
    (study / "latest").symlink_to("sub-2")
    names = found_in(study / pattern)[0]
    assert len(names) == (1 if pattern in ("sub-2", "latest/*") else 2)


def test_a_glob_asks_about_no_file(tmp_path, monkeypatch):
    for number in range(5):
        save(tmp_path / f"in/sub-{number}/t1.nii", number)
    asked, stats = [], {name: getattr(os, name) for name in ("stat", "lstat")}
    for name in stats:
        monkeypatch.setattr(
            os, name, lambda path, n=name, **more: asked.append(str(path)) or stats[n](path, **more)
        )
    assert len(matches(f"{tmp_path}/in/**/*.nii")) == 5
    assert len(matches(f"{tmp_path}/in/**")) == 11
    assert [one for one in asked if one.endswith(".nii")] == []
