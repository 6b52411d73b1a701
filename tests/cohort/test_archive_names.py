"""Archives have names that every file system can hold, and no two have one name."""

from __future__ import annotations

import re
import shutil
import unicodedata

import pytest
from cohort_samples import archives, run, save
from hypothesis import given
from hypothesis import strategies as st

import voxarray as vx
from voxarray.cohort.catalogue.member import Member, Part
from voxarray.cohort.plan.archive_names import slug
from voxarray.core.errors import StateError


@given(st.text(min_size=1, max_size=300), st.text(max_size=50))
def test_names_are_plain(subject, image):
    name = slug(subject, image)
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name)
    assert len(name) <= 91
    assert name.split(".")[0].upper() not in {"CON", "NUL", "AUX", "PRN", "COM1"}


@given(st.text(max_size=40), st.text(max_size=40))
def test_other_texts_have_other_names(one, other):
    assert (slug(one, "x").lower() == slug(other, "x").lower()) == (one == other)


NAMES = [
    *("CON", "a", "A", "x" * 240, "über", "日本", "with space", "100%", "a#b?c", "sub.01.v2"),
    *(unicodedata.normalize(form, "café") for form in ("NFC", "NFD")),
]


def test_originals_stand_in_the_table(tmp_path):
    for number, name in enumerate(NAMES):
        save(tmp_path / "in" / f"{name}.nii", number)
    assert run("convert", tmp_path / "in", tmp_path / "out").exit_code == 0
    made = [path.name for path in archives(tmp_path / "out")]
    assert len({name.lower() for name in made}) == len(NAMES)
    assert set(vx.Cohort(tmp_path / "out").names) == set(NAMES)


def test_bytes_that_are_no_text(tmp_path):
    save(tmp_path / "in/a.nii")
    try:
        (tmp_path / "in/a.nii").rename(tmp_path / "in" / "b\udcff.nii")
    except OSError:
        pytest.skip("this file system takes Unicode alone")
    assert run("convert", tmp_path / "in", tmp_path / "out").exit_code == 0
    assert vx.Cohort(tmp_path / "out").names == ["b�"]


def test_two_images_of_one_name_are_both_named():
    parts = (
        Part("subjects/a_t1.ome.zarr", "t1", "intensity", ("seg",)),
        Part("subjects/a_seg.ome.zarr", "seg", "label", ()),
    )
    with pytest.raises(StateError) as caught:
        Member("", "a", parts).subject()
    assert caught.value.code == "NAME_COLLISION"
    assert "subjects/a_t1.ome.zarr/labels/seg and subjects/a_seg.ome.zarr" in str(caught.value)


def test_verify_names_label_maps_of_one_name_in_two_archives(tmp_path):
    for name in ("t1", "t2"):
        save(tmp_path / f"in/a/{name}.nii")
    patterns = {name: f"{{subject}}/{name}.nii" for name in ("t1", "t2")}
    vx.convert_cohort(tmp_path / "in", tmp_path / "out", image_patterns=patterns)
    one, other = archives(tmp_path / "out")
    scan = vx.ScalarImage(one)
    labels = vx.LabelMap(tensor=scan.data.byte(), affine=scan.affine)
    for archive in (one, other):
        assert vx.verify(tmp_path / "out") == []
        vx.Archive(archive).add_labels("seg", labels)
    (problem,) = vx.verify(tmp_path / "out")
    assert problem.code == "NAME_COLLISION"
    assert f"{one.name}/labels/seg" in problem.message
    assert f"{other.name}/labels/seg" in problem.where
    with pytest.raises(StateError, match=r"query\(\"image == 't2'\"\)"):
        vx.Cohort(tmp_path / "out")["a"]
    assert "seg" in vx.Cohort(tmp_path / "out").query("image == 't2'")["a"]
    save(tmp_path / "in/a/t2.nii", 7)
    codes = [one.code for one in vx.verify(tmp_path / "out", source=tmp_path / "in")]
    assert codes == ["SOURCE_CHANGED", "NAME_COLLISION"]  # the one hides nothing of the other
    assert run("remove-labels", other, "seg").exit_code == 0
    assert vx.verify(tmp_path / "out") == []
    assert "seg" in vx.Cohort(tmp_path / "out")["a"]


def test_two_archives_of_one_image_are_named_in_verify(tmp_path):
    save(tmp_path / "in/a.nii")
    vx.convert_cohort(tmp_path / "in", tmp_path / "out")
    (archive,) = archives(tmp_path / "out")
    shutil.copytree(archive, archive.with_name("b.ome.zarr"))
    run("finalise", tmp_path / "out")
    (problem,) = vx.verify(tmp_path / "out")
    assert problem.code == "NAME_COLLISION"
    assert "such as" not in problem.message  # a query by the name would choose both


def test_two_cohorts_as_sources_are_told_to_go_alone(tmp_path):
    save(tmp_path / "in/a.nii")
    for name in ("one", "two"):
        vx.convert_cohort(tmp_path / "in", tmp_path / name)
    result = run("convert", tmp_path / "one", tmp_path / "two", tmp_path / "out")
    assert f"{tmp_path / 'one'} is a cohort, which can only be converted alone" in result.stderr


def test_no_image_takes_the_place_of_the_name_of_its_subject(tmp_path):
    save(tmp_path / "in/a/t1.nii")
    save(tmp_path / "in/a/seg.nii")
    more = ["--image-pattern", "t1={subject}/t1.nii", "--label-pattern"]
    result = run("convert", tmp_path / "in", tmp_path / "out", *more, "subject={subject}/seg.nii")
    assert (result.exit_code, "RESERVED_NAME: a/seg.nii would" in result.stderr) == (1, True)
    assert run("convert", tmp_path / "in", tmp_path / "out", *more, "*/seg.nii").exit_code == 0
    (archive,) = archives(tmp_path / "out")
    scan = vx.ScalarImage(archive)
    labels = vx.LabelMap(tensor=scan.data.byte(), affine=scan.affine)
    with pytest.raises(vx.VoxarrayError, match="NAME_TAKEN: a label map in the cohort"):
        vx.Archive(archive).add_labels("subject", labels)
    assert vx.Cohort(tmp_path / "out")[0]["subject"] == "a"
    with pytest.raises(StateError, match="RESERVED_NAME"):
        Member("", "a", (Part("subjects/a.ome.zarr", "t1", "intensity", ("subject",)),)).subject()
