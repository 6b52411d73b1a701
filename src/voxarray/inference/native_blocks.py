"""Blocks of the scan's own grid, and which finished cells each of them is made of.

The inverse of preprocessing is one change of grid: logits are interpolated where the voxels of the
scan are. A block can be made as soon as every cell around it is finished, and a cell can go as soon
as every block that it is part of is made.
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from voxarray.core.errors import UnsupportedError
from voxarray.geometry.grid import Grid
from voxarray.geometry.selection import Selection, Shape3
from voxarray.inference.patch_plan import Cell, PatchPlan
from voxarray.ops.resampling import Resampled
from voxarray.source.array import ArraySource

Box = tuple[range, range, range]

BLOCK_BYTES = 24 << 20
"""Logits of a block: small enough for any budget, large enough that borders cost little."""

_EDGES = 8, 64

_NOISE = 1e-6
"""Voxels by which a position may miss a border for the noise of its computation."""


def block_edge(classes: int) -> int:
    """Edge in voxels of the blocks of the native grid."""
    lowest, highest = _EDGES
    edge = highest
    while edge > lowest and edge**3 * classes * 4 > BLOCK_BYTES:
        edge -= 8
    return edge


@dataclass(frozen=True, eq=False)
class NativeBlock:
    """A box of the native grid.

    Attributes:
        box: Voxels (W, H, D) of the native grid.
        support: Voxels of the predicted grid that it is interpolated from; None for none.
    """

    box: Box
    support: Box | None


@dataclass(eq=False)
class NativeBlocks:
    """All blocks of the native grid, by the patch that makes them ready.

    Attributes:
        plan: The patches.
        predicted: Grid of the network's output, without what was padded to a patch.
        before: Voxels (W, H, D) that were padded in front.
        native: Grid of the scan.
        edge: Of a block, in voxels.
        ready: The blocks that can be made after each patch.
        drops: The cells that are not needed after each patch.
    """

    plan: PatchPlan
    predicted: Grid
    before: Shape3
    native: Grid
    edge: int
    ready: dict[int, list[NativeBlock]] = field(init=False)
    drops: dict[int, list[Cell]] = field(init=False)
    _uses: dict[Cell, list[int]] = field(init=False)

    def __post_init__(self) -> None:
        self.ready, self.drops, self._uses = {}, {}, {}
        mapping = np.linalg.solve(self.predicted.affine, self.native.affine)
        for box in _boxes(self.native.shape, self.edge):
            support = self._support(box, mapping)
            if support is None:
                self.ready.setdefault(0, []).append(NativeBlock(box, None))
                continue
            cells = list(self.cells(support))
            # Along each axis later cells are finished later: the last of all is one of the corners.
            number = max(self.plan.finished_at(cell) for cell in _corners(cells))
            self.ready.setdefault(number, []).append(NativeBlock(box, support))
            for cell in cells:
                self._uses.setdefault(cell, []).append(number)
        if not self._uses:
            raise UnsupportedError(
                f"after preprocess, the images are on {self.predicted}, which does not overlap the "
                f"scan on {self.native}: remove the transforms that move the image to another "
                "position from preprocess=",
                code="NOT_INVERTIBLE",
            )
        for uses in self._uses.values():
            uses.sort()
        x, y, z = (range(len(axis.cells)) for axis in self.plan.axes)
        for cell in itertools.product(x, y, z):
            last = max([self.plan.finished_at(cell), *self._uses.get(cell, [])])
            self.drops.setdefault(last, []).append(cell)

    def next_use(self, cell: Cell, number: int) -> int | None:
        """The next patch after a given one at which a block needs a finished cell."""
        uses = self._uses.get(cell, [])
        index = bisect.bisect_right(uses, number)
        return uses[index] if index < len(uses) else None

    def cells(self, support: Box) -> Iterator[Cell]:
        """The cells that hold voxels of the predicted grid."""
        spans = []
        for axis, span, before in zip(self.plan.axes, support, self.before, strict=True):
            first, last = span.start + before, span.stop - 1 + before
            spans.append(
                [n for n, c in enumerate(axis.cells) if c.start <= last and first < c.stop]
            )
        return itertools.product(spans[0], spans[1], spans[2])

    def _support(self, box: Box, mapping: NDArray) -> Box | None:
        corners = np.array(list(itertools.product(*[(r[0], r[-1]) for r in box])))
        positions = corners @ mapping[:3, :3].T + mapping[:3, 3]
        ranges = []
        for low, high, size in zip(
            positions.min(axis=0), positions.max(axis=0), self.predicted.shape, strict=True
        ):
            if high <= -1 or low >= size:
                return None
            first = max(0, math.floor(low - _NOISE))
            stop = min(size, math.ceil(high + _NOISE) + 1)
            ranges.append(range(min(first, size - 1), max(stop, first + 1, 1)))
        return ranges[0], ranges[1], ranges[2]

    def gather(self, support: Box, get: Callable[[Cell], NDArray], classes: int) -> NDArray:
        """Finished logits (K, w, h, d) of a box of the predicted grid, in float32."""
        result = np.empty((classes, *map(len, support)), np.float32)
        for cell in self.cells(support):
            cell_slices, target_slices = [], []
            for cell_range, target_range, before in zip(
                self.plan.box(cell), support, self.before, strict=True
            ):
                first = max(cell_range.start - before, target_range.start)
                stop = min(cell_range.stop - before, target_range.stop)
                cell_slices.append(
                    slice(first + before - cell_range.start, stop + before - cell_range.start)
                )
                target_slices.append(slice(first - target_range.start, stop - target_range.start))
            result[(slice(None), *target_slices)] = get(cell)[(slice(None), *cell_slices)]
        return result

    def interpolated(
        self, block: NativeBlock, logits: NDArray
    ) -> tuple[NDArray, NDArray[np.bool_] | None]:
        """Logits at the voxels of a block.

        A voxel that lies less than a voxel of the predicted grid beyond that grid's outermost
        centres goes on with them: a coarser grid may end half a voxel short of the scan.

        Args:
            block: That has a support.
            logits: (K, w, h, d) of its support.

        Returns:
            (K, w, h, d), and which of them the network has seen: None for all.
        """
        if block.support is None:
            raise ValueError("nothing was predicted near this block")
        size = self.predicted.shape
        pads = [
            (int(r.start == 0), int(r.stop == n)) for r, n in zip(block.support, size, strict=True)
        ]
        x, y, z = (
            range(r.start - before, r.stop + after)
            for r, (before, after) in zip(block.support, pads, strict=True)
        )
        # Only where the grid itself ends: elsewhere the support holds what lies beyond.
        extended = np.pad(logits, [(0, 0), *pads], mode="edge")
        source = ArraySource(extended, _moved(self.predicted, (x, y, z)))
        target = self.native.take(block.box)
        resampled = Resampled.onto(source, target, "linear")
        values = resampled.read(Selection.whole(resampled.shape))
        return values, self._coverage(target)

    def _coverage(self, target: Grid) -> NDArray[np.bool_] | None:
        mapping = np.linalg.solve(self.predicted.affine, target.affine)
        corners = np.array(list(itertools.product(*[(0, n - 1) for n in target.shape])))
        if self._is_inside(corners @ mapping[:3, :3].T + mapping[:3, 3]).all():
            return None  # of a box whose corners are inside, all is
        x, y, z = (np.arange(n) for n in target.shape)
        positions = (
            x[:, None, None, None] * mapping[:3, 0]
            + y[:, None, None] * mapping[:3, 1]
            + z[:, None] * mapping[:3, 2]
            + mapping[:3, 3]
        )
        return self._is_inside(positions)

    def _is_inside(self, positions: NDArray) -> NDArray[np.bool_]:
        is_inside = (positions > -1 + _NOISE) & (
            positions < np.array(self.predicted.shape) - _NOISE
        )
        return np.asarray(is_inside.all(axis=-1))


def is_same_grid(first: Grid, second: Grid) -> bool:
    """Whether the voxels of two grids are the same, but for noise."""
    if first.shape != second.shape:
        return False
    mapping = np.linalg.solve(first.affine, second.affine)
    reach = np.abs(mapping - np.eye(4))[:3] @ np.array([*first.shape, 1])
    return bool(reach.max() < _NOISE)


def _moved(grid: Grid, box: Box) -> NDArray[np.float64]:
    affine = np.array(grid.affine)
    affine[:3, 3] = grid.to_world([r.start for r in box])
    return affine


def _boxes(shape: Sequence[int], edge: int) -> Iterator[Box]:
    z, y, x = (
        [range(start, min(start + edge, n)) for start in range(0, n, edge)] for n in reversed(shape)
    )
    return ((a, b, c) for c, b, a in itertools.product(z, y, x))


def _corners(cells: Sequence[Cell]) -> list[Cell]:
    """The cells at the corners of a box of cells."""
    ends = [(min(c), max(c)) for c in zip(*cells, strict=True)]
    return list(itertools.product(ends[0], ends[1], ends[2]))
