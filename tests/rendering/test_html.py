"""What notebooks show: facts and planes, nothing loaded, nothing decoded without being asked."""

from __future__ import annotations

import base64
import io
import re

import dask
import dask.array as da
import numpy as np
import pytest
from PIL import Image

import voxarray as vx
from voxarray.testing.counting import count_reads

VOXELS = np.random.default_rng(0).integers(0, 999, (1, 20, 30, 40)).astype(np.int16)


def save(path):
    vx.ScalarImage(tensor=VOXELS, affine=np.diag([1, 1, 2, 1.0])).save(path)
    return vx.ScalarImage(path)


def picture(html):
    return Image.open(io.BytesIO(base64.b64decode(re.search(r'base64,([^"]+)"', html)[1])))


def test_facts_and_planes(tmp_path):
    image = save(tmp_path / "a <b>.nii")
    with count_reads() as reads:
        html = image._repr_html_()
    assert reads.voxels == 20 * 30 + 20 * 40 + 30 * 40
    assert "data" not in image
    drawn = picture(html)
    assert drawn.width > drawn.height > 100
    spacing = "1 \N{MULTIPLICATION SIGN} 1 \N{MULTIPLICATION SIGN} 2 mm"
    for fact in ("(1, 20, 30, 40)", spacing, "RAS+", "intensity, int16", "46.9 KiB", "0 B"):
        assert fact in html, fact
    assert "a &lt;b&gt;.nii" in html
    image.load()
    assert "loaded" in image._repr_html_()


@pytest.mark.parametrize("kind", [vx.ScalarImage, vx.LabelMap])
def test_the_theme_of_the_notebook_shines_through(kind):
    values = np.random.default_rng(0).integers(0, 2000, (1, 60, 50, 40)).astype("int16")
    shown = picture(kind(tensor=values)._repr_html_())
    assert shown.mode == ("LA" if kind is vx.ScalarImage else "RGBA")
    pixels = np.asarray(shown.convert("RGBA"))
    assert pixels[0, 0, 3] == 0
    # Of letters alone, at the edges: neither light nor dark.
    letters = pixels[:, :20][pixels[:, :20, 3] > 64][:, :3]
    assert 100 < letters.min() <= letters.max() < 160
    grey = pixels[pixels[..., 3] == 255]
    if kind is vx.ScalarImage:
        assert len(np.unique(grey)) <= 128
        assert np.ptp(grey[:, 0]) > 200


def test_levels(tmp_path):
    voxels = np.zeros((1, 600, 300, 128), np.int16)
    vx.ScalarImage(tensor=voxels).save(tmp_path / "a.ome.zarr", levels="all")
    image = vx.ScalarImage(tmp_path / "a.ome.zarr")
    with count_reads() as reads:
        html = image._repr_html_()
    assert "levels" in html
    assert reads.voxels == 300 * 150 + 300 * 64 + 150 * 64


def test_large_compressed_files_are_not_decoded_unasked(tmp_path):
    image = save(tmp_path / "a.nii.gz")
    assert "<img" in image._repr_html_()
    other = save(tmp_path / "b.nii.gz")
    with dask.config.set({"voxarray.gzip-whole-limit": 100}), count_reads() as reads:
        for shown in (other, other[2:9], other[..., 5]):
            html = shown._repr_html_()
            assert "<img" not in html
            assert "plot() does that" in html
    assert reads.voxels == reads.passes == 0
    other.load()
    with dask.config.set({"voxarray.gzip-whole-limit": 100}):
        assert "<img" in other._repr_html_()


def test_results_of_operations_are_not_computed():
    def fail(block):
        raise AssertionError("computed")

    lazy = da.from_array(VOXELS, chunks=10).map_blocks(fail, dtype="int16", meta=VOXELS[:0])
    assert "<img" not in vx.ScalarImage(tensor=lazy)._repr_html_()


def test_labels_and_slices():
    labels = vx.LabelMap(tensor=(VOXELS % 3).astype(np.uint8))
    colours = {
        tuple(c)
        for c in np.asarray(picture(labels._repr_html_()).convert("RGB"))[::3, ::3].reshape(-1, 3)
    }
    assert (85, 0, 255) in colours  # of label 2
    assert picture(labels[..., 3]._repr_html_()).width > 100


def test_unreadable_files_show_their_text(tmp_path):
    (tmp_path / "a.nii").write_bytes(b"nothing")
    image = vx.ScalarImage(tmp_path / "a.nii")
    assert image._repr_html_() is None
    assert "not readable" in repr(image)
