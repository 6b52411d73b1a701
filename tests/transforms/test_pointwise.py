"""Functions of single voxels, which are applied to a few at a time however voxels lie in memory."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from voxarray.ops.pointwise import _STEP, in_steps

MOST = 2 * _STEP


def _checked(voxels):
    given_sizes = []

    def doubled(values):
        given_sizes.append(values.size)
        return values.astype(np.float64) * 2

    found = in_steps(doubled, voxels, np.dtype(np.float32))
    np.testing.assert_array_equal(found, (voxels.astype(np.float64) * 2).astype(np.float32))
    assert found.dtype == np.float32
    assert sum(given_sizes) == voxels.size
    assert max(given_sizes, default=0) <= MOST


@given(st.data())
def test_any_view_gives_the_same(data):
    shape = data.draw(hnp.array_shapes(min_dims=4, max_dims=4, max_side=6))
    voxels = np.arange(np.prod(shape), dtype=np.int16).reshape(shape)
    voxels = voxels.transpose(data.draw(st.permutations(range(4))))
    _checked(voxels[tuple(data.draw(st.slices(size)) for size in voxels.shape)])


def test_large_views_are_never_copied_whole():
    voxels = np.zeros((2, 130, 140, 150), np.int16)
    for view in (
        voxels,
        voxels[:, ::2],
        voxels[..., ::-3],
        voxels[:, 1:, 1:-1, 1:],
        voxels.transpose(0, 3, 2, 1)[:, ::-1, ::2],
        np.broadcast_to(voxels[:1, :1], voxels.shape),
        voxels[:1, :1, :1, :0],
        voxels[:, :, :1, :1],
    ):
        _checked(view)
    _checked(np.zeros((1, 1, 1, 3 * _STEP), np.int16)[..., ::2])
