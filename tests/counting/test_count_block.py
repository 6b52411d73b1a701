"""Counts of a block, by numpy: of noise, of regions, of values of every type."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxarray.counting.cells import _count_few, count_block


def regions(dtype: str) -> np.ndarray:
    values = np.random.default_rng(0).integers(0, 5, (4, 3, 2)).repeat(9, 0).repeat(20, 1)
    return values.repeat(17, 2).astype(dtype)


@pytest.mark.parametrize("dtype", ["?", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"])
@pytest.mark.parametrize("kind", ["regions", "borders", "noise", "constant", "one"])
def test_counts_are_numpys(dtype, kind):
    block = regions(dtype)
    if kind == "noise":
        block = np.random.default_rng(1).integers(0, 99, block.shape).astype(dtype)
    elif kind == "borders" and dtype != "?":
        limits = (np.iinfo if block.dtype.kind in "iu" else np.finfo)(dtype)
        block[0, 0, 0], block[-1, -1, -1] = limits.min, limits.max
    elif kind == "constant":
        block[...] = 1
    elif kind == "one":
        block = block[:1, :1, :1]
    for view in (block, block[1:, ::2, 1:] if kind != "one" else block, block.transpose(2, 0, 1)):
        values, counts = count_block(view)
        expected, numbers = np.unique(view, return_counts=True)
        assert values.dtype == block.dtype
        assert counts.dtype == np.int64
        np.testing.assert_array_equal(values, expected)
        np.testing.assert_array_equal(counts, numbers)


@settings(deadline=None, max_examples=60)
@given(
    size=st.tuples(*[st.integers(1, 40)] * 3),
    dtype=st.sampled_from(["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8"]),
    values=st.integers(1, 30),
    rare=st.integers(0, 600),
    edge=st.integers(1, 6),
    seed=st.integers(0, 2**32 - 1),
)
def test_counts_of_any_labels_are_numpys(size, dtype, values, rare, edge, seed):
    """In regions and as noise, with voxels of other values that a sample may show or not."""
    rng = np.random.default_rng(seed)
    block = rng.integers(0, values, [n // edge + 1 for n in size])
    for axis in range(3):
        block = block.repeat(edge, axis)
    block = (block * 4 + np.iinfo(dtype).min).astype(dtype)[tuple(slice(0, n) for n in size)]
    block.reshape(-1)[rng.integers(0, block.size, rare)] = rng.integers(0, 127, rare)
    values, counts = count_block(block)
    expected, numbers = np.unique(block, return_counts=True)
    assert (values.dtype, counts.dtype) == (block.dtype, np.int64)
    np.testing.assert_array_equal(values, expected)
    np.testing.assert_array_equal(counts, numbers)


@pytest.mark.parametrize(("dtype", "values"), [("u1", 12), ("i2", 20), ("u8", 20)])
def test_few_values_are_compared_though_a_sample_misses_some(dtype, values):
    flat = np.random.default_rng(0).integers(3, 3 + values, 1 << 15).astype(dtype)
    flat[[1, 2, 500]] = 1, 100, 100  # not where the sample is taken
    assert not {1, 100} & set(flat[:: flat.size // 1024 | 1].tolist())
    found, counts = _count_few(flat)
    expected, numbers = np.unique(flat, return_counts=True)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(counts, numbers)
