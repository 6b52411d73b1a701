"""Interpolation slab by slab: SciPy's numbers, and the same bits however thick slabs are."""

from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates

from voxarray.geometry.grid import Grid
from voxarray.geometry.selection import Selection
from voxarray.ops import accelerated, separable
from voxarray.ops.resampling import Resampled
from voxarray.source.array import ArraySource

DTYPES = ["u1", "i1", "u2", "i2", "i4", "u4", "i8", "f2", "f4", "f8", ">i2"]


@st.composite
def cases(draw):
    """Voxels in any order of memory, and a grid whose axes are parallel to theirs."""
    shape = draw(st.tuples(st.integers(1, 3), *[st.integers(1, 40)] * 3))
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    if dtype.kind == "f":
        voxels = (rng.standard_normal(shape) * 100).astype(dtype)
    else:
        info = np.iinfo(dtype)
        low, high = max(info.min, -(2**40)), min(info.max, 2**40)  # beyond, float64 has gaps
        voxels = rng.choice([low, high, 0, 1, high // 3], shape).astype(dtype)
    order = draw(st.permutations(range(4)))
    voxels = np.ascontiguousarray(voxels.transpose(order)).transpose(np.argsort(order))
    steps = st.sampled_from([1.0, -1.0, 2.0, 0.5, 0.8, 1.5, -0.7, 3.1])
    affine = np.eye(4)
    affine[:3, :3] = np.diag([draw(steps) for _ in range(3)])[:, draw(st.permutations(range(3)))]
    for axis in range(3):
        backwards = affine[axis, :3].sum() < 0
        affine[axis, 3] = (shape[axis + 1] - 1) * backwards + draw(st.sampled_from([0, 0.25, -2]))
    return voxels, Grid(draw(st.tuples(*[st.integers(1, 40)] * 3)), affine)


def read(voxels, grid, slab):
    """By NumPy, in slabs of that many voxels."""
    resampled = Resampled.onto(ArraySource(voxels, np.eye(4)), grid, "linear", fill=[7])
    with (
        mock.patch.object(accelerated, "_compiled_loops", return_value=None),
        mock.patch.object(separable, "_SLAB", slab),
    ):
        return resampled.read(Selection.whole(resampled.shape))


@settings(deadline=None, max_examples=60)
@given(cases(), st.sampled_from([1, 300, 5000]))
def test_slabs_of_any_thickness_are_scipys(case, slab):
    voxels, grid = case
    found = read(voxels, grid, slab)
    np.testing.assert_array_equal(found, read(voxels, grid, 1 << 40))
    places = np.indices(grid.shape).reshape(3, -1)
    points = grid.affine[:3, :3] @ places + grid.affine[:3, 3:]
    size = np.array(voxels.shape[1:])[:, None]
    inside = ((points >= -0.5 - 1e-6) & (points < size - 0.5 - 1e-6)).all(axis=0)
    assert (found.reshape(len(voxels), -1)[:, ~inside] == 7).all()
    for channel, out in zip(voxels, found, strict=True):
        numbers = channel.astype(np.float64)
        expected = map_coordinates(numbers, points[:, inside], order=1, mode="nearest")
        seen = out.reshape(-1)[inside].astype(np.float64)
        scale = float(np.abs(numbers).max()) + 1
        if voxels.dtype.kind == "f":
            unit = np.finfo(voxels.dtype).eps
            np.testing.assert_allclose(seen, expected, atol=4 * scale * unit, rtol=0)
        else:  # cut off towards zero
            noise = 1e-11 * scale
            low, high = np.trunc(expected - noise), np.trunc(expected + noise)
            assert ((seen >= low) & (seen <= high)).all()


@pytest.mark.parametrize("dtype", ["u1", "i2", "i4", "u4", "i8", "u8"])
def test_the_ends_of_integers_stay_what_they_are(dtype):
    info = np.iinfo(dtype)
    grid = Grid((11, 8, 6), np.diag([0.5, 0.7, 0.9, 1]))
    for value in (info.min, info.max):
        voxels = np.full((1, 6, 6, 6), value, dtype)
        expected = np.float64(value)
        found = read(voxels, grid, 1).astype(np.float64)
        np.testing.assert_allclose(found, expected, rtol=1e-15 if voxels.itemsize == 8 else 0)
