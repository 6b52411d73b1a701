"""Where in a volume which values are: how often each occurs in each cell of a coarse lattice.

From these counts a voxel with a given label is found by reading one cell. They are made in one pass,
or while an archive is written, and stored in it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voxarray.errors import UnsupportedError
from voxarray.pieces import pieces
from voxarray.selection import Selection, Shape3
from voxarray.sources.base import Source
from voxarray.statistics.counts import count_block

EDGE = 64
"""Voxels along each side of a cell, where nothing else suggests a size."""

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

    def of(self, channel: int, value: int | None) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Cells, ascending, and how many of their voxels have a value (None: any but 0)."""
        channels, cells, values, counts = self.table.T
        wanted = values == value if value is not None else values != 0
        return _summed(cells, counts, wanted & (channels == channel))

    def sums(self, channel: int) -> NDArray[np.float64]:
        """Sum of the values of each cell."""
        channels, cells, values, counts = self.table.T
        rows = channels == channel
        weights = values[rows].astype(np.float64) * counts[rows]
        return np.bincount(cells[rows], weights=weights, minlength=self.cells.total)

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


def _summed(
    cells: NDArray[np.int64], counts: NDArray[np.int64], rows: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    found, places = np.unique(cells[rows], return_inverse=True)
    sums = np.zeros(len(found), np.int64)
    np.add.at(sums, places, counts[rows])
    return found, sums


def rows_of(channel: int, cell: int, voxels: NDArray) -> NDArray[np.int64] | None:
    """Rows of the table for voxels of one cell and channel; None if they are no labels."""
    values, counts = count_block(voxels)
    if len(values) > MAX_VALUES_PER_CELL or not _are_whole(values):
        return None
    rows = np.empty((len(values), len(COLUMNS)), np.int64)
    for column, content in enumerate((channel, cell, values, counts)):
        rows[:, column] = content
    return rows


def _are_whole(values: NDArray) -> bool:
    if values.dtype.kind == "f":
        largest = 2.0**53
        return bool(np.all(np.isfinite(values) & (np.abs(values) <= largest))) and bool(
            np.array_equal(values, np.rint(values))
        )
    return values.dtype.kind in "bi" or int(values.max(initial=0)) <= np.iinfo(np.int64).max


def as_table(rows: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """A sorted table of rows that may name a value of a cell several times."""
    table = np.concatenate([np.empty((0, len(COLUMNS)), np.int64), *rows])
    keys, places = np.unique(table[:, :3], axis=0, return_inverse=True)
    counts = np.zeros(len(keys), np.int64)
    np.add.at(counts, places.reshape(-1), table[:, 3])
    return np.column_stack([keys, counts])


def count_cells(source: Source, edge: int = EDGE) -> CellCounts:
    """Count the values of every cell in one pass.

    Memory: a piece of the volume, and the table.

    Raises:
        UnsupportedError: If the voxels are no labels: not whole numbers, or too many different
            ones (code ``NO_LABELS``).
    """
    shape = source.shape[1:]
    cells = Cells(shape, (edge, edge, edge))
    rows: list[NDArray[np.int64]] = []
    for box, voxels in pieces(source):
        for number, inside in _parts(cells, box):
            for channel, volume in zip(box.ranges[0], voxels, strict=True):
                found = rows_of(channel, number, volume[inside])
                if found is None:
                    raise UnsupportedError(
                        f"{source.path or 'the image'} is no label map: its voxels are not whole "
                        f"numbers, or more than {MAX_VALUES_PER_CELL} different ones in one place; "
                        "use WeightedSampler for a map of probabilities",
                        code="NO_LABELS",
                        path=source.path,
                    )
                rows.append(found)
    return CellCounts(cells, as_table(rows))


def sum_cells(source: Source, channel: int = 0, edge: int = EDGE) -> CellSums:
    """Sum of one channel in every cell, in one pass.

    Raises:
        UnsupportedError: If a voxel is negative, NaN or infinite: no weight (``BAD_WEIGHTS``).
    """
    cells = Cells(source.shape[1:], (edge, edge, edge))
    sums = np.zeros(cells.total)
    for box, voxels in pieces(source):
        if channel not in box.ranges[0]:
            continue
        volume = voxels[channel - box.ranges[0][0]]
        for number, inside in _parts(cells, box):
            part = volume[inside]
            total = float(part.sum(dtype=np.float64))
            if not math.isfinite(total) or part.min() < 0:
                raise UnsupportedError(
                    f"Negative values found in probability map {source.path or ''}, or NaN or "
                    "infinity: weights are finite and at least 0",
                    code="BAD_WEIGHTS",
                    path=source.path,
                )
            sums[number] += total
    return CellSums(cells, sums)


def _parts(cells: Cells, box: Selection) -> Iterator[tuple[int, tuple[slice, ...]]]:
    """Numbers of the cells that share voxels with a box, and where these are in the box."""
    spans = [range(r[0] // e, r[-1] // e + 1) for r, e in zip(box.spatial, cells.edge, strict=True)]
    for x, y, z in itertools.product(*spans):
        number = cells.number(x, y, z)
        yield (
            number,
            tuple(
                slice(max(r.start - taken[0], 0), r.stop - taken[0])
                for r, taken in zip(cells.box(number), box.spatial, strict=True)
            ),
        )
