"""Finished voxels of the native grid, gathered until whole planes can be handed on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from voxarray.geometry.selection import Shape3

Box = tuple[range, range, range]

GROUP = 8
"""Planes that are gathered in one array."""


class PlaneLedger:
    """How many planes wait for their last voxels: the accounts of `OutputPlanes`.

    Args:
        shape: (W, H, D).

    Attributes:
        peak: The most groups of planes that held voxels at once.
    """

    def __init__(self, shape: Shape3) -> None:
        self._shape = shape
        depth = shape[2]
        self._missing = {
            first: shape[0] * shape[1] * min(GROUP, depth - first)
            for first in range(0, depth, GROUP)
        }
        self._started: set[int] = set()
        self._next = 0
        self.peak = 0

    def add(self, box: Box) -> None:
        """Voxels of a box are there."""
        x, y, z = box
        for first in range(z.start // GROUP * GROUP, z.stop, GROUP):
            planes = min(z.stop, first + GROUP) - max(z.start, first)
            self._started.add(first)
            self._missing[first] -= len(x) * len(y) * planes
        self.peak = max(self.peak, len(self._started))
        while self._missing.get(self._next) == 0:
            del self._missing[self._next]
            self._next += GROUP

    def hand_on(self) -> None:
        """Whole planes are taken, as they are after each batch."""
        self._started = {first for first in self._started if first >= self._next}

    @property
    def complete(self) -> int:
        """How many planes are whole, from the first on."""
        return min(self._next, self._shape[2])


class OutputPlanes(PlaneLedger):
    """Voxels (D, H, W) of one channel, handed on plane by plane.

    Args:
        shape: (W, H, D).
        dtype: Of the voxels.
    """

    def __init__(self, shape: Shape3, dtype: np.dtype) -> None:
        super().__init__(shape)
        self._dtype = dtype
        self._groups: dict[int, NDArray] = {}

    def put(self, box: Box, voxels: NDArray) -> None:
        """Take voxels (w, h, d) of a box (W, H, D)."""
        x, y, z = box
        w, h, d = self._shape
        for first in range(z.start // GROUP * GROUP, z.stop, GROUP):
            group = self._groups.get(first)
            if group is None:
                planes = min(GROUP, d - first)
                group = self._groups[first] = np.empty((planes, h, w), self._dtype)
            start, stop = max(z.start, first), min(z.stop, first + GROUP)
            part = voxels[:, :, start - z.start : stop - z.start]
            # Computed as (w, h, d); written as planes of rows.
            group[start - first : stop - first, y.start : y.stop, x.start : x.stop] = part.T
        self.add(box)

    def take(self, planes: range, rows: range, out: NDArray, *, keep: bool = False) -> None:
        """Copy complete rows (planes, rows, W) out, in disk order; what was copied is let go.

        Args:
            planes: Complete ones.
            rows: Of each.
            out: (planes, rows, W).
            keep: Do not let them go yet: the last row is to be asked for again.
        """
        for index, plane in enumerate(planes):
            group = self._groups[plane // GROUP * GROUP]
            out[index] = group[plane % GROUP, rows.start : rows.stop]
        _, h, d = self._shape
        done = planes.stop if rows.stop == h and not keep else planes.start
        for first in [first for first in self._groups if min(first + GROUP, d) <= done]:
            del self._groups[first]
            self._started.discard(first)
