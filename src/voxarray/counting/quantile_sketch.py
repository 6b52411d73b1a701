"""The distribution of any real numbers, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from voxarray.counting import magnitude_bins as bins

Filled = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Ascending indices of bins that are not empty, and their counts."""

_STEP = 1 << 16
"""Values whose bins are found at once, so that temporaries stay in the processor's cache."""

_BLOCK = 1 << 20
"""Values counted at once: enough to pay for a table of bins."""

FEW = 1 << 14
"""Values that are sorted instead."""


class Sketch:
    """How many values lie in each of the `bins`; the indices of negative ones follow the others.

    The result depends on the values alone, not on their order nor on how they were parted among
    sketches that were merged, unlike that of sketches that sample.

    Attributes:
        zeros: Number of values that are 0.
        exact: Whether every value is the lower end of its bin, as whole numbers below 2^17 are:
            then the bins are the values.
    """

    def __init__(self) -> None:
        self.zeros = 0
        self.exact = True
        self._exponent = bins.SMALLEST_EXPONENT
        self._table: NDArray[np.int64] | None = None
        self._filled: Filled = np.empty(0, np.int64), np.empty(0, np.int64)  # if no table

    def add(self, values: NDArray) -> None:
        """Count finite values (n,), float32 or float64."""
        for start in range(0, values.size, _BLOCK):
            self._add_block(values[start : start + _BLOCK])

    def add_zeros(self, number: int) -> None:
        """Count so many zeros."""
        if number:
            self.zeros += number
            self._count(np.zeros(1, np.int64), np.array([number]))

    def merge(self, other: Sketch) -> None:
        """Count what another sketch counted."""
        self.zeros += other.zeros
        self._grow(other._exponent)
        # What fits the bins of one may not fit the wider ones of both.
        self.exact = self.exact and other.exact and other._fits(self._exponent)
        for moved in _moved(other._content(), other._exponent, self._exponent):
            self._count(*moved)

    @property
    def nbytes(self) -> int:
        """Bytes that are held for the counts."""
        table = 0 if self._table is None else self._table.nbytes
        return table + sum(array.nbytes for array in self._filled)

    def shrink(self) -> None:
        """Take no more memory than what is filled needs, until more is added."""
        self._filled, self._table = self._content(), None

    def intervals(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
        """What is filled: lower ends, upper ends (both ascending) and counts of bins, each (n,).

        Zeros are an interval of their own. Of an exact sketch both ends are the value.
        """
        indices, counts = self._content()
        if len(indices) and indices[0] == 0:
            counts[0] -= self.zeros
            if not counts[0]:
                indices, counts = indices[1:], counts[1:]
        split = int(np.searchsorted(indices, bins.NUMBER))
        below, zero = len(indices) - split, min(self.zeros, 1)
        low, high = np.zeros((2, len(indices) + zero))
        for part in _parts(split, len(indices)):  # negative: the largest magnitude comes first
            near, far = self._ends(indices[part])
            end = below - (part.start - split)
            into = slice(end - len(near), end)
            low[into], high[into] = -far[::-1], -near[::-1]
        for part in _parts(0, split):
            near, far = self._ends(indices[part])
            start = below + zero + part.start
            into = slice(start, start + len(near))
            low[into], high[into] = near, far
        zeros = np.full(zero, self.zeros, np.int64)
        return low, high, np.concatenate([counts[split:][::-1], zeros, counts[:split]])

    def _ends(self, indices: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The end of each bin that is nearer to 0, and the other, of magnitudes."""
        magnitudes = _unsigned(indices)
        near = bins.lower_ends(magnitudes, self._exponent)
        return near, near if self.exact else bins.lower_ends(magnitudes + 1, self._exponent)

    def _add_block(self, values: NDArray) -> None:
        zeros = values.size - int(np.count_nonzero(values))
        if 2 * zeros > values.size:  # a copy of the others costs less than the bins of zeros
            self.add_zeros(zeros)
            values, zeros = values[values != 0], 0
        if not values.size:
            return
        self.zeros += zeros
        low, high = float(values.min()), float(values.max())
        self._grow(bins.exponent_of(max(-low, high)))
        indices = np.empty(values.size, np.int64)
        for start in range(0, values.size, _STEP):
            part = slice(start, start + _STEP)
            self._find_bins(values[part], indices[part], signed=low < 0)
        if self._table is None and values.size <= FEW:
            self._count(*np.unique(indices, return_counts=True))
            return
        first = int(indices.min())
        indices -= first
        counts = np.bincount(indices)
        self._dense()[first : first + len(counts)] += counts

    def _find_bins(self, values: NDArray, out: NDArray[np.int64], *, signed: bool) -> None:
        magnitudes = np.abs(values)
        indices = bins.indices_of(magnitudes, self._exponent)
        if self.exact:
            self.exact = bool(np.all(bins.lower_ends(indices, self._exponent) == magnitudes))
        out[:] = indices
        if signed:
            out += (values < 0) * np.int64(bins.NUMBER)

    def _count(self, indices: NDArray[np.int64], counts: NDArray[np.int64]) -> None:
        """Add counts at distinct indices."""
        if self._table is not None or len(indices) > FEW:
            self._dense()[indices] += counts
        else:
            self._filled = _added(self._filled, (indices, counts))

    def _dense(self) -> NDArray[np.int64]:
        if self._table is None:
            # Memory that is never written to, as of negative values, is never taken either.
            self._table = np.zeros(2 * bins.NUMBER, np.int64)
            indices, counts = self._filled
            self._table[indices] = counts
        return self._table

    def _content(self) -> Filled:
        if self._table is None:
            return self._filled[0], self._filled[1].copy()
        indices = np.flatnonzero(self._table)
        return indices, self._table[indices]

    def _grow(self, exponent: int) -> None:
        """Make room for magnitudes below ``2^(exponent + 1)``."""
        if exponent > self._exponent:
            self.exact = self.exact and self._fits(exponent)
            was_dense, content, old = self._table is not None, self._content(), self._exponent
            self._filled = np.empty(0, np.int64), np.empty(0, np.int64)
            self._table, self._exponent = None, exponent
            if was_dense:
                self._dense()
            for moved in _moved(content, old, exponent):
                self._count(*moved)

    def _fits(self, exponent: int) -> bool:
        """Whether what was counted would still be the lower ends of wider bins."""
        indices = self._content()[0]
        for part in _parts(0, len(indices)):
            low = bins.lower_ends(_unsigned(indices[part]), self._exponent)
            if not np.array_equal(bins.lower_ends(bins.indices_of(low, exponent), exponent), low):
                return False
        return True


def _moved(filled: Filled, old: int, new: int) -> Iterator[Filled]:
    """What bins for one exponent hold, in the bins for another, which is not smaller; in parts."""
    indices, counts = filled
    for part in _parts(0, len(indices)):
        part_indices, part_counts = indices[part], counts[part]
        if old != new:
            unsigned = _unsigned(part_indices)
            ends = bins.lower_ends(unsigned, old)
            moved = bins.indices_of(ends, new) + (part_indices - unsigned)
            part_indices, part_counts = _added((moved, part_counts))
        yield part_indices, part_counts


def _parts(start: int, stop: int) -> Iterator[slice]:
    """So many indices at a time that what is made of them is small beside the table."""
    for first in range(start, stop, _STEP):
        yield slice(first, min(first + _STEP, stop))


def _unsigned(indices: NDArray[np.int64]) -> NDArray[np.int64]:
    """Indices of the bins of the magnitudes."""
    return indices % bins.NUMBER


def _added(*parts: Filled) -> Filled:
    """Counts at indices that may occur several times, added up."""
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    distinct, inverse = np.unique(columns[0], return_inverse=True)
    counts = np.zeros(len(distinct), np.int64)
    np.add.at(counts, inverse, columns[1])
    return distinct, counts
