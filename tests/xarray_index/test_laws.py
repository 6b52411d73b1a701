"""Whatever is done to an array, its affine is the one that exact algebra gives.

By our index, and by the coordinates and ``spatial_ref`` alone; voxels are NumPy's.
"""

import os
import pickle
from dataclasses import dataclass, replace

import dask.array as da
import numpy as np
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from voxarray.geometry.grid import Grid
from voxarray.geometry.selection import matrix
from voxarray.testing.strategies import affines, integers, shapes, slices
from voxarray.xarray_index.affine_index import index_of
from voxarray.xarray_index.attach import DIMS, affine_of, attach, grid_of, plain_affine, reattach

EXPLORES = os.environ.get("HYPOTHESIS_PROFILE") == "explore"
LAWS = settings(
    max_examples=150 if EXPLORES else 60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)


@dataclass
class Model:
    """What the array should be: voxels (C, W, H, D) and affine, by NumPy and `matrix` alone."""

    voxels: np.ndarray
    affine: np.ndarray

    def take(self, axis, taken):
        ranges = [range(n) for n in self.voxels.shape]
        ranges[axis] = taken
        chosen = np.take(self.voxels, list(taken), axis)
        return Model(chosen, self.affine @ matrix(tuple(ranges[1:])))


def check(array, model):
    """The array is the model, by the index and by the plain coordinates."""
    exact = np.abs(model.affine[:3]).max() * 1e-12
    assert index_of(array) is not None
    assert np.allclose(affine_of(array), model.affine, rtol=0, atol=exact)
    assert np.allclose(plain_affine(array), model.affine, rtol=0, atol=1e3 * exact)
    assert grid_of(array).shape == model.voxels.shape[1:]
    assert np.allclose(array.vox.spacing, Grid((1, 1, 1), model.affine).spacing, atol=1e-9)
    full = array.variable.set_dims(("c", *DIMS))
    assert np.array_equal(full.values, model.voxels)


def sliced(draw, array, model):
    dim = draw(st.sampled_from([d for d in array.dims if d != "c"]))
    key = draw(slices(array.sizes[dim]))
    return array.isel({dim: key}), model.take(DIMS.index(dim) + 1, range(array.sizes[dim])[key])


def picked(draw, array, model):
    dim = draw(st.sampled_from([d for d in array.dims if d != "c"]))
    key = draw(integers(array.sizes[dim]))
    n = key % array.sizes[dim]
    return array.isel({dim: key}), model.take(DIMS.index(dim) + 1, range(n, n + 1))


def listed(draw, array, model):
    dim = draw(st.sampled_from([d for d in array.dims if d != "c"]))
    size = array.sizes[dim]
    taken = range(size)[draw(slices(size))]
    key = draw(st.sampled_from(["list", "array", "variable", "mask"]))
    if key == "mask":
        taken = taken if taken.step > 0 else taken[::-1]
        keep = np.isin(np.arange(size), list(taken))
        # One voxel of a mask or a list has no step of its own: it keeps that of the axis.
        return array.isel({dim: keep}), model.take(DIMS.index(dim) + 1, unstepped(taken))
    keys = {
        "list": list(taken),
        "array": np.array(taken) - size,
        "variable": xr.Variable((dim,), list(taken)),
    }
    return array.isel({dim: keys[key]}), model.take(DIMS.index(dim) + 1, unstepped(taken))


def unstepped(taken):
    return taken if len(taken) > 1 else range(taken[0], taken[0] + 1)


def halves(draw, array, model):
    dim = draw(st.sampled_from([d for d in array.dims if d != "c"]))
    cut = draw(st.integers(0, array.sizes[dim]))
    pieces = [array.isel({dim: slice(cut)}), array.isel({dim: slice(cut, None)})]
    pieces = [piece for piece in pieces if piece.sizes[dim]]
    return xr.concat(pieces, dim), model


def by_millimetres(draw, array, model):
    dim = draw(st.sampled_from([d for d in array.dims if d != "c"]))
    size = array.sizes[dim]
    a, b = sorted(draw(st.tuples(st.integers(0, size - 1), st.integers(0, size - 1))))
    ends = array[dim].values[[a, b]]
    ends = ends if draw(st.booleans()) else ends[::-1]
    chosen = array.sel({dim: slice(*map(float, ends))})
    return chosen, model.take(DIMS.index(dim) + 1, range(a, b + 1))


def transposed(draw, array, model):
    return array.transpose(*draw(st.permutations(array.dims))), model


def rechunked(draw, array, model):
    return array.chunk(dict.fromkeys(array.dims, draw(st.integers(1, 4)))), model


def arithmetic(draw, array, model):
    return array * 2 + array, replace(model, voxels=model.voxels * 3)


def retyped(draw, array, model):
    return array.astype("f4"), replace(model, voxels=model.voxels.astype("f4"))


def pickled(draw, array, model):
    return pickle.loads(pickle.dumps(array)), model


def filtered(draw, array, model):
    limit = int(np.median(model.voxels))
    return array.where(array > limit, 0), replace(
        model, voxels=np.where(model.voxels > limit, model.voxels, 0)
    )


def averaged(draw, array, model):
    if "c" not in array.dims:
        return array, model
    voxels = model.voxels.mean(0, keepdims=True, dtype="f8")
    return array.astype("f8").mean("c"), replace(model, voxels=voxels)


def aligned(draw, array, model):
    """Adding a part of it leaves that part, wherever the part lies and however it runs."""
    part, of_part = sliced(draw, array, model)
    # What lost an axis to an integer, or is coarser, refuses (test_affine_index).
    if set(DIMS) - set(array.dims) or any(abs(s) != 1 for s in steps_between(array, part)):
        return array, model
    inner, _ = xr.align(part, array, join="inner")
    return inner, of_part


def steps_between(whole, part):
    """Steps of the part, in voxels of the whole, along axes where it has more than one voxel."""
    relative = np.linalg.solve(affine_of(whole), affine_of(part))
    return [
        round(relative[n, n]) for n, d in enumerate(DIMS) if d in part.dims and part.sizes[d] > 1
    ]


OPERATIONS = [
    sliced, sliced, picked, listed, halves, by_millimetres, transposed, rechunked, arithmetic,
    retyped, pickled, filtered, averaged, aligned,
]  # fmt: skip


@LAWS
@given(st.data(), affines(), shapes(), st.booleans())
def test_chains_of_operations(data, affine, shape, lazy):
    voxels = np.arange(np.prod(shape), dtype="i4").reshape(shape)
    array = attach(da.from_array(voxels, chunks=3) if lazy else voxels, affine)
    model = Model(voxels, affine)
    check(array, model)
    for _ in range(data.draw(st.integers(1, 4))):
        spatial = [d for d in array.dims if d != "c"]
        operation = data.draw(st.sampled_from(OPERATIONS if spatial else [pickled, retyped]))
        array, model = operation(data.draw, array, model)
    check(array, model)


@LAWS
@given(affines(), shapes())
def test_an_untouched_image_keeps_its_affine_to_the_bit(affine, shape):
    array = attach(np.zeros(shape), affine)
    assert np.array_equal(affine_of(array), affine + 0.0)
    again = array.isel(x=slice(None, None, -1)).isel(x=slice(None, None, -1), y=slice(None))
    back = affine_of(again.transpose("z", ...))
    assert np.array_equal(back, affine + 0.0)


@LAWS
@given(st.data(), affines(), shapes())
def test_plain_coordinates_make_an_equal_index(data, affine, shape):
    array = attach(np.zeros(shape), affine)
    for _ in range(3):
        if any(d in array.dims for d in DIMS):
            array, _ = data.draw(st.sampled_from([sliced, picked]))(
                data.draw, array, Model(array.variable.set_dims(("c", *DIMS)).values, affine)
            )
    plain = array.drop_indexes(DIMS, errors="ignore")
    assert index_of(plain) is None
    back = reattach(plain)
    assert index_of(back) is not None
    assert np.allclose(affine_of(back), affine_of(array), rtol=1e-9, atol=1e-9)
    assert (back + array).sizes == array.sizes


@LAWS
@given(st.data(), affines(min_spacing=0.5), shapes(min_size=2))
def test_a_hair_apart_aligns_and_a_tenth_does_not(data, affine, shape):
    array = attach(np.ones(shape), affine)
    direction = np.array(data.draw(st.sampled_from([(1, 0, 0), (0, -1, 0), (1, 1, 1)])), float)
    near, far = affine.copy(), affine.copy()
    near[:3, 3] += 1e-7 * direction
    far[:3, 3] += 0.1 * affine[:3, :3] @ direction
    total = array + attach(np.ones(shape), near)
    assert total.shape == shape
    assert np.array_equal(total.vox.affine, array.vox.affine)
    with pytest.raises(ValueError, match="resample one onto the other first"):
        array + attach(np.ones(shape), far)
