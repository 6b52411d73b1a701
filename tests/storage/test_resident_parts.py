"""Boxes of mapped files are copied part by part, each of few bytes; voxels are a memmap's."""

from __future__ import annotations

import os

import nibabel as nib
import numpy as np
import pytest

import voxarray as vx
from voxarray.core import page_cache
from voxarray.storage import raw_voxels, read_lease, resident_parts
from voxarray.storage.raw_voxels import RawVoxels
from voxarray.storage.resident_parts import parts_within

FOLIO = 16


@pytest.fixture
def small_folios(monkeypatch):
    """Folios of a few bytes, so that small boxes have many parts; every box is mapped."""
    monkeypatch.setattr(resident_parts, "FOLIO", FOLIO)
    monkeypatch.setattr(page_cache, "LEAST_BYTES", 1)
    monkeypatch.setattr(raw_voxels, "MAX_SPAN", 20 * FOLIO)
    monkeypatch.setattr(raw_voxels, "LEAST_LEASED", 1)


def drawn(rng, length):
    """Ascending indices of an axis: one, some with a step, or all."""
    if rng.random() < 0.2:
        return range(length)
    start = int(rng.integers(0, length))
    return range(start, int(rng.integers(start, length)) + 1, int(rng.integers(1, 4)))


@pytest.mark.parametrize("seed", range(60))
def test_parts_are_the_box_and_touch_what_they_say(small_folios, seed):
    rng = np.random.default_rng(seed)
    itemsize = int(rng.choice([1, 2, 4, 8]))
    shape = rng.integers(1, 9, 4)
    strides = np.append(np.cumprod(shape[:0:-1])[::-1], 1) * itemsize
    ranges = [drawn(rng, int(n)) for n in shape]
    lengths = [len(r) for r in ranges]
    steps = [r.step * int(s) for r, s in zip(ranges, strides, strict=True)]
    most = int(rng.integers(1, 20)) * FOLIO
    first = sum(r[0] * int(s) for r, s in zip(ranges, strides, strict=True))
    begins = first + sum(np.ix_(*(np.arange(n) * s for n, s in zip(lengths, steps, strict=True))))
    seen = np.zeros(lengths, int)
    for part, start, size in parts_within(most, lengths, steps, itemsize):
        seen[part] += 1
        touched = begins[part].reshape(-1, 1) + np.arange(itemsize)
        assert (touched.min(), touched.max() + 1) == (first + start, first + start + size)
        # One folio around each run of bytes is the mean; two where it lies across their border.
        assert folios(touched) <= 2 * max(most, itemsize + FOLIO)
    assert (seen == 1).all()
    everything = begins.reshape(-1, 1) + np.arange(itemsize)
    assert folios(everything) <= 2 * resident_parts.resident(lengths, steps, itemsize)


def folios(touched):
    return len(np.unique(touched // FOLIO)) * FOLIO


def test_how_many_planes_make_a_part():
    lengths = [1, 96, 96, 96]
    near, far = [1 << 24, 1 << 16, 256, 1], [1 << 28, 1 << 22, 2048, 1]
    assert [part for part, *_ in parts_within(16 << 20, lengths, near, 1)] == [()]
    parts = list(parts_within(8 << 20, lengths, near, 1))
    assert [part for part, *_ in parts] == [()]
    parts = list(parts_within(8 << 20, lengths, far, 1))
    assert [part for part, *_ in parts][:2] == [(0, slice(0, 3)), (0, slice(3, 6))]
    assert resident_parts.resident(lengths, near, 1) < 8 << 20
    assert resident_parts.resident(lengths, far, 1) > 96 << 21


@pytest.mark.parametrize("dtype", ["u1", "<i2", ">i2", "<f4", ">f4", "<f8", "<u4"])
def test_parts_of_a_file_are_what_a_memmap_says(small_folios, tmp_path, monkeypatch, dtype):
    rng = np.random.default_rng(3)
    monkeypatch.setattr(raw_voxels, "read_exactly", read_only_what_has_long_rows)
    for number in range(12):
        shape = tuple(int(n) for n in rng.integers(1, 14, 4))
        offset = int(rng.integers(0, 500))
        path = tmp_path / f"{number}.raw"
        voxels = rng.integers(0, 100, shape).astype(dtype)
        path.write_bytes(bytes(offset) + voxels.tobytes())
        stored = np.memmap(path, dtype, "r", offset, shape)
        fd = os.open(path, os.O_RDONLY)
        if not leased(fd):
            pytest.skip("this file system has no leases")
        for _ in range(12):
            box = [drawn(rng, n) for n in shape]
            out = np.empty([len(r) for r in box], np.dtype(dtype).newbyteorder("="))
            RawVoxels(offset, shape, np.dtype(dtype)).read(fd, box, out)
            np.testing.assert_array_equal(out, stored[np.ix_(*box)])
        os.close(fd)


def leased(fd):
    with read_lease.mapped_under_read_lease(fd) as data:
        return data is not None


def read_only_what_has_long_rows(fd, view, start):
    assert os.preadv(fd, [view], start) == len(view)


@pytest.mark.parametrize("scaling", [(1, 0), (0.5, -3)])
@pytest.mark.parametrize("suffix", [".nii", ".img"])
def test_parts_of_images_are_what_nibabel_says(small_folios, tmp_path, suffix, scaling):
    """Through the image: flipped, strided, scaled, with an extension before the voxels."""
    rng = np.random.default_rng(7)
    voxels = rng.integers(-200, 200, (23, 17, 11)).astype("i2")
    kind = nib.Nifti1Image if suffix == ".nii" else nib.Nifti1Pair
    image = kind(voxels, np.diag([-2, 3, -1, 1]))
    image.header.set_slope_inter(*scaling)
    if suffix == ".nii":
        image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"a" * 99))
    path = tmp_path / f"a{suffix}"
    nib.save(image, path)
    opened, expected = vx.ScalarImage(path), nib.load(path).dataobj
    for _ in range(20):
        box = tuple(any_slice(rng, n) for n in voxels.shape)
        np.testing.assert_allclose(opened[box].numpy()[0], expected[box], rtol=1e-6)


def any_slice(rng, length):
    r = drawn(rng, length)
    if rng.random() < 0.3:
        return slice(r[-1], r[0] - 1 if r[0] else None, -r.step)
    return slice(r.start, r.stop, r.step)
