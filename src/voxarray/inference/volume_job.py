"""One volume, decided: what is read, predicted, blended and reduced, and what that costs."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voxarray.core import heap
from voxarray.geometry.grid import Grid
from voxarray.inference.blending import Blender
from voxarray.inference.cell_store import CellLedger, CellStore
from voxarray.inference.cell_weights import CellWeights
from voxarray.inference.native_blocks import Box, NativeBlocks
from voxarray.inference.network import Network
from voxarray.inference.number_range import NumberRange
from voxarray.inference.output_planes import GROUP, PlaneLedger
from voxarray.inference.patch_plan import Cell, PatchPlan
from voxarray.inference.patch_reader import PatchReader
from voxarray.inference.predictions import held_bytes, predictions
from voxarray.inference.reduction import Reduction

_TRIM_EVERY = 4 << 20
"""Bytes of predictions after which the allocator's heap is tidied: what is freed in between leaves
holes that nobody has projected. With 64 MiB it was 160 MiB where 130 were, and tidying that often
cannot be seen in the time."""

_COPIED = 1 << 15
"""Voxels that are made contiguous at once: as many as the reduction takes."""

Put = Callable[[Box, NDArray], None]
"""Takes voxels (channels, w, h, d) of a box (W, H, D) of the native grid."""


@dataclass(frozen=True)
class Cost:
    """What a job needs besides the network's own memory and what writes the result, in bytes.

    Attributes:
        cells: RAM for sums that wait for more patches.
        scratch: Disk for those that do not fit.
        moved: Bytes that are written to that disk, and read again, in all.
        planes: RAM for finished planes that are not complete yet, if they are handed on in order.
        fixed: RAM for patches, predictions, weights and blocks.
    """

    cells: int
    scratch: int
    moved: int
    planes: int
    fixed: int


@dataclass(frozen=True, eq=False)
class VolumeJob:
    """A volume to predict.

    Attributes:
        reader: Its patches.
        network: What predicts them.
        classes: How many numbers the network returns for each voxel.
        blend: How patches that overlap are weighed.
        dtype: Of the sums.
        batch: Patches that are predicted at once.
        native: Grid of the result.
        blocks: Of the native grid, if it is not that of the network.
        reduction: What becomes of the logits.
    """

    reader: PatchReader
    network: Network
    classes: int
    blend: str
    dtype: np.dtype
    batch: int
    native: Grid
    blocks: NativeBlocks | None
    reduction: Reduction

    @property
    def plan(self) -> PatchPlan:
        """The patches."""
        return self.reader.plan

    @property
    def channels(self) -> int:
        """Channels of the result."""
        return self.reduction.channels(self.classes)

    def next_use(self, cell: Cell, number: int) -> int | None:
        """When the sums of a cell are needed next after a patch."""
        later = self.plan.next_use(cell, number)
        if later is None and self.blocks is not None:
            return self.blocks.next_use(cell, number)
        # A cell that no other patch covers is reduced with this one.
        return number if later is None else later

    # --- What it costs ----------------------------------------------------------------------------

    def cost(self, limit: float = math.inf) -> Cost:
        """What the job needs when the cells may have so many bytes of RAM; nothing is read."""
        ledger = CellLedger(limit, self.next_use)
        planes = PlaneLedger(self.native.shape)
        itemsize = self.classes * self.dtype.itemsize
        for number in range(len(self.plan)):
            ledger.begin(number)
            for cell in self.plan.cells(number):
                if self.plan.is_new(cell, number):
                    ledger.add(cell, self.plan.voxels(cell) * itemsize)
                else:
                    ledger.fetch(cell)
            for box in self._emit(number, ledger.fetch, ledger.drop):
                planes.add(box)
            if (number + 1) % self.batch == 0:
                planes.hand_on()
        w, h, _ = self.native.shape
        plane_bytes = planes.peak * GROUP * w * h * self.reduction.dtype.itemsize
        return Cost(ledger.peak, ledger.scratch, ledger.moved, plane_bytes, self.fixed_bytes)

    @property
    def least_limit(self) -> int:
        """Bytes of RAM without which cells cannot be worked on."""
        itemsize = self.classes * self.dtype.itemsize
        return 2 * math.prod(self.plan.patch) * itemsize

    @property
    def fixed_bytes(self) -> int:
        """Bytes for patches, predictions, weights and blocks."""
        reading = max(source.reading_bytes for source in self.reader.sources)
        patches = held_bytes(self.reader, self.network, self.batch, self.classes)
        return patches + reading + CellWeights.peak_bytes(self.plan) + self._block_bytes

    @property
    def _block_bytes(self) -> int:
        if self.blocks is None:
            return 0
        supports = [
            math.prod(map(len, block.support)) if block.support else 0
            for ready in self.blocks.ready.values()
            for block in ready
        ]
        # Gathered, extended by a voxel, and what interpolation holds of it and of the result.
        voxels = 4 * max(supports, default=0) + 3 * self.blocks.edge**3
        return voxels * self.classes * 4

    # --- Doing it -------------------------------------------------------------------------------

    def run(
        self, limit: float, peak: int, put: Put, report: Callable[[int], None]
    ) -> Generator[None]:
        """Predict the volume; pauses after every batch.

        Args:
            limit: Bytes of RAM that the cells may have.
            peak: Bytes that they will have, as `cost` has found.
            put: Takes what is finished.
            report: Told how many patches were predicted.
        """
        plan = self.plan
        store = CellStore(
            limit,
            self.next_use,
            self.dtype,
            lambda cell: (self.classes, *map(len, plan.box(cell))),
            peak,
        )
        blender = Blender(plan, CellWeights(plan, self.blend), store)
        self.network.classes = self.classes
        freed = 0
        number_range = NumberRange(self.reduction.is_assumed)
        with self.network.ready(), closing(store):
            for numbers, batch in predictions(self.reader, self.network, self.batch):
                number_range.add(batch.numpy())
                for number, prediction in zip(numbers, batch, strict=True):
                    blender.add(number, prediction)
                    self._finish(number, store, put)
                report(len(numbers))
                freed += batch.nbytes
                del batch, prediction
                if freed >= _TRIM_EVERY:
                    heap.trim()
                    freed = 0
                yield
            number_range.require_logits(self.classes)

    def _finish(self, number: int, store: CellStore, put: Put) -> None:
        if self.blocks is None:
            for cell in self.plan.finished(number):
                self._reduce_cell(cell, store, put)
                store.drop(cell)
            return
        for block in self.blocks.ready.get(number, ()):
            shape = tuple(map(len, block.box))
            background = self.reduction.background(self.classes)[:, None, None, None]
            if block.support is None:
                put(block.box, np.broadcast_to(background, (self.channels, *shape)))
                continue
            logits = self.blocks.gather(block.support, store.get, self.classes)
            values, is_covered = self.blocks.interpolated(block, logits)
            reduced = self.reduction(np.ascontiguousarray(values))
            if is_covered is not None:
                reduced = np.where(is_covered, reduced, background)
            put(block.box, reduced)
        for cell in self.blocks.drops.get(number, ()):
            store.drop(cell)

    def _reduce_cell(self, cell: Cell, store: CellStore, put: Put) -> None:
        box, slices = self._native_box(cell)
        if box is not None:
            put(box, self._reduced(store.get(cell)[(slice(None), *slices)]))

    def _reduced(self, sums: NDArray) -> NDArray:
        """The output of sums (K, w, h, d): a cell, or what of it is not padding."""
        if sums.flags.c_contiguous:
            return self.reduction(sums)
        # A scan smaller than its patch is cut out of one cell, of which no copy is projected.
        _, w, h, d = sums.shape
        out = np.empty((self.channels, w, h, d), self.reduction.dtype)
        rows = max(1, min(h, _COPIED // d))
        planes = max(1, _COPIED // (rows * d))
        for x, y in itertools.product(range(0, w, planes), range(0, h, rows)):
            part = slice(None), slice(x, x + planes), slice(y, y + rows)
            out[part] = self.reduction(np.ascontiguousarray(sums[part]))
        return out

    def _native_box(self, cell: Cell) -> tuple[Box | None, tuple[slice, ...]]:
        """Voxels of the scan in a cell, without what was padded, and where they are in the cell."""
        ranges, slices = [], []
        for cell_range, before, size in zip(
            self.plan.box(cell), self.reader.before, self.native.shape, strict=True
        ):
            first, stop = max(cell_range.start - before, 0), min(cell_range.stop - before, size)
            ranges.append(range(first, stop))
            slices.append(
                slice(first + before - cell_range.start, stop + before - cell_range.start)
            )
        if any(r.stop <= r.start for r in ranges):
            return None, ()
        return (ranges[0], ranges[1], ranges[2]), tuple(slices)

    def _emit(
        self, number: int, fetch: Callable[[Cell], None], drop: Callable[[Cell], None]
    ) -> Iterator[Box]:
        """What `_finish` does to the cells, and the boxes that it hands on, without voxels."""
        if self.blocks is None:
            for cell in self.plan.finished(number):
                box, _ = self._native_box(cell)
                if box is not None:
                    fetch(cell)
                    yield box
                drop(cell)
            return
        for block in self.blocks.ready.get(number, ()):
            for cell in self.blocks.cells(block.support) if block.support else ():
                fetch(cell)
            yield block.box
        for cell in self.blocks.drops.get(number, ()):
            drop(cell)
