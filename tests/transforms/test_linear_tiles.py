"""Linear interpolation in tiles has the bits of whole arrays, in any memory order and size."""

from __future__ import annotations

import itertools
from unittest import mock

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from voxarray.geometry.grid import Grid
from voxarray.geometry.selection import Selection
from voxarray.ops import linear_tiles
from voxarray.ops.kernels import KERNELS
from voxarray.ops.linear_tiles import blend_in_tiles
from voxarray.ops.resampling import Resampled
from voxarray.ops.samples import as_stored, working_dtype
from voxarray.ops.separable import Axis
from voxarray.source.array import ArraySource

LINEAR = KERNELS["linear"]


@st.composite
def axes(draw: st.DrawFn, size: int) -> Axis:
    """Positions along an axis of so many voxels: finer, coarser, reversed or copied."""
    count = draw(st.integers(1, 9))
    is_copied = draw(st.integers(0, 3)) == 0
    if is_copied:
        positions = np.array(draw(st.lists(st.integers(0, size - 1), min_size=1, max_size=9)))
        positions = np.sort(positions).astype(float)
    else:
        ends = draw(st.tuples(*[st.floats(-0.5, size - 0.51)] * 2))
        positions = np.linspace(*ends, count)
    return Axis(*LINEAR.taps(positions, size), draw(st.sampled_from((0.3, 1.0, 2.5))), is_copied)


def whole(voxels: np.ndarray, along: list[Axis], dtype: np.dtype) -> np.ndarray:
    """One axis after the other, each as one expression."""
    values = voxels.astype(working_dtype(voxels.dtype, LINEAR))
    for n in sorted(range(3), key=lambda n: (-along[n].ratio, -n)):
        first, second = (np.take(values, i, n + 1) for i in along[n].indices.T)
        shape = [-1 if axis == n + 1 else 1 for axis in range(4)]
        weight = along[n].weights[:, 1].astype(values.dtype).reshape(shape)
        blended = first + (second - first) * weight
        values = np.where(weight, second, first) if along[n].is_copied else blended
    return as_stored(values, dtype)


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_tiles_have_the_bits_of_the_whole(data):
    shape = data.draw(st.tuples(st.integers(1, 2), *[st.integers(1, 11)] * 3))
    dtype = np.dtype(data.draw(st.sampled_from(["u1", "i2", "u4", "i8", "f2", "f4", "f8"])))
    order = data.draw(st.sampled_from(list(itertools.permutations(range(3)))))
    flips = data.draw(st.tuples(*[st.sampled_from((1, -1))] * 3))
    stored = np.dtype(data.draw(st.sampled_from([dtype.str, "i2", "f4"])))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    ordered = rng.integers(0, 200, (shape[0], *(shape[n + 1] for n in order))).astype(dtype)
    voxels = ordered.transpose(0, *(1 + np.argsort(order)))
    voxels = voxels[(slice(None), *(slice(None, None, step) for step in flips))]
    along = [data.draw(axes(size)) for size in shape[1:]]
    result = np.empty((shape[0], *(len(one.indices) for one in along)), stored)
    is_within = stored == dtype and dtype.kind in "iu" and dtype.itemsize <= 4
    work = working_dtype(dtype, LINEAR)
    with mock.patch.object(linear_tiles, "_TILE", data.draw(st.sampled_from((1, 20, 1 << 15)))):
        blend_in_tiles(result, voxels, along, work, is_within)
    np.testing.assert_array_equal(result, whole(voxels, along, stored), strict=True)


def test_what_a_part_holds_does_not_grow_with_its_planes():
    base = ArraySource(np.zeros((1, 600, 500, 400), np.int16), np.eye(4))
    grid = Grid((400, 333, 266), np.diag([1.5, 1.5, 1.5, 1]))
    costs = []
    for depth in (20, 200):
        selection = Selection.whole((1, 400, 333, depth))
        (part,) = Resampled.onto(base, grid).needs(selection)
        voxels = 2 * (np.prod(part.shape) + np.prod(selection.shape))
        costs.append(Resampled.onto(base, grid).cost(selection) - 2 * int(voxels))
    assert costs[0] == costs[1] < 4 << 20


def test_a_tile_of_every_eighth_row_is_no_larger():
    voxels = np.zeros((1, 64, 4096, 4), np.float32).transpose(0, 3, 2, 1)  # x lies together
    along = [
        Axis(*LINEAR.taps(np.arange(n) * step + 0.5, n * step), 1.0, False)
        for n, step in ((1, 1), (512, 8), (32, 2))
    ]  # as ratios of the grids, not of the part
    along[0] = Axis(*LINEAR.taps(np.zeros(1) + 0.5, 4), 1.0, False)
    heights = []
    original = linear_tiles._through_planes

    def watched(planes, *arguments):
        heights.append(planes.shape[1] * planes.shape[2])
        original(planes, *arguments)

    result = np.empty((1, 1, 512, 32), np.float32)
    with mock.patch.object(linear_tiles, "_through_planes", watched):
        blend_in_tiles(result, voxels, along, np.dtype(np.float32), False)
    assert max(heights) <= (1 << 15) + 3 * 64
