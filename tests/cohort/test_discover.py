"""Which images a folder holds."""

from __future__ import annotations

import pytest

from voxarray.cohort.discover.files import images

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
