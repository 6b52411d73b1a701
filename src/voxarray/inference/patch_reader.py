"""Patches of the preprocessed scan as the network takes them, one batch ahead of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voxarray.core.errors import UnsupportedError
from voxarray.geometry.selection import Selection, Shape3
from voxarray.inference.patch_plan import PatchPlan
from voxarray.source.base import Source

PATCH_PADDING = 0.0
"""What surrounds a volume that is smaller than a patch: MONAI's choice."""

Room = Callable[[Sequence[int]], NDArray[np.float32]]
"""Memory for a batch of a shape."""


def _fresh(shape: Sequence[int]) -> NDArray[np.float32]:
    return np.empty(shape, np.float32)


@dataclass(frozen=True)
class PatchReader:
    """Reads patches of images on one grid, their channels one after another.

    Attributes:
        sources: The images.
        plan: Where patches are.
        before: Voxels (W, H, D) that are padded in front, where a patch is larger than the volume.
    """

    sources: Sequence[Source]
    plan: PatchPlan
    before: Shape3

    @property
    def channels(self) -> int:
        """Channels of a patch."""
        return sum(source.shape[0] for source in self.sources)

    @property
    def patch_bytes(self) -> int:
        """Bytes of one patch in float32."""
        return self.channels * math.prod(self.plan.patch) * 4

    def batches(
        self, size: int, room: Room = _fresh
    ) -> Generator[tuple[range, NDArray[np.float32]]]:
        """Numbers of patches, and the patches (N, C, w, h, d); the next are read meanwhile.

        Args:
            size: Patches of a batch; the last may have fewer.
            room: Called by the thread that reads.
        """
        runs = [
            range(first, min(first + size, len(self.plan)))
            for first in range(0, len(self.plan), size)
        ]
        with ThreadPoolExecutor(1, "voxarray-patches") as ahead:
            coming = ahead.submit(self.read, runs[0], room)
            for number, run in enumerate(runs):
                batch = coming.result()
                if number + 1 < len(runs):
                    coming = ahead.submit(self.read, runs[number + 1], room)
                yield run, batch

    def read(self, numbers: Sequence[int], room: Room = _fresh) -> NDArray[np.float32]:
        """The patches (N, C, w, h, d) of some numbers."""
        batch = room((len(numbers), self.channels, *self.plan.patch))
        batch.fill(PATCH_PADDING)
        for patch, number in zip(batch, numbers, strict=True):
            self._fill(patch, self.plan.start(number))
        return batch

    def _fill(self, patch: NDArray[np.float32], start: Shape3) -> None:
        first = 0
        for source in self.sources:
            count, *shape = source.shape
            ranges, slices = [], []
            for s, before, n, size in zip(start, self.before, self.plan.patch, shape, strict=True):
                low, high = max(0, s - before), min(size, s - before + n)
                ranges.append(range(low, high))
                slices.append(slice(low + before - s, high + before - s))
            voxels = source.read(Selection((range(count), ranges[0], ranges[1], ranges[2])))
            try:
                with np.errstate(over="raise"):
                    patch[(slice(first, first + count), *slices)] = voxels
            except FloatingPointError:
                raise UnsupportedError(
                    f"voxels reach {np.abs(voxels).max():g}, but networks are given float32, "
                    "which ends at 3.4e38: rescale or clamp them in preprocess=",
                    code="UNSUPPORTED_DTYPE",
                    path=source.path,
                ) from None
            first += count
