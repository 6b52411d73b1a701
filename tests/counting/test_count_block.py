"""Counts of a block, by numpy: of noise, of regions, of values of every type."""

import numpy as np
import pytest

from voxarray.counting.cells import count_block


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
