"""One pyramid level from the one above it, block by block.

A block is (n, z, y, x); factors are powers of two along z, y, x. A remainder at the far end
of an axis is left out: every voxel of a level is made of whole cells, and its position is exact.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxarray.geometry.layout import Factors

Downsampling = Callable[..., NDArray]
"""Takes a block and factors; `majority` also takes the values of the block, if they are known."""

_MAX_NETWORK = 8
"""Voxels of a cell up to which a sorting network sorts them, row by row."""

_MAX_PAIRED = 128
"""Bytes of a cell up to which their sum, and the half for rounding, fit into 16 bits."""

_LONGEST_WORD = 8
"""Bytes of the largest number that is moved as an integer."""

_SAMPLE = 1 << 10
"""Voxels whose values are looked at, to see which values a block may have."""

_MOST_COUNTED = 16
"""Values up to which voxels are counted value by value: beyond, sorting takes no longer."""

_MOST_COUNTED_IN_SMALL = 8
"""As `_MOST_COUNTED`, for cells of up to `_MAX_NETWORK` voxels, which are quicker to sort."""


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
        return total.astype(block.dtype)


def majority(block: NDArray, factors: Factors, values: NDArray | None = None) -> NDArray:
    """Most frequent value of each cell; of equally frequent ones the smallest.

    Args:
        block: Voxels.
        factors: Edges of a cell.
        values: All values of the block, ascending, in its type; None if they are not known.
    """
    block = np.ascontiguousarray(_whole_cells(block, factors))
    result, numbers = _by_counting(block, factors, values) or _of_equal_members(block, factors)
    if numbers.size:
        _, depth, height, width = block.shape
        strides = (depth * height * width, height * width, width, 1)
        spans = [stride * factor for stride, factor in zip(strides, (1, *factors), strict=True)]
        places = [np.arange(n) * span for n, span in zip(result.shape, spans, strict=True)]
        cell_starts = np.asarray(sum(np.ix_(*places))).reshape(-1)[numbers]
        cells = np.empty((math.prod(factors), len(cell_starts)), block.dtype)
        order = itertools.product(*map(_by_halves, factors))
        for member, position in zip(cells, order, strict=True):
            offset = sum(i * stride for i, stride in zip(position, strides[1:], strict=True))
            np.take(block.reshape(-1), cell_starts + offset, out=member, mode="clip")
        result.reshape(-1)[numbers] = _vote(cells)
    return result


def _by_counting(
    block: NDArray, factors: Factors, known: NDArray | None
) -> tuple[NDArray, NDArray[np.intp]] | None:
    """Modes by counting each value in all cells, which takes a third of the time of sorting.

    Args:
        block: Voxels, whole cells.
        factors: Edges of a cell.
        known: All values, ascending; None to take those of a sample.

    Returns:
        The modes, and the numbers of the cells for which they are not known, since a value of them
        was not in the sample; None if there are too many values, or cells are too large.
    """
    members = math.prod(factors)
    if block.dtype.kind not in "iu" or members > _MAX_PAIRED or not block.size:
        return None  # of floats, NaN equals nothing, and 0.0 and -0.0 are equal
    is_small = members <= _MAX_NETWORK
    most = _MOST_COUNTED_IN_SMALL if is_small else _MOST_COUNTED
    if known is not None and len(known) > most:
        known = None  # but perhaps nearly all voxels have a few of these values
    flat = block.reshape(-1)
    # The step is odd: not one column of every row.
    values = np.unique(flat[:: flat.size // _SAMPLE | 1]) if known is None else known
    if len(values) > most:
        return None
    # Count and value in one number: the largest is the most frequent and, of equally frequent
    # ones, the smallest.
    key_type, shift = np.dtype(np.uint8 if is_small else np.uint16), 4 if is_small else 8
    cells = [size // factor for size, factor in zip(block.shape, (1, *factors), strict=True)]
    best, found = np.zeros(cells, key_type), np.zeros(cells, np.uint8)
    for rank, value in enumerate(values[::-1]):
        if known is not None and rank == len(values) - 1:  # what is left has the last value
            counts = np.subtract(np.uint8(members), found)
        else:
            counts = _count(block, value, factors)
        found += counts
        keys = counts.astype(key_type)
        keys <<= key_type.type(shift)
        keys |= key_type.type(rank)
        np.maximum(best, keys, out=best)
    best &= key_type.type(_MOST_COUNTED - 1)
    return np.take(values[::-1], best), np.flatnonzero(found != members)


def _count(block: NDArray, value: Any, factors: Factors) -> NDArray[np.uint8]:
    """How many members of each cell have a value; cells have at most `_MAX_PAIRED`."""
    counts: NDArray[np.uint8] = np.equal(block, value).view(np.uint8)
    *slower, fastest = factors
    is_word = 1 < fastest <= _LONGEST_WORD
    for axis, factor in enumerate(slower if is_word else factors, start=1):
        for _ in range(factor.bit_length() - 1):
            counts = np.add(*_pairs(counts, axis))
    if not is_word:
        return counts
    # Members along x are the bytes of one number. Times 0x0101..., its highest byte is their sum.
    words: NDArray[Any] = counts.view(f"u{fastest}")
    words = words * words.dtype.type(int("01" * fastest, 16))
    words >>= words.dtype.type(8 * (fastest - 1))
    return words.astype(np.uint8)


def _of_equal_members(block: NDArray, factors: Factors) -> tuple[NDArray, NDArray[np.intp]]:
    """The first member of each cell, and the numbers of the cells with other members."""
    first = block[(slice(None), *(slice(None, None, factor) for factor in factors))].copy()
    # Indexing by the mask itself takes five times as long.
    return first, np.flatnonzero(_is_mixed(block, factors))


def _by_halves(factor: int) -> list[int]:
    """Offsets in a cell, even ones before odd ones, and so on within each half.

    The order decides between 0.0 and -0.0, which are equal: the first one is taken.
    """
    order = [0]
    while len(order) < factor:
        order = [2 * index for index in order] + [2 * index + 1 for index in order]
    return order


def _is_mixed(block: NDArray, factors: Factors) -> NDArray[np.bool_]:
    """Where the members of a cell are not all equal."""
    mixed: NDArray[np.bool_] | None = None
    for axis, factor in enumerate(factors, start=1):
        for _ in range(factor.bit_length() - 1):
            even, odd = _pairs(block, axis)
            differs = np.not_equal(even, odd)  # NaN is a value like others: none equals it
            if mixed is not None:
                for half in _pairs(mixed, axis):
                    differs |= half
            block, mixed = even, differs
    return np.zeros(block.shape, bool) if mixed is None else mixed


def _vote(cells: NDArray) -> NDArray:
    """Mode of the columns of (members, cells)."""
    _sort(cells)
    bits = cells.view(f"u{cells.itemsize}") if cells.itemsize <= _LONGEST_WORD else cells
    best: NDArray = cells[0].copy()
    best_bits = best.view(bits.dtype)
    best_run: NDArray[Any] = np.ones(cells.shape[1], np.int8 if len(cells) < 1 << 7 else np.int16)
    run = best_run.copy()
    with np.errstate(invalid="ignore"):
        for row, row_bits, previous in zip(cells[1:], bits[1:], cells[:-1], strict=True):
            run *= (row == previous).view(np.int8)
            run += 1
            # Strictly: the smaller value came first and keeps a tie.
            longer = run > best_run
            if bits is cells:
                np.copyto(best, row, where=longer)
            else:  # copies by a mask of all bits or none, in a tenth of the time of `copyto`
                all_bits = np.negative(longer.view(np.int8)).astype(f"i{best.itemsize}")
                best_bits ^= (best_bits ^ row_bits) & all_bits.view(bits.dtype)
            np.maximum(best_run, run, out=best_run)
    return best


def _sort(cells: NDArray) -> None:
    """Sort the columns of (members, cells) in place.

    A few integers are sorted by a network that compares whole rows, which is ten times as fast.
    """
    if cells.dtype.kind not in "iu" or len(cells) > _MAX_NETWORK:
        cells.sort(axis=0)  # NaN comes last
        return
    smaller = np.empty_like(cells[0])
    for low, high in _comparisons(len(cells)):
        np.minimum(cells[low], cells[high], out=smaller)
        np.maximum(cells[low], cells[high], out=cells[high])
        cells[low] = smaller


@cache
def _comparisons(count: int) -> tuple[tuple[int, int], ...]:
    """Pairs that Batcher's odd-even merge sort compares, in order; ``count`` is a power of two."""
    pairs = []
    span = 1
    while span < count:
        step = span
        while step:
            for start in range(step % span, count - step, 2 * step):
                lows = range(start, min(start + step, count - step))
                halves = 2 * span
                pairs += [(i, i + step) for i in lows if i // halves == (i + step) // halves]
            step //= 2
        span *= 2
    return tuple(pairs)


def _integer_mean(block: NDArray, factors: Factors, count: int) -> NDArray:
    shift = count.bit_length() - 1
    if block.dtype.itemsize < 8:
        total = _integer_sum(block, factors, count)
        total += total.dtype.type(count >> 1)
        total >>= total.dtype.type(shift)
        return total.astype(block.dtype)
    # Sums of 64-bit integers can overflow: quotients and remainders cannot.
    quotients = _sum(block >> shift, factors, block.dtype)
    remainders = _sum(block & (count - 1), factors, block.dtype)
    quotients += (remainders + (count >> 1)) >> shift
    return quotients


def _integer_sum(block: NDArray, factors: Factors, count: int) -> NDArray:
    """Sums of cells of integers of up to 32 bits, exact, in a wider type.

    Two bytes that are neighbours along x are the halves of one 16-bit number. So they are added
    without striding over every other voxel and without a cast, which cost more than the addition.
    Wider numbers gain nothing by it. But scans seldom use all of their 16 bits: as long as sums fit
    into these, they are made without a cast, too.
    """
    slow, middle, fastest = factors
    narrow = block.dtype
    is_paired = fastest > 1 and count <= _MAX_PAIRED and block.strides[-1] == 1
    if narrow.itemsize == 2:
        room, native = _members_that_fit(block), narrow.newbyteorder("=")
        for axis, factor in enumerate(factors, start=1):
            room //= factor
            block = _sum_along(block, axis, factor, native if room else np.dtype(np.int32))
        return block.astype(np.int32)
    if narrow.itemsize > 1 or not is_paired:
        return _sum(block, factors, np.dtype(np.int32 if narrow.itemsize == 1 else np.int64))
    byte_pairs = block.view(f"{narrow.kind}2")
    if narrow.kind == "u":
        total = byte_pairs & byte_pairs.dtype.type(0xFF)
    else:
        total = byte_pairs << byte_pairs.dtype.type(8)
        total >>= byte_pairs.dtype.type(8)
    total += byte_pairs >> byte_pairs.dtype.type(8)
    return _sum(total, (slow, middle, fastest // 2), total.dtype)


def _members_that_fit(block: NDArray) -> int:
    """How many of some integers have a sum that their own type surely holds."""
    info = np.iinfo(block.dtype)
    low, high = int(block.min(initial=0)), int(block.max(initial=0))
    return min(info.max // max(high, 1), info.min // low if low < 0 else info.max)


def _sum(block: NDArray, factors: Factors, dtype: np.dtype) -> NDArray:
    for axis, factor in enumerate(factors, start=1):
        block = _sum_along(block, axis, factor, dtype)
    return block.astype(dtype)


def _sum_along(block: NDArray, axis: int, factor: int, dtype: np.dtype) -> NDArray:
    if factor == 1:
        return block
    leading_axes = (slice(None),) * axis
    members = [block[(*leading_axes, slice(i, None, factor))] for i in range(factor)]
    return _sum_of(members, dtype)


def _sum_of(members: Sequence[NDArray], dtype: np.dtype) -> NDArray:
    """The sum of both halves of some arrays, which are two or another power of two.

    Sums of pairs, and then of these, would be the same, through twice as much memory.
    """
    if len(members) == 2:
        total: NDArray = np.add(*members, dtype=dtype)
        return total
    half = len(members) // 2
    total = _sum_of(members[:half], dtype)
    total += _sum_of(members[half:], dtype)
    return total


def _pairs(block: NDArray, axis: int) -> tuple[NDArray, NDArray]:
    leading_axes = (slice(None),) * axis
    return block[(*leading_axes, slice(0, None, 2))], block[(*leading_axes, slice(1, None, 2))]


def _whole_cells(block: NDArray, factors: Factors) -> NDArray:
    ends = (slice(0, size // f * f) for size, f in zip(block.shape[1:], factors, strict=True))
    return np.asarray(block[(slice(None), *ends)])
