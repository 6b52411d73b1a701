"""The distribution of any real numbers, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from voxarray.counting import bins

Filled = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Ascending places of bins that are not empty, and their counts."""

_STEP = 1 << 16
"""Values placed at once, so that temporaries stay in the processor's cache."""

_BLOCK = 1 << 20
"""Values counted at once: enough to pay for a table of bins."""

FEW = 1 << 14
"""Values that are sorted instead."""


class Sketch:
    """How many values lie in each of the `bins`; places of negative ones follow the others.

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
        return table + sum(one.nbytes for one in self._filled)

    def shrink(self) -> None:
        """Take no more memory than what is filled needs, until more is added."""
        self._filled, self._table = self._content(), None

    def intervals(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
        """What is filled: lower ends, upper ends (both ascending) and counts of bins, each (n,).

        Zeros are an interval of their own. Of an exact sketch both ends are the value.
        """
        places, counts = self._content()
        if len(places) and places[0] == 0:
            counts[0] -= self.zeros
            if not counts[0]:
                places, counts = places[1:], counts[1:]
        split = int(np.searchsorted(places, bins.NUMBER))
        below, zero = len(places) - split, min(self.zeros, 1)
        low, high = np.zeros((2, len(places) + zero))
        for part in _parts(split, len(places)):  # negative: the largest magnitude comes first
            near, far = self._ends(places[part])
            end = below - (part.start - split)
            into = slice(end - len(near), end)
            low[into], high[into] = -far[::-1], -near[::-1]
        for part in _parts(0, split):
            near, far = self._ends(places[part])
            start = below + zero + part.start
            into = slice(start, start + len(near))
            low[into], high[into] = near, far
        zeros = np.full(zero, self.zeros, np.int64)
        return low, high, np.concatenate([counts[split:][::-1], zeros, counts[:split]])

    def _ends(self, places: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The end of each bin that is nearer to 0, and the other, of magnitudes."""
        found = _unsigned(places)
        near = bins.lower_ends(found, self._exponent)
        return near, near if self.exact else bins.lower_ends(found + 1, self._exponent)

    def _add_block(self, values: NDArray) -> None:
        zeros = values.size - int(np.count_nonzero(values))
        if 2 * zeros > values.size:  # then a copy of the rest costs less than placing zeros
            self.add_zeros(zeros)
            values, zeros = values[values != 0], 0
        if not values.size:
            return
        self.zeros += zeros
        low, high = float(values.min()), float(values.max())
        self._grow(bins.exponent_of(max(-low, high)))
        where = np.empty(values.size, np.int64)
        for start in range(0, values.size, _STEP):
            part = slice(start, start + _STEP)
            self._place(values[part], where[part], signed=low < 0)
        if self._table is None and values.size <= FEW:
            self._count(*np.unique(where, return_counts=True))
            return
        first = int(where.min())
        where -= first
        counts = np.bincount(where)
        self._dense()[first : first + len(counts)] += counts

    def _place(self, values: NDArray, where: NDArray[np.int64], *, signed: bool) -> None:
        magnitudes = np.abs(values)
        found = bins.places(magnitudes, self._exponent)
        if self.exact:
            self.exact = bool(np.all(bins.lower_ends(found, self._exponent) == magnitudes))
        where[:] = found
        if signed:
            where += (values < 0) * np.int64(bins.NUMBER)

    def _count(self, places: NDArray[np.int64], counts: NDArray[np.int64]) -> None:
        """Add counts at distinct places."""
        if self._table is not None or len(places) > FEW:
            self._dense()[places] += counts
        else:
            self._filled = _added(self._filled, (places, counts))

    def _dense(self) -> NDArray[np.int64]:
        if self._table is None:
            # Memory that is never written to, as of negative values, is never taken either.
            self._table = np.zeros(2 * bins.NUMBER, np.int64)
            places, counts = self._filled
            self._table[places] = counts
        return self._table

    def _content(self) -> Filled:
        if self._table is None:
            return self._filled[0], self._filled[1].copy()
        places = np.flatnonzero(self._table)
        return places, self._table[places]

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
        places = self._content()[0]
        for part in _parts(0, len(places)):
            low = bins.lower_ends(_unsigned(places[part]), self._exponent)
            if not np.array_equal(bins.lower_ends(bins.places(low, exponent), exponent), low):
                return False
        return True


def _moved(filled: Filled, old: int, new: int) -> Iterator[Filled]:
    """What bins for one exponent hold, in the bins for another, which is not smaller; in parts."""
    places, counts = filled
    for part in _parts(0, len(places)):
        some, numbers = places[part], counts[part]
        if old != new:
            ends = bins.lower_ends(_unsigned(some), old)
            some, numbers = _added((bins.places(ends, new) + (some - _unsigned(some)), numbers))
        yield some, numbers


def _parts(start: int, stop: int) -> Iterator[slice]:
    """So many places at a time that what is made of them is small beside the table."""
    for first in range(start, stop, _STEP):
        yield slice(first, min(first + _STEP, stop))


def _unsigned(places: NDArray[np.int64]) -> NDArray[np.int64]:
    """Places of the magnitudes."""
    return places % bins.NUMBER


def _added(*parts: Filled) -> Filled:
    """Counts at places that may occur several times, added up."""
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    places, where = np.unique(columns[0], return_inverse=True)
    counts = np.zeros(len(places), np.int64)
    np.add.at(counts, where, columns[1])
    return places, counts
