"""Slices: lazy, exact in voxels and affine, composed, of images of every state."""

from __future__ import annotations

import pickle
import re

import dask.array as da
import nibabel as nib
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import voxarray as vx
from scans import AFFINE, voxels, write
from voxarray.testing.counting import count_reads
from voxarray.testing.strategies import affines, index_expressions, shapes

STATES = ("file", "gzip", "numpy", "loaded file", "tensor", "dask")


def image_of(state, array, affine, folder):
    if state == "numpy":
        return vx.ScalarImage(tensor=array, affine=affine)
    if state == "tensor":
        return vx.ScalarImage(tensor=torch.from_numpy(array), affine=affine)
    if state == "dask":
        return vx.ScalarImage(tensor=da.from_array(array, chunks=3), affine=affine)
    name = "scan.nii.gz" if state == "gzip" else "scan.nii"
    image = vx.ScalarImage(write(folder / name, array, affine))
    if state == "loaded file":
        image.load()
    return image


def ranges_of(key, shape):
    """What a key selects along C, W, H and D, said by NumPy."""
    items = key if isinstance(key, tuple) else (key,)
    axes = 4 if sum(item is not Ellipsis for item in items) == 4 else 3
    # Integers keep their axis.
    items = [
        slice(i % n, i % n + 1) if isinstance(i, (int, np.integer)) else i
        for i, n in _pairs(items, shape[-axes:])
    ]
    spatial = [np.arange(n)[i] for i, n in zip(items, shape[-axes:], strict=True)]
    return [np.arange(shape[0])] * (4 - axes) + spatial


def _pairs(items, sizes):
    explicit = [item for item in items if item is not Ellipsis]
    fill = [slice(None)] * (len(sizes) - len(explicit))
    at = next((n for n, item in enumerate(items) if item is Ellipsis), len(items))
    return zip([*explicit[:at], *fill, *explicit[at:]], sizes, strict=True)


@pytest.mark.parametrize("state", STATES)
@given(data=st.data(), affine=affines(), shape=shapes(max_size=6))
@settings(max_examples=25, deadline=None)
def test_law(tmp_path_factory, state, data, affine, shape):
    """world(sliced, p) == world(full, start + step * p), and the voxels are NumPy's."""
    full = voxels(shape)
    image = image_of(state, full, affine, tmp_path_factory.mktemp("law"))
    taken = [np.arange(n) for n in shape]
    with count_reads() as reads:
        for _ in range(data.draw(st.integers(1, 4))):
            key = data.draw(index_expressions(image.shape))
            picked = ranges_of(key, image.shape)
            taken = [old[new] for old, new in zip(taken, picked, strict=True)]
            image = image[key]
            if data.draw(st.booleans()):
                image = pickle.loads(pickle.dumps(image))
    assert reads.voxels == 0 or state in ("numpy", "tensor", "dask")
    assert image.shape == tuple(map(len, taken))
    expected = full[np.ix_(*taken)]
    np.testing.assert_array_equal(image.source.read(_all(image)), expected)
    np.testing.assert_array_equal(image.numpy(), expected)
    ends = np.array([(0, 0, 0), [n - 1 for n in image.spatial_shape]])
    old = np.array([[axis[0] for axis in taken[1:]], [axis[-1] for axis in taken[1:]]])
    world = old @ affine[:3, :3].T + affine[:3, 3]
    np.testing.assert_allclose(image.grid.to_world(ends), world, atol=2e-4)


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize("step", [-1, -2, 3])
def test_the_step_along_an_axis_of_one_voxel(tmp_path, state, axis, step):
    """It changes the affine, whether or not other axes are sliced, too."""
    shape = [2, 4, 3, 5]
    shape[axis + 1] = 1
    image = image_of(state, voxels(shape), AFFINE, tmp_path)
    key = [slice(None)] * 3
    key[axis] = slice(None, None, step)
    steps = np.ones(4)
    steps[axis] = step
    for sliced in (image[tuple(key)], image[tuple(key)][:, :, :], image[...][tuple(key)]):
        np.testing.assert_allclose(sliced.affine, AFFINE @ np.diag(steps), atol=2e-4)
        np.testing.assert_array_equal(sliced.numpy(), image.numpy())
        np.testing.assert_array_equal(sliced.array.vox.affine, sliced.affine)
    saved = tmp_path / "saved.ome.zarr"
    image[tuple(key)].save(saved)
    np.testing.assert_allclose(vx.ScalarImage(saved).affine, AFFINE @ np.diag(steps), atol=2e-4)


def _all(image):
    from voxarray.geometry.selection import Selection

    return Selection.whole(image.shape)


@pytest.mark.parametrize("state", STATES)
def test_a_slice_keeps_what_the_image_is(tmp_path, state):
    image = image_of(state, voxels(), AFFINE, tmp_path)
    image["site"] = "A"
    image.set_check_nans(True)
    child = image[1:, ..., ::-2]
    assert type(child) is vx.ScalarImage
    assert child["site"] == "A"
    assert child.check_nans
    assert (child.path, child["path"], child["stem"]) == (image.path, image["path"], image["stem"])
    assert ("data" in child) == ("data" in image)


@pytest.mark.parametrize(
    ("key", "error", "message"),
    [
        (5, IndexError, "index 5 is out of range along W, whose size is 5"),
        ((0, 0, -8), IndexError, "index -8 is out of range along D"),
        ((2, 0, 0, 0), IndexError, "index 2 is out of range along C"),
        ((0,) * 5, IndexError, "too many indices"),
        (slice(3, 3), ValueError, "3:3 selects no voxels along W"),
        (1.0, TypeError, "cannot be indexed with 1.0 (float)"),
        ([1, 2], TypeError, "use integers, slices"),
        (np.ones(5, bool), TypeError, "for masks and lists use image.array or image.data"),
        (None, TypeError, "cannot be indexed with None"),
        (True, TypeError, "cannot be indexed with True"),
        ((..., ...), TypeError, "one ellipsis"),
    ],
)
def test_what_is_no_slice(scan, key, error, message):
    with pytest.raises(error, match=re.escape(message)):
        vx.ScalarImage(scan)[key]


def test_a_slice_of_a_loaded_image_sees_what_was_edited(scan):
    image = vx.ScalarImage(scan)
    image.data[:] = 7
    assert (image[2:4].data == 7).all()
    assert (image[::-1].data == 7).all()
    for part in (image[2:4], image[3:1:-1], image[...]):
        part.data[:] = 9
        assert (image.data == 7).all(), "slices have voxels of their own, as in TorchIO"


def test_a_slice_that_is_unloaded_stays_that_slice(scan):
    image = vx.ScalarImage(scan)
    image.load()
    for child in (image[2:4, ::-1], vx.ScalarImage(scan)[2:4, ::-1]):
        child.load()
        child.data[:] = 0
        child.unload()
        assert child.shape == (2, 2, 6, 7)
        np.testing.assert_array_equal(child.data, voxels()[:, 2:4, ::-1])


def test_a_slice_reads_what_it_shows_only(save_nifti):
    image = vx.ScalarImage(save_nifti("scan.nii", voxels((1, 40, 40, 40))))
    with count_reads() as reads:
        assert image[10:20, 3, ::-2].data.shape == (1, 10, 1, 20)
    assert reads.voxels == 200


def test_time_survives(save_nifti):
    path = save_nifti("bold.nii", voxels((6, 3, 4, 5)), pixdim=[1, 1, 1, 1, 2.5, 0, 0, 0])
    image = vx.ScalarImage(path)
    kind, step = image.source.channels.kind, image.source.channels.step
    assert kind == "time"
    child = image[::2, :, :, :]
    assert child.source.channels.step == 2 * step
    child.load()
    assert (child.source.channels.kind, child.source.channels.step) == ("time", 2 * step)
    child.set_data(child.data + 1)
    assert child.source.channels.kind == "time"
    child.set_data(torch.zeros(1, 3, 4, 5))
    assert child.source.channels.kind == "channel"


def test_backwards_in_time_the_step_is_unknown(tmp_path):
    """A negative one is held by no format, and read by no program."""
    stored = nib.Nifti1Image(np.arange(48, dtype="f4").reshape(2, 2, 2, 6), np.eye(4))
    stored.header["pixdim"][4], stored.header["toffset"] = 2, 7
    stored.header.set_xyzt_units("mm", "sec")
    nib.save(stored, tmp_path / "series.nii")
    series = vx.ScalarImage(tmp_path / "series.nii")
    backwards = series[::-1, :, :, :]
    assert (backwards.source.channels.kind, backwards.source.channels.step) == ("time", 0)
    assert backwards[::-1, :, :, :].source.channels.step == 2
    assert series[4:1:-2, :, :, :].source.channels.step == 0
    backwards.save(tmp_path / "backwards.nii")
    header = nib.load(tmp_path / "backwards.nii").header
    assert (header["pixdim"][4], header["toffset"]) == (0, 0)
    backwards.save(tmp_path / "backwards.ome.zarr")
    assert vx.ScalarImage(tmp_path / "backwards.ome.zarr").source.channels.step == 0
    series[:, ::-1].save(tmp_path / "flipped.nii")
    header = nib.load(tmp_path / "flipped.nii").header
    assert (header["pixdim"][4], header["toffset"]) == (2, 7)


def test_a_mask_as_index_is_told_by_its_shape_and_not_value_by_value():
    image = vx.testing.sample()
    for mask, told in (
        (image.data > 0, r"\(Tensor of \(1, 64, 56, 48\)\)"),
        (image.numpy() > 0, r"\(ndarray of \(1, 64, 56, 48\)\)"),
    ):
        with pytest.raises(TypeError, match=told) as caught:
            image[mask]
        assert len(str(caught.value)) < 300
        assert "image.array" in str(caught.value)
