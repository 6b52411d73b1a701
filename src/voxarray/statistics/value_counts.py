"""How often each value occurs: one pass from which every statistic of small integers follows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from voxarray.core.errors import UnsupportedError
from voxarray.core.progress import Progress
from voxarray.counting.cells import count_block
from voxarray.counting.tally import Tally
from voxarray.source.base import Source
from voxarray.source.pieces import pieces, require_room
from voxarray.statistics import passes
from voxarray.statistics.cache import cached

_SORTING = 24
"""Bytes per voxel of a piece while its values are sorted: keys, order and the sorted ones."""

MAX_VALUES = 1 << 20
"""Distinct values that are counted one by one; a measurement in floats has as many as voxels."""


@dataclass(frozen=True, eq=False)
class Counts:
    """Values and how many voxels have them.

    Attributes:
        values: Distinct values, ascending, in the type of the voxels; a NaN comes last.
        counts: (len(values),) int64, each positive.
    """

    values: NDArray
    counts: NDArray[np.int64]

    @property
    def total(self) -> int:
        """Number of voxels."""
        return int(self.counts.sum())

    @property
    def nbytes(self) -> int:
        """Memory that it takes."""
        return int(self.values.nbytes + self.counts.nbytes)

    def as_dict(self) -> dict[int | float, int]:
        """Voxels per value, ascending; whole numbers are integers, also those of float voxels."""
        are_whole = self.values.dtype.kind in "biu" or bool(
            np.all(self.values == self.values.round())
        )
        finite = self.values.dtype.kind in "biu" or bool(np.isfinite(self.values).all())
        values = (
            [int(value) for value in self.values] if are_whole and finite else self.values.tolist()
        )
        return dict(zip(values, self.counts.tolist(), strict=True))

    def percentiles(self, percents: NDArray | list[float]) -> NDArray[np.float64]:
        """What ``numpy.percentile`` (method linear) says of the voxels.

        Args:
            percents: Between 0 and 100.
        """
        positions = np.asarray(percents, float) / 100 * (self.total - 1)
        below = np.floor(positions).astype(np.int64)
        low, high = self._at(below), self._at(np.minimum(below + 1, self.total - 1))
        result: NDArray[np.float64] = low + (high - low) * (positions - below)
        return result

    def _at(self, ranks: NDArray[np.int64]) -> NDArray[np.float64]:
        """Values at positions in the sorted sequence of all voxels."""
        values = self.values[np.searchsorted(self._cumulative, ranks, side="right")]
        return values.astype(np.float64)

    @cached_property
    def _cumulative(self) -> NDArray[np.int64]:
        return np.cumsum(self.counts)


def count_values(source: Source, report: Progress | None = None) -> Counts:
    """Count every value of a source in one pass.

    Integers of up to 16 bits, scaled or not, cost a table of 65,536 counts; other types are
    sorted piece by piece.

    Args:
        source: The voxels.
        report: Called with the bytes that are counted and in all.

    Raises:
        UnsupportedError: If there are more than `MAX_VALUES` different ones, or the voxels are
            complex (codes ``TOO_MANY_VALUES``, ``UNSUPPORTED_DTYPE``).
    """
    if source.dtype.kind == "c":
        raise UnsupportedError(
            f"values of type {source.dtype} cannot be sorted, and so not be counted: take their "
            "magnitude or real part first, for example abs(image.array)",
            code="UNSUPPORTED_DTYPE",
        )
    return cached("counts", (source,), lambda: _counted(source, None, report))


def count_small(source: Source, mask: Source | None, report: Progress | None = None) -> Counts:
    """Count the voxels that a mask chooses, of a source that `is_countable`, in one pass.

    Args:
        source: The voxels.
        mask: As for `voxarray.statistics.passes.count`; None for all voxels.
        report: Called with the bytes that are counted and in all.
    """
    sources = (source,) if mask is None else (source, mask)
    return cached("counts", sources, lambda: _counted(source, mask, report))


def is_countable(source: Source) -> bool:
    """Whether all values of a source, scaled or not, fit into a table of counts."""
    return is_small_integer(source.unscaled().dtype)


def _counted(source: Source, mask: Source | None, report: Progress | None) -> Counts:
    if not is_countable(source):
        return _count_sorted(source, report)
    stored = source.unscaled()
    tally = passes.count(stored, lambda: Tally(stored.dtype), mask, report)
    values, counts = tally.as_counts()
    if source.scaling is None:
        return Counts(values, counts)
    values, inverse = np.unique(source.scaling.apply(values), return_inverse=True)
    return Counts(values, _added(inverse, counts, len(values)))


def count_nonzero(source: Source, report: Progress | None = None) -> int:
    """Number of voxels that are not 0, in one pass; NaN is not 0."""
    require_room(source, 1, "counting the values")
    total = 0
    for _, voxels in pieces(source, report):
        total += int(np.count_nonzero(voxels))
        del voxels  # or it would be held while the next one is read
    return total


def is_small_integer(dtype: np.dtype) -> bool:
    """Whether all values of a type fit into a table of counts."""
    return dtype.kind in "biu" and dtype.itemsize <= 2


def _count_sorted(source: Source, report: Progress | None) -> Counts:
    values = np.empty(0, source.dtype)
    counts = np.empty(0, np.int64)
    require_room(source, _SORTING, "counting the values")
    for _, voxels in pieces(source, report):
        block_values, block_counts = count_block(voxels)
        del voxels  # or it would be held while the next one is read
        merged, inverse = np.unique(np.concatenate([values, block_values]), return_inverse=True)
        counts = _added(inverse, np.concatenate([counts, block_counts]), len(merged))
        values = merged
        if len(values) > MAX_VALUES:
            raise UnsupportedError(
                f"more than {MAX_VALUES:,} different values of type {source.dtype}: these are "
                "measurements, not labels; hist() counts them in bins",
                code="TOO_MANY_VALUES",
                path=source.path,
            )
    return Counts(values, counts)


def _added(indices: NDArray, counts: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Sum of the counts that belong to each place; exact, unlike ``bincount`` with weights."""
    result = np.zeros(size, np.int64)
    np.add.at(result, indices, counts)
    return result
