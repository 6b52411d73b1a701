"""Archives have names that every file system can hold, and no two have one name."""

from __future__ import annotations

import re
import unicodedata

import pytest
from cohort_samples import archives, run, save
from hypothesis import given
from hypothesis import strategies as st

import voxarray as vx
from voxarray.cohort.catalogue.member import Member, Part
from voxarray.cohort.plan.names import slug
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
