"""Where in a volume which values are: how often each occurs in each cell of a coarse lattice.

From these counts a voxel with a given label is found by reading one cell. They are made in one
pass, or while an archive is written, and stored in it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voxarray.counting.tally import Tally
from voxarray.geometry.selection import Shape3

EDGE = 64
"""Voxels along each side of a cell, where nothing else suggests a size."""

_MOST_COUNTED = (1 << 16) - 1
"""Largest value up to which a table of all of them is quicker than sorting."""

_LEAST_RUN = 8
"""Voxels of an average run of equal ones, from which runs are counted rather than voxels."""

_MOST_COMPARED, _MOST_COMPARED_BYTES = 20, 12
"""Values that are counted one after the other in less time than runs or a table of them take: half
of it or less. A table of bytes is quicker than others.
"""

_LEAST_SAMPLED = 1 << 13
"""Voxels from which a sample tells which values there are."""

_SAMPLE = 1 << 10

_RARE = 64
"""Of as many voxels one may have a value that the sample does not show."""

MAX_VALUES_PER_CELL = 4096
"""Voxels of more values than this in one cell are measurements, not labels."""

COLUMNS = ("channel", "cell", "value", "count")
"""Columns of a table of counts."""

Box = tuple[range, range, range]


@dataclass(frozen=True, slots=True)
class Cells:
    """A volume cut into boxes, numbered along D first, then H, then W.

    Attributes:
        shape: Voxels (W, H, D) of the volume.
        edge: Voxels (W, H, D) of a cell; at the far ends cells are smaller.
    """

    shape: Shape3
    edge: Shape3

    @property
    def counts(self) -> Shape3:
        """Cells along W, H and D."""
        x, y, z = (-(-n // e) for n, e in zip(self.shape, self.edge, strict=True))
        return x, y, z

    @property
    def total(self) -> int:
        """Number of cells."""
        return math.prod(self.counts)

    def number(self, x: int, y: int, z: int) -> int:
        """Number of the cell at a position along W, H and D."""
        _, rows, columns = self.counts
        return (x * rows + y) * columns + z

    def box(self, number: int) -> Box:
        """Voxels of a cell along W, H and D."""
        _, rows, columns = self.counts
        rest, z = divmod(number, columns)
        x, y = divmod(rest, rows)
        i, j, k = (
            range(p * e, min(p * e + e, n))
            for p, e, n in zip((x, y, z), self.edge, self.shape, strict=True)
        )
        return i, j, k

    def bounds(self, numbers: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """First voxels (n, 3) of cells, and those after their last, along W, H and D."""
        positions = np.stack(np.unravel_index(numbers, self.counts), axis=-1)
        starts = positions * np.array(self.edge, np.int64)
        return starts, np.minimum(starts + self.edge, self.shape)


@dataclass(frozen=True, eq=False)
class CellCounts:
    """How many voxels of each cell have each value.

    Attributes:
        cells: The lattice.
        table: (n, 4) int64 with the columns `COLUMNS`, sorted; a count is positive.
    """

    cells: Cells
    table: NDArray[np.int64]

    @property
    def nbytes(self) -> int:
        """Bytes of the table."""
        return self.table.nbytes

    def of(self, channel: int, value: int | None) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Cells, ascending, and how many of their voxels have a value (None: any but 0)."""
        channels, cells, values, counts = self.table.T
        matches = values == value if value is not None else values != 0
        return _summed(cells, counts, matches & (channels == channel))

    def values(self, channel: int) -> NDArray[np.int64]:
        """The values that occur, ascending."""
        channels, _, values, _ = self.table.T
        return np.unique(values[channels == channel])

    def sums(self, channel: int) -> NDArray[np.float64]:
        """Sum of the values of each cell."""
        channels, cells, values, counts = self.table.T
        rows = channels == channel
        weights = values[rows].astype(np.float64) * counts[rows]
        sums = np.bincount(cells[rows], weights=weights, minlength=self.cells.total)
        return sums.astype(np.float64, copy=False)

    def positive(self, channel: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Cells, ascending, and how many of their voxels are above 0."""
        channels, cells, values, counts = self.table.T
        return _summed(cells, counts, (values > 0) & (channels == channel))


@dataclass(frozen=True, eq=False)
class CellSums:
    """How much the voxels of each cell add up to.

    Attributes:
        cells: The lattice.
        sums: (cells.total,) in the order of the cells' numbers.
    """

    cells: Cells
    sums: NDArray[np.float64]

    @property
    def nbytes(self) -> int:
        """Bytes of the sums."""
        return self.sums.nbytes


def _summed(
    cells: NDArray[np.int64], counts: NDArray[np.int64], rows: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    distinct, inverse = np.unique(cells[rows], return_inverse=True)
    sums = np.zeros(len(distinct), np.int64)
    np.add.at(sums, inverse, counts[rows])
    return distinct, sums


def rows_of(channel: int, cell: int, voxels: NDArray) -> NDArray[np.int64] | None:
    """Rows of the table for voxels of one cell and channel; None if they are no labels."""
    values, counts = count_block(voxels)
    if len(values) > MAX_VALUES_PER_CELL or not _are_whole(values):
        return None
    rows = np.empty((len(values), len(COLUMNS)), np.int64)
    rows[:, 0], rows[:, 1], rows[:, 2], rows[:, 3] = channel, cell, values, counts
    return rows


def _are_whole(values: NDArray) -> bool:
    if values.dtype.kind == "f":
        wide = values.astype(np.float64)  # float16 has no such number to compare with
        return bool(np.all(np.isfinite(values) & (np.abs(wide) <= 2.0**53))) and bool(
            np.array_equal(values, np.rint(values))
        )
    return values.dtype.kind in "bi" or int(values.max(initial=0)) <= np.iinfo(np.int64).max


def as_table(rows: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """A sorted table of rows that may name a value of a cell several times."""
    table = np.concatenate([np.empty((0, len(COLUMNS)), np.int64), *rows])
    if not len(table):
        return table
    # `np.unique` of rows takes four times as long for the few of a small image.
    table = table[np.lexsort((table[:, 2], table[:, 1], table[:, 0]))]
    is_next = (table[1:, :3] != table[:-1, :3]).any(axis=1)
    starts = np.concatenate([[0], np.flatnonzero(is_next) + 1])
    merged: NDArray[np.int64] = table[starts]
    merged[:, 3] = np.add.reduceat(table[:, 3], starts)
    return merged


def count_block(voxels: NDArray) -> tuple[NDArray, NDArray[np.int64]]:
    """Values, ascending, and counts; labels in a wide type are seldom large: no sorting then."""
    flat = voxels.ravel(order="K")
    if flat.dtype.kind in "iu" and (few := _count_few(flat)) is not None:
        return few
    if voxels.dtype.kind in "bu" and voxels.dtype.itemsize == 1:
        counts = np.bincount(flat.view(np.uint8), minlength=1 << 8)
        present = np.flatnonzero(counts)
        return present.astype(voxels.dtype), counts[present].astype(np.int64, copy=False)
    starts = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    if len(starts) * _LEAST_RUN < flat.size and flat.dtype.kind in "iu":
        # Regions: as many runs along the rows are counted as there are borders.
        runs = np.diff(starts, prepend=0, append=flat.size)
        run_values = flat[np.concatenate([[0], starts])]
        if run_values.min() >= 0 and run_values.max() <= _MOST_COUNTED:
            # NumPy 2.0 to 2.2 does not count uint64.
            sums = np.bincount(run_values.astype(np.intp), weights=runs)
            values = np.flatnonzero(sums)
            return values.astype(flat.dtype), sums[values].astype(np.int64)
        values, inverse = np.unique(run_values, return_inverse=True)
        return values, np.bincount(inverse, weights=runs).astype(np.int64)
    with np.errstate(invalid="ignore"):  # of what does not fit, which the comparison finds
        small = flat.astype(np.uint16)
    if not np.array_equal(small, flat):
        return np.unique(voxels, return_counts=True)
    tally = Tally(small.dtype)
    tally.add(small)
    values, counts = tally.as_counts()
    return values.astype(voxels.dtype), counts


def _count_few(flat: NDArray) -> tuple[NDArray, NDArray[np.int64]] | None:
    """As `count_block`, if nearly all voxels have one of the few values that a sample shows.

    These are compared in turn, and what is left is sorted.
    """
    if flat.size < _LEAST_SAMPLED:
        return None
    values = np.unique(flat[:: flat.size // _SAMPLE | 1])  # odd: not the same column of every row
    if len(values) > (_MOST_COMPARED if flat.itemsize > 1 else _MOST_COMPARED_BYTES):
        return None
    counts = np.array([np.count_nonzero(flat == value) for value in values], np.int64)
    missing = flat.size - int(counts.sum())
    if not missing:
        return values, counts
    if missing * _RARE > flat.size:
        return None
    is_rare = flat != values[0]
    for value in values[1:]:
        is_rare &= flat != value
    # By the numbers of the voxels: indexing by the mask itself takes longer.
    rare, rare_counts = np.unique(flat[np.flatnonzero(is_rare)], return_counts=True)
    values, counts = np.concatenate([values, rare]), np.concatenate([counts, rare_counts])
    order = np.argsort(values)
    return values[order], counts[order]
