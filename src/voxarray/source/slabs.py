"""An array cut into pieces that are contiguous on disk."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from voxarray.geometry.selection import Shape4

SLAB_BYTES = 32 << 20
"""Enough for a large patch, small enough for a few per thread."""

Slab = tuple[range, range]
"""Indices along the two slowest axes; the other two are whole."""


@dataclass(frozen=True, slots=True)
class Slabs:
    """Pieces of an array, each contiguous: several outermost items, or part of one of them.

    Attributes:
        shape: Sizes of the array, the axis that runs slowest first.
        step: Indices per slab along the first two axes; the second is whole unless the first is 1.
    """

    shape: Shape4
    step: tuple[int, int]

    @classmethod
    def of(cls, shape: Shape4, itemsize: int, target: int) -> Slabs:
        """Slabs of at most ``target`` bytes, but at least one index of the second axis."""
        row = math.prod(shape[2:]) * itemsize
        if shape[1] * row <= target:
            return cls(shape, (min(shape[0], target // (shape[1] * row)), shape[1]))
        return cls(shape, (1, max(1, min(shape[1], target // row))))

    @property
    def largest(self) -> Shape4:
        """Shape of a full slab."""
        return *self.step, self.shape[2], self.shape[3]

    def __iter__(self) -> Iterator[Slab]:
        return self.touching(range(self.shape[0]), range(self.shape[1]))

    def touching(self, outer: range, inner: range) -> Iterator[Slab]:
        """Slabs that reach into the extent of two ascending ranges, in disk order."""
        for first in _starts(outer, self.step[0]):
            for second in _starts(inner, self.step[1]):
                yield (
                    range(first, min(first + self.step[0], self.shape[0])),
                    range(second, min(second + self.step[1], self.shape[1])),
                )

    def voxels_before(self, slab: Slab) -> int:
        """Voxels that stand on disk before a slab."""
        return (slab[0].start * self.shape[1] + slab[1].start) * math.prod(self.shape[2:])


def overlap(wanted: range, held: range) -> slice:
    """Positions in ascending ``wanted`` whose values lie in contiguous ``held``."""
    before = -(-(held.start - wanted.start) // wanted.step)
    until = -(-(held.stop - wanted.start) // wanted.step)
    return slice(max(0, before), min(len(wanted), max(0, until)))


def _starts(wanted: range, step: int) -> range:
    return range(wanted[0] // step * step, wanted[-1] + 1, step)
