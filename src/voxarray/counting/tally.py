"""Counters: a table for small integers, moments and a sketch for everything else."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from voxarray.counting.moments import Moments
from voxarray.counting.quantile_sketch import Sketch

_STEP = 1 << 18
"""Voxels counted at once: ``bincount`` makes eight bytes of each, which should stay in cache."""

MEASURED = 1 << 20
"""Values of which copies are held at once: as many as a sketch counts at once."""

_EXACT_INTEGERS = 1 << 53


class Tally:
    """Counts of every integer of up to 16 bits.

    Args:
        dtype: Of the voxels.
    """

    def __init__(self, dtype: np.dtype) -> None:
        self._unsigned = np.dtype(f"u{dtype.itemsize}")
        self._lowest = int(np.iinfo(dtype).min) if dtype.kind == "i" else 0
        self._dtype = dtype
        self._table = np.zeros(1 << (8 * dtype.itemsize), np.int64)

    def add(self, voxels: NDArray) -> None:
        flat = np.ascontiguousarray(voxels).view(self._unsigned)
        for start in range(0, flat.size, _STEP):
            self._table += np.bincount(flat[start : start + _STEP], minlength=len(self._table))

    def add_zeros(self, number: int) -> None:
        self._table[0] += number

    def merge(self, other: Tally) -> None:
        self._table += other._table

    def as_counts(self) -> tuple[NDArray, NDArray[np.int64]]:
        """Values that occur, ascending, in the type of the voxels; and how often."""
        # The bits of a negative number are those of a large unsigned one: bring them to the front.
        table = np.roll(self._table, -self._lowest)
        filled = np.flatnonzero(table)
        return (filled + self._lowest).astype(self._dtype), table[filled]


class Measures:
    """Moments and distribution of any real numbers; NaN and infinities are counted apart."""

    def __init__(self) -> None:
        self.moments = Moments()
        self.sketch = Sketch()
        self.not_finite = 0

    def add(self, voxels: NDArray) -> None:
        for start in range(0, voxels.size, MEASURED):
            self._add_some(voxels[start : start + MEASURED])

    def _add_some(self, voxels: NDArray) -> None:
        values = _as_floats(voxels)
        if voxels.dtype.kind == "f":
            finite = np.isfinite(values)
            if not finite.all():
                self.not_finite += values.size - int(np.count_nonzero(finite))
                values = values[finite]
        if not values.size:
            return
        self.moments = self.moments.merged(Moments.of(values))
        self.sketch.add(values)
        if voxels.dtype.kind in "iu" and voxels.dtype.itemsize == 8:
            ends = self.moments.minimum, self.moments.maximum
            self.sketch.exact &= max(map(abs, ends)) < _EXACT_INTEGERS

    def add_zeros(self, number: int) -> None:
        if number:
            self.moments = self.moments.merged(Moments(number, 0.0, 0.0, 0.0, 0.0))
            self.sketch.add_zeros(number)

    def merge(self, other: Measures) -> None:
        self.moments = self.moments.merged(other.moments)
        self.sketch.merge(other.sketch)
        self.not_finite += other.not_finite


class SmallMeasures(Measures):
    """Measures of the values that are smaller than a limit, and not 0.

    Beside much larger ones they would share a few bins.

    Args:
        limit: A magnitude.
    """

    def __init__(self, limit: float) -> None:
        super().__init__()
        self._limit = limit

    @property
    def largest(self) -> float:
        """Largest magnitude that was counted; 0 if there was none."""
        return self.moments.largest if self.moments.count else 0.0

    def add(self, voxels: NDArray) -> None:
        for start in range(0, voxels.size, MEASURED):
            some = voxels[start : start + MEASURED]
            super().add(some[(np.abs(some) < self._limit) & (some != 0)])

    def add_zeros(self, number: int) -> None:
        pass


class CentredMeasures(Measures):
    """Measures of the distances of values from a centre, in deviations.

    Bins are as wide as numbers are large: values far from 0 that differ little would share one.

    Args:
        centre: Is subtracted.
        deviation: Divides the distances; positive.
    """

    def __init__(self, centre: float, deviation: float) -> None:
        super().__init__()
        self._centre, self._deviation = centre, deviation

    def add(self, voxels: NDArray) -> None:
        for start in range(0, voxels.size, MEASURED):
            distances = voxels[start : start + MEASURED].astype(np.float64)
            distances -= self._centre
            distances /= self._deviation
            super().add(distances)

    def add_zeros(self, number: int) -> None:
        self.add(np.broadcast_to(np.float32(0), (number,)))


def _as_floats(voxels: NDArray) -> NDArray:
    """The same values as float32 or float64, whichever holds them."""
    small = voxels.dtype.itemsize <= 2 or voxels.dtype == np.float32
    return voxels.astype(np.float32 if small else np.float64, copy=False)
