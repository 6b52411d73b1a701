"""Chains of xarray's operations on voxels that hold their own place, against their affine."""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from voxarray.core.errors import GridError
from voxarray.testing.strategies import affines
from voxarray.xarray_index.attach import DIMS, affine_of, attach


def world(affine, shape):
    index = np.indices(shape).reshape(3, -1)
    return (affine[:3, :3] @ index + affine[:3, 3:]).reshape(3, *shape)


def concatenated(array, dim, k):
    parts = [array.isel({dim: slice(None, k)}), array.isel({dim: slice(k, None)})]
    return xr.concat([part for part in parts if part.sizes[dim]], dim)


_TOO_SMALL = (GridError, ValueError, KeyError, IndexError)
"""What xarray says of arrays that are too small for an operation, and we of grids that are none."""

OPERATIONS = {
    "every second": lambda a, d, k: a.isel({d: slice(k % 2, None, 2)}),
    "reversed": lambda a, d, _k: a.isel({d: slice(None, None, -1)}),
    "head": lambda a, d, k: a.head({d: k + 1}),
    "tail": lambda a, d, k: a.tail({d: k + 1}),
    "sel": lambda a, d, k: a.sel({d: slice(float(a[d][0]), float(a[d][k]))}),
    "list": lambda a, d, k: a.isel({d: list(range(min(k, a.sizes[d] - 1) + 1))}),
    "one": lambda a, d, k: a.isel({d: [k]}),
    "sortby": lambda a, d, k: a.sortby(d, ascending=bool(k % 2)),
    "transpose": lambda a, _d, k: a.transpose(*[("c", *DIMS), ("z", "c", "y", "x")][k % 2]),
    "concat": concatenated,
    "interp": lambda a, d, _k: a.interp({d: a[d].values[:1] + np.arange(3) * 0.25}),
    "interp_like": lambda a, d, _k: a.interp_like(a.isel({d: slice(None, None, 2)})),
    "coarsen": lambda a, d, _k: a.coarsen({d: 2}, boundary="trim").reduce(np.mean),
    "reindex_like": lambda a, d, _k: a.isel({d: slice(1, None)}).reindex_like(a),
    "align": lambda a, d, k: xr.align(a, a.isel({d: slice(k, None)}), join="inner")[0],
    "add": lambda a, d, k: a + 0 * a.isel({d: slice(k, None)}),
    "where": lambda a, d, k: a.where(a[d] >= float(a[d][k]), drop=True),
    "detached": lambda a, _d, _k: xr.map_blocks(lambda b: b * 1.0, a.vox.detach()).vox.reattach(),
    "stored": lambda a, _d, _k: xr.DataArray.from_dict(a.to_dict()).vox.reattach(),
    "thin": lambda a, d, _k: a.thin({d: 2}),
    "rolled": lambda a, d, k: a.roll({d: k}, roll_coords=True),
    "padded": lambda a, d, _k: a.pad({d: 1}),
}


@given(
    affine=affines(),
    shape=st.tuples(*[st.integers(1, 9)] * 3),
    chain=st.lists(
        st.tuples(st.sampled_from(sorted(OPERATIONS)), st.sampled_from(DIMS), st.integers(0, 8)),
        min_size=1,
        max_size=4,
    ),
)
@settings(max_examples=1500, deadline=None)
def test_the_affine_says_what_the_voxels_say(affine, shape, chain):
    """Or there is none, and asking for it is an error by name."""
    array = attach(world(affine, shape), affine, name="image")
    for name, dim, k in chain:
        try:
            array = OPERATIONS[name](array, dim, min(k, array.sizes[dim] - 1))
        except (*_TOO_SMALL, pd.errors.InvalidIndexError):
            return
    try:
        found = affine_of(array)
    except GridError:
        return
    array = array.transpose("c", *DIMS)
    if 0 in array.shape:
        return
    expected = world(found, array.shape[1:])
    inside = np.isfinite(array.values).all(0)
    size = np.abs(expected).max() + 1
    np.testing.assert_allclose(array.values[:, inside], expected[:, inside], atol=1e-9 * size)
