"""How much the voxels of each chunk of an archived map of probabilities add up to, summed while it
is written.

Stored beside the NIfTI header as the array ``weight_sums`` (channel, cell), where a cell is a chunk
of the full resolution. Samplers find voxels by their weight with it. Any image of floating-point
numbers may be such a map, as long as none is negative, NaN or infinite.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from voxarray.archive import cell_tables
from voxarray.archive.cell_tables import cells_of
from voxarray.archive.staging import Staging
from voxarray.counting.cells import CellSums
from voxarray.geometry.layout import Index4, Layout

KEY = "weight_sums"


@dataclass(slots=True)
class WeightTally:
    """Sums of all chunks of one map; chunks may be given by several threads.

    Attributes:
        layout: Of the full resolution.
    """

    layout: Layout
    _sums: NDArray[np.float64] = field(init=False)
    _are_weights: bool = True

    def __post_init__(self) -> None:
        self._sums = np.zeros((self.layout.shape[0], cells_of(self.layout).total))

    def add(self, index: Index4, voxels: NDArray) -> None:
        """Sum the voxels (n, z, y, x) of the chunk at ``index``."""
        if not self._are_weights:
            return
        n, z, y, x = index
        number = cells_of(self.layout).number(x, y, z)
        for channel, volume in enumerate(voxels, n * self.layout.chunk[0]):
            # A NaN is the minimum of what it is in; an infinity is in the sum.
            total = float(volume.sum(dtype=np.float64)) if volume.min() >= 0 else math.nan
            if not math.isfinite(total):
                self._are_weights = False
                return
            self._sums[channel, number] = total

    def include(self, other: WeightTally) -> None:
        """Take the sums of another tally, which was given other chunks of the same map."""
        self._sums += other._sums
        self._are_weights = self._are_weights and other._are_weights

    def write(self, area: Staging, prefix: str) -> None:
        """Store the sums in the group at ``prefix``, if these can be weights."""
        if not self._are_weights:
            return
        sums = self._sums.astype("<f8")
        attributes = {"cell": list(cells_of(self.layout).edge)}
        cell_tables.write(area, f"{prefix}{KEY}", sums, ("channel", "cell"), attributes)


def parse(raw: bytes, layout: Layout, channel: int) -> CellSums:
    """The sums of a channel that `WeightTally.write` stored, from the bytes of their only chunk."""
    row = layout.shape[0] * cells_of(layout).total
    sums = cell_tables.values_of(raw, "<f8", row).reshape(layout.shape[0], -1)[channel]
    return CellSums(cells_of(layout), sums.astype(np.float64))
