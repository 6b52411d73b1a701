"""Where patches lie along one axis, how they are weighed, and which of them share which voxels.

The starts of patches cut an axis into cells: runs of voxels that the same patches cover. A cell is
finished as soon as the last of these patches is in, so that only cells between finished and coming
patches have to be held.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

BLENDS = ("hann", "gaussian", "crop", "average")

SIGMA = 0.125
"""Standard deviation of the Gaussian window in patches: that of MONAI and nnU-Net."""


@dataclass(frozen=True, eq=False)
class AxisPlan:
    """The patches along one axis, in the order in which they are visited.

    Attributes:
        size: Voxels of the axis, at least those of a patch.
        patch: Voxels of a patch.
        starts: First voxel of each patch; ascending, or descending if the axis is run backwards.
        windows: (patches, patch) weight of each voxel of each patch, zero where it has no say.
    """

    size: int
    patch: int
    starts: tuple[int, ...]
    windows: NDArray[np.float64]

    @classmethod
    def of(
        cls, size: int, patch: int, overlap: int, blend: str, *, backwards: bool = False
    ) -> AxisPlan:
        """Cover an axis.

        Args:
            size: Voxels of the axis; a shorter one is taken as if it were padded to a patch.
            patch: Voxels of a patch.
            overlap: Voxels that neighbours share; the last patch, which ends with the axis, shares
                more.
            blend: One of `BLENDS`.
            backwards: Whether the last patch is visited first.
        """
        size = max(size, patch)
        starts = list(range(0, size - patch + 1, patch - overlap))
        if starts[-1] != size - patch:
            starts.append(size - patch)
        windows = _windows(starts, patch, overlap, size, blend)
        if backwards:
            starts, windows = starts[::-1], windows[::-1]
        return cls(size, patch, tuple(starts), windows)

    @cached_property
    def used(self) -> list[tuple[int, int]]:
        """First voxel of each patch that has a weight, and the one after the last; in the axis."""
        spans = []
        for start, window in zip(self.starts, self.windows, strict=True):
            (indices,) = np.nonzero(window)
            spans.append((start + int(indices[0]), start + int(indices[-1]) + 1))
        return spans

    @cached_property
    def cells(self) -> list[range]:
        """Runs of voxels that the same patches cover, in the order in which they are finished."""
        edges = sorted({edge for span in self.used for edge in span})
        cells = [range(a, b) for a, b in itertools.pairwise(edges)]
        return cells[::-1] if self.starts[0] > self.starts[-1] else cells

    @cached_property
    def visits(self) -> list[tuple[int, int]]:
        """The first and the last patch that covers each cell; all between do, too."""
        result = []
        for cell in self.cells:
            covering = [
                visit
                for visit, (first, stop) in enumerate(self.used)
                if first <= cell.start and cell.stop <= stop
            ]
            result.append((covering[0], covering[-1]))
        return result

    @cached_property
    def cells_of(self) -> list[range]:
        """The cells that each patch covers."""
        covered: list[list[int]] = [[] for _ in self.starts]
        for number, (first, last) in enumerate(self.visits):
            for visit in range(first, last + 1):
                covered[visit].append(number)
        return [range(numbers[0], numbers[-1] + 1) for numbers in covered]

    @cached_property
    def finished_by(self) -> list[range]:
        """The cells whose last patch each patch is: none where the next covers all of them."""
        lasts = [last for _, last in self.visits]
        return [
            range(int(np.searchsorted(lasts, visit)), int(np.searchsorted(lasts, visit, "right")))
            for visit in range(len(self.starts))
        ]

    def offset(self, cell: int, visit: int) -> int:
        """First voxel of a cell in a patch."""
        return self.cells[cell].start - self.starts[visit]

    def pattern(self, cell: int) -> tuple[object, ...]:
        """What the weights in a cell depend on: equal for cells that are weighed alike."""
        first, last = self.visits[cell]
        offsets = tuple(self.offset(cell, visit) for visit in range(first, last + 1))
        ends = tuple(self._window_kind(visit) for visit in range(first, last + 1))
        return (len(self.cells[cell]), offsets, ends)

    def window(self, cell: int, visit: int) -> NDArray[np.float64]:
        """Weights of one patch in a cell."""
        start = self.offset(cell, visit)
        return self.windows[visit, start : start + len(self.cells[cell])]

    def _window_kind(self, visit: int) -> int:
        return self._kinds[visit]

    @cached_property
    def _kinds(self) -> list[int]:
        _, kinds = np.unique(self.windows, axis=0, return_inverse=True)
        return [int(kind) for kind in kinds.ravel()]


def _windows(
    starts: Sequence[int], patch: int, overlap: int, size: int, blend: str
) -> NDArray[np.float64]:
    """Weights (patches, patch)."""
    if blend == "crop":
        # Each voxel is taken from the patch in whose middle it is; the last patch, which may lie
        # closer to its neighbour, decides what it can, as in `GridAggregator`.
        half = overlap // 2
        cuts = [0, *(start + half for start in starts[1:]), size]
        windows = np.zeros((len(starts), patch))
        for number, start in enumerate(starts):
            windows[number, cuts[number] - start : cuts[number + 1] - start] = 1
        return windows
    window = np.ones(patch)
    if blend == "hann":
        window = np.hanning(patch + 2)[1:-1]  # without the zeros of its ends
    elif blend == "gaussian":
        offsets = np.arange(patch) - (patch - 1) / 2
        window = np.exp(-(offsets**2) / (2 * (SIGMA * patch) ** 2))
    return np.broadcast_to(window, (len(starts), patch))
