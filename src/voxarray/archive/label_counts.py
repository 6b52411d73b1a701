"""Which labels each chunk of an archived label map holds, counted while it is written.

Stored beside the NIfTI header as the array ``label_counts`` of rows (channel, cell, value, count),
where a cell is a chunk of the full resolution. Samplers find voxels of a label by it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from voxarray.archive import cell_tables
from voxarray.archive.cell_tables import cells_of
from voxarray.archive.staging import Staging
from voxarray.counting.cells import COLUMNS, CellCounts, as_table, rows_of
from voxarray.geometry.layout import Index4, Layout

KEY = "label_counts"


@dataclass(slots=True)
class LabelTally:
    """Counts of all chunks of one label map; chunks may be given by several threads.

    Attributes:
        layout: Of the full resolution.
    """

    layout: Layout
    _rows: list[NDArray[np.int64]] = field(default_factory=list)
    _is_labels: bool = True

    def add(self, index: Index4, voxels: NDArray) -> None:
        """Count the voxels (n, z, y, x) of the chunk at ``index``."""
        if not self._is_labels:
            return
        n, z, y, x = index
        number = cells_of(self.layout).number(x, y, z)
        for channel, volume in enumerate(voxels, n * self.layout.chunk[0]):
            rows = rows_of(channel, number, volume)
            if rows is None:
                self._is_labels = False  # a measurement called a label map: nothing to sample by
                return
            self._rows.append(rows)

    def write(self, area: Staging, prefix: str) -> None:
        """Store the counts in the group at ``prefix``, if these are labels."""
        if not self._is_labels:
            return
        table = as_table(self._rows).astype("<i8")
        attributes = {"columns": list(COLUMNS), "cell": list(cells_of(self.layout).edge)}
        cell_tables.write(area, f"{prefix}{KEY}", table, ("row", "column"), attributes)


def parse(raw: bytes, layout: Layout) -> CellCounts:
    """The counts that `LabelTally.write` stored, from the bytes of their only chunk."""
    columns = len(COLUMNS)
    table = cell_tables.values_of(raw, "<i8", columns).reshape(-1, columns)
    return CellCounts(cells_of(layout), table.astype(np.int64, copy=False))
