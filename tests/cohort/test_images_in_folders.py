"""Which files in a folder are images, what they are called, and in which order they come."""

from __future__ import annotations

from pathlib import Path, PurePath

import pytest
from cohort_samples import save

from voxarray.cohort.discover.files import images
from voxarray.cohort.discover.search import search

FILES = [
    *("a.hdr", "a.img", "b.img", "c.PAR", "c.REC", "d+orig.HEAD", "d+orig.BRIK.gz", "e.nii.gz"),
    *("figure.png", "transform.h5", "array.npy", "f.nrrd", "g.mhd", "g.raw", "h.tif"),
]


def test_pairs_count_once_and_figures_do_not(tmp_path):
    for name in FILES:
        (tmp_path / name).touch()
    assert [path.name for path in images(str(tmp_path))] == [
        *("a.hdr", "b.img", "c.PAR", "d+orig.HEAD", "e.nii.gz", "f.nrrd", "g.mhd", "h.tif")
    ]


@pytest.mark.parametrize("name", FILES)
def test_what_is_named_is_meant(tmp_path, name):
    (tmp_path / name).touch()
    assert images(str(tmp_path / name)) == [tmp_path / name]


@pytest.mark.parametrize("root", ["in", "./in/", "in//", "../{here}/in", "."])
def test_files_are_named_from_the_folder_and_sorted_folder_by_folder(tmp_path, monkeypatch, root):
    names = ["a b/x.nii", "a-b/x.nii", "a.b/x.nii", "a/b/x.nii", "a/b.nii", "a/B.nii", "a.nii"]
    for name in names:
        save(tmp_path / "in" / name)
    monkeypatch.chdir(tmp_path / "in" if root == "." else tmp_path)
    root = root.format(here=tmp_path.name)
    found = search([root], str(tmp_path / "out"))
    assert [one.source for one in found] == list(map(str, sorted(map(PurePath, names))))
    assert [one.location for one in found] == [str(tmp_path / "in" / one.source) for one in found]
    assert images(root) == [Path(root, one.source) for one in found]
