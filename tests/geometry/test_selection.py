"""Index expressions become ranges as NumPy would take them, and compose exactly."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxarray.core.errors import OutOfRangeError, SelectionError
from voxarray.geometry.selection import Selection, matrix
from voxarray.testing.strategies import index_expressions, shapes

WHOLE = Selection.whole((3, 10, 8, 6))


def positions(shape) -> np.ndarray:
    """Its own index at each voxel of (C, W, H, D)."""
    return np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)


def numpys(array: np.ndarray, key) -> np.ndarray:
    items = key if isinstance(key, tuple) else (key,)
    kept = tuple(
        item if isinstance(item, slice) or item is ... else slice(item, item + 1 or None)
        for item in items
    )
    if sum(item is not ... for item in kept) < 4:
        kept = (slice(None), *kept)
    if not any(item is ... for item in kept):
        kept = (*kept, ...)
    if len(kept) == 5 and array.ndim == 5:
        return array[(*(item for item in kept if item is not ...), slice(None))]
    return array[(*kept, slice(None))]


@settings(max_examples=40)
@given(data=st.data(), shape=shapes())
def test_any_index_is_numpys(data, shape):
    key = data.draw(index_expressions(shape))
    taken = Selection.whole(shape)[key]
    expected = numpys(positions(shape), key)
    assert taken.shape == expected.shape[:4]
    for axis, chosen in enumerate(taken):
        along = np.moveaxis(expected[..., axis], axis, 0).reshape(len(chosen), -1)[:, 0]
        assert list(chosen) == along.tolist()


@settings(max_examples=40)
@given(data=st.data(), shape=shapes())
def test_selections_compose_as_arrays_do(data, shape):
    array = np.arange(np.prod(shape)).reshape(shape)
    outer = Selection.whole(shape)[data.draw(index_expressions(shape))]
    inner = Selection.whole(outer.shape)[data.draw(index_expressions(outer.shape))]
    both = outer.compose(inner)
    assert np.array_equal(array[both.slices()], array[outer.slices()][inner.slices()])
    assert (
        both == outer[tuple(slice(r.start, None if r.stop < 0 else r.stop, r.step) for r in inner)]
    )


@settings(max_examples=40)
@given(data=st.data(), shape=shapes())
def test_a_box_holds_the_selection(data, shape):
    array = np.arange(np.prod(shape)).reshape(shape)
    chosen = Selection.whole(shape)[data.draw(index_expressions(shape))]
    box = chosen.bounding_box()
    assert all(r.step == 1 for r in box)
    held = array[box.slices()]
    assert np.array_equal(held[chosen.slices(box)], array[chosen.slices()])
    ends = [(min(r), max(r)) for r in chosen]
    assert [(r[0], r[-1]) for r in box] == ends


@settings(max_examples=40)
@given(data=st.data(), shape=shapes())
def test_matrix_maps_indices(data, shape):
    chosen = Selection.whole(shape)[data.draw(index_expressions(shape))]
    A = matrix(chosen.spatial)
    last = [len(r) - 1 for r in chosen.spatial]
    assert (A @ [0, 0, 0, 1])[:3].tolist() == [r[0] for r in chosen.spatial]
    assert (A @ [*last, 1])[:3].tolist() == [r[-1] for r in chosen.spatial]


def test_one_to_three_indices_are_spatial_and_four_begin_with_channels():
    assert WHOLE[2].shape == (3, 1, 8, 6)
    assert WHOLE[..., 2].shape == (3, 10, 8, 1)
    assert WHOLE[1, 2].shape == (3, 1, 1, 6)
    assert WHOLE[0, 1, 2, 3].shape == (1, 1, 1, 1)
    assert WHOLE[0, ..., 3].shape == (3, 1, 8, 1)
    assert WHOLE[...] == WHOLE[()] == WHOLE


def test_values_are_hashable_and_picklable():
    assert {WHOLE, Selection.whole((3, 10, 8, 6))} == {WHOLE}
    assert pickle.loads(pickle.dumps(WHOLE[::2])) == WHOLE[::2]
    assert Selection.box((0, 3), (0, 10), (0, 8), (0, 6)) == WHOLE


@pytest.mark.parametrize("key", [10, -11, (0, 8), (0, 0, 0, 6), np.int64(10)])
def test_beyond_the_image(key):
    with pytest.raises(OutOfRangeError, match="out of range along") as caught:
        WHOLE[key]
    assert isinstance(caught.value, IndexError)


def test_too_many_indices():
    with pytest.raises(OutOfRangeError, match="too many indices: 5") as caught:
        WHOLE[0, 0, 0, 0, 0]
    assert caught.value.code == "TOO_MANY_INDICES"


@pytest.mark.parametrize("key", [slice(5, 5), slice(20, 30), slice(2, 8, -1), (..., slice(0, 0))])
def test_no_voxels(key):
    with pytest.raises(SelectionError, match="selects no voxels along") as caught:
        WHOLE[key]
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    "key",
    [1.0, "a", None, [1, 2], np.array([1]), np.ones(10, bool), True, np.True_, slice(0.5, 2), {}],
)
def test_what_cannot_index(key):
    with pytest.raises(TypeError, match=r"use integers, slices|may hold one"):
        WHOLE[key]


def test_one_ellipsis():
    with pytest.raises(TypeError, match="one ellipsis"):
        WHOLE[..., 0, ...]


def test_a_step_of_zero():
    with pytest.raises(ValueError, match="zero"):
        WHOLE[::0]


def test_anything_with_an_index_is_an_integer():
    class Three:
        def __index__(self) -> int:
            return 3

    assert WHOLE[Three()] == WHOLE[np.uint8(3)] == WHOLE[3]
