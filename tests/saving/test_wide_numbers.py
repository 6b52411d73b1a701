"""Numbers of more than 64 bits, which no format holds: refused by name before a file appears."""

from __future__ import annotations

import numpy as np
import pytest

import voxarray as vx
from voxarray.formats.registry import written_suffixes

pytestmark = pytest.mark.skipif(np.finfo(np.longdouble).bits <= 64, reason="there are none here")

WIDE = np.dtype(np.longdouble).name
PICTURES = (".png", ".jpg", ".jpeg", ".bmp")
"""These hold whole numbers up to 255 of any real type, as uint8, and refuse all others."""


def wide(dtype, kind):
    voxels = np.ones((1, 6, 5, 1), dtype)
    if kind == "labels":
        return vx.LabelMap(tensor=voxels)
    image = vx.ScalarImage(tensor=voxels)
    if kind == "dask":
        return vx.ScalarImage.from_xarray(image.array.chunk(3))
    return image if kind == "array" else vx.Flip(0)(image)


@pytest.mark.parametrize("dtype", [np.longdouble, np.clongdouble])
@pytest.mark.parametrize("kind", ["array", "dask", "flipped", "labels"])
@pytest.mark.parametrize("suffix", sorted({*written_suffixes()} - {*PICTURES}))
def test_files_and_archives(tmp_path, dtype, kind, suffix):
    image = wide(dtype, kind)
    for write in (image.save, lambda path: vx.convert(image, path)):
        with pytest.raises(vx.UnsupportedError, match=np.dtype(dtype).name) as caught:
            write(tmp_path / f"a{suffix}")
        assert caught.value.code == "UNSUPPORTED_DTYPE"
        assert not list(tmp_path.iterdir())


def test_label_maps_of_archives(tmp_path):
    labels = wide(np.longdouble, "labels")
    image = vx.ScalarImage(tensor=np.ones((1, 6, 5, 1), np.float32))
    image.save(tmp_path / "a.ome.zarr")
    before = sorted(tmp_path.rglob("*"))
    for write in (
        lambda: vx.Archive(tmp_path / "a.ome.zarr").add_labels("seg", labels),
        lambda: vx.convert(image, tmp_path / "b.ome.zarr", labels={"seg": labels}),
    ):
        with pytest.raises(vx.UnsupportedError, match=WIDE) as caught:
            write()
        assert caught.value.code == "UNSUPPORTED_DTYPE"
        assert sorted(tmp_path.rglob("*")) == before


def test_cohorts(tmp_path):
    vx.ScalarImage(tensor=np.ones((1, 6, 5, 4), np.float32)).save(tmp_path / "in/a.nii")
    vx.convert_cohort(tmp_path / "in", tmp_path / "cohort", progress=False)

    def widened(subject):
        array = subject["image"].array.astype(np.longdouble)
        return vx.Subject(image=vx.ScalarImage.from_xarray(array))

    with pytest.raises(vx.VoxarrayError, match="a: UNSUPPORTED_DTYPE") as caught:
        vx.Cohort(tmp_path / "cohort").map(widened).save(tmp_path / "wide", progress=False)
    assert caught.value.code == "SOME_FAILED"
    assert WIDE in (tmp_path / "wide/report.txt").read_text()
    assert not list((tmp_path / "wide/subjects").iterdir())
