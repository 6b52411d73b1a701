"""One pyramid level from the one above it, block by block.

A block is (n, z, y, x); factors are powers of two along z, y, x. A remainder at the far end
of an axis is left out: every voxel of a level is made of whole cells, and its position is exact.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from voxarray.geometry.layout import Factors

Reduction = Callable[[NDArray, Factors], NDArray]


def mean(block: NDArray, factors: Factors) -> NDArray:
    """Mean of each cell in the block's type; integers round half up.

    Floating-point sums are made in the block's own precision, half precision in single.
    """
    block = _whole_cells(block, factors)
    count = math.prod(factors)
    if block.dtype.kind in "iu":
        return _integer_mean(block, factors, count)
    wide = np.result_type(block.dtype, np.float32)
    with np.errstate(over="ignore", invalid="ignore"):  # a mean of infinities is what it is
        total = _sum(block.astype(wide, copy=False), factors, wide)
        total *= 1 / count  # exact: count is a power of two
        return total.astype(block.dtype, copy=False)


def mode(block: NDArray, factors: Factors) -> NDArray:
    """Most frequent value of each cell; of equally frequent ones the smallest."""
    block = _whole_cells(block, factors)
    members = _members(block, factors)
    result = members[0].copy()
    mixed = np.zeros(result.shape, bool)
    with np.errstate(invalid="ignore"):  # NaN is a value like others: none equals it
        for other in members[1:]:
            mixed |= other != result
        if mixed.any():
            result[mixed] = _vote(np.stack([member[mixed] for member in members]))
    return result


def _vote(cells: NDArray) -> NDArray:
    """Mode of the columns of (members, cells)."""
    cells.sort(axis=0)
    count = cells.shape[0]
    best: NDArray = cells[0].copy()
    best_run = np.ones(cells.shape[1], np.int8)
    run = best_run.copy()
    for row in range(1, count):
        run = np.where(cells[row] == cells[row - 1], run + 1, 1).astype(np.int8)
        longer = run > best_run  # strictly: the smaller value came first and keeps a tie
        best[longer], best_run[longer] = cells[row][longer], run[longer]
    return best


def _integer_mean(block: NDArray, factors: Factors, count: int) -> NDArray:
    shift = count.bit_length() - 1
    if block.dtype.itemsize < 8:
        wide = np.dtype(np.int32 if block.dtype.itemsize <= 2 else np.int64)
        total = _sum(block, factors, wide)
        total += count >> 1
        total >>= shift
        return total.astype(block.dtype)
    # Sums of 64-bit integers can overflow: quotients and remainders cannot.
    quotients = _sum(block >> shift, factors, block.dtype)
    remainders = _sum(block & (count - 1), factors, block.dtype)
    quotients += (remainders + (count >> 1)) >> shift
    return quotients


def _sum(block: NDArray, factors: Factors, dtype: np.dtype) -> NDArray:
    for axis, factor in enumerate(factors, start=1):
        for _ in range(factor.bit_length() - 1):
            even, odd = _pairs(block, axis)
            block = np.add(even, odd, dtype=dtype)
    return block.astype(dtype)


def _pairs(block: NDArray, axis: int) -> tuple[NDArray, NDArray]:
    before = (slice(None),) * axis
    return block[(*before, slice(0, None, 2))], block[(*before, slice(1, None, 2))]


def _members(block: NDArray, factors: Factors) -> list[NDArray]:
    members = [block]
    for axis, factor in enumerate(factors, start=1):
        for _ in range(factor.bit_length() - 1):
            members = [half for member in members for half in _pairs(member, axis)]
    return members


def _whole_cells(block: NDArray, factors: Factors) -> NDArray:
    ends = (slice(0, size // f * f) for size, f in zip(block.shape[1:], factors, strict=True))
    return np.asarray(block[(slice(None), *ends)])
