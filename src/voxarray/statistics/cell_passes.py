"""One pass over a source that says what each cell of it holds."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from voxarray.core.errors import UnsupportedError
from voxarray.counting.cells import (
    EDGE,
    MAX_VALUES_PER_CELL,
    CellCounts,
    Cells,
    CellSums,
    as_table,
    rows_of,
)
from voxarray.geometry.selection import Selection
from voxarray.source.base import Source
from voxarray.source.pieces import pieces, require_room


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
    require_room(source, 9, "counting the labels")
    for box, voxels in pieces(source):
        rows += _rows(source, cells, box, voxels)
        del voxels  # or it would be held while the next one is read
    return CellCounts(cells, as_table(rows))


def _rows(
    source: Source, cells: Cells, box: Selection, voxels: NDArray
) -> Iterator[NDArray[np.int64]]:
    """What is in each cell of a piece."""
    for number, slices in _parts(cells, box):
        for channel, volume in zip(box.ranges[0], voxels, strict=True):
            rows = rows_of(channel, number, volume[slices])
            if rows is None:
                raise UnsupportedError(
                    f"{source.path or 'the image'} is not a label map: its voxels are not "
                    f"whole numbers, or one small block has more than {MAX_VALUES_PER_CELL} "
                    "different values; use WeightedSampler for a map of probabilities",
                    code="NO_LABELS",
                    path=source.path,
                )
            yield rows


def sum_cells(source: Source, channel: int = 0, edge: int = EDGE) -> CellSums:
    """Sum of one channel in every cell, in one pass.

    Raises:
        UnsupportedError: If a voxel is negative, NaN or infinite: no weight (``BAD_WEIGHTS``).
    """
    cells = Cells(source.shape[1:], (edge, edge, edge))
    sums = np.zeros(cells.total)
    require_room(source, 9, "adding up the weights")
    for box, voxels in pieces(source):
        if channel in box.ranges[0]:
            _add(sums, source, cells, box, voxels[channel - box.ranges[0][0]])
        del voxels  # or it would be held while the next one is read
    return CellSums(cells, sums)


def _add(
    sums: NDArray[np.float64], source: Source, cells: Cells, box: Selection, volume: NDArray
) -> None:
    """Add the weights of a piece (W, H, D) to the sums of its cells."""
    for number, slices in _parts(cells, box):
        part = volume[slices]
        total = float(part.sum(dtype=np.float64))
        if not math.isfinite(total) or part.min() < 0:
            raise UnsupportedError(
                "Negative values found in probability "
                f"map{f' {source.path}' if source.path else ''}, or NaN or infinity: weights are "
                "finite and at least 0",
                code="BAD_WEIGHTS",
                path=source.path,
            )
        sums[number] += total


def _parts(cells: Cells, box: Selection) -> Iterator[tuple[int, tuple[slice, ...]]]:
    """Numbers of the cells that share voxels with a box, and where these are in the box."""
    spans = [range(r[0] // e, r[-1] // e + 1) for r, e in zip(box.spatial, cells.edge, strict=True)]
    for x, y, z in itertools.product(*spans):
        number = cells.number(x, y, z)
        yield (
            number,
            tuple(
                slice(max(r.start - extent[0], 0), r.stop - extent[0])
                for r, extent in zip(cells.box(number), box.spatial, strict=True)
            ),
        )
