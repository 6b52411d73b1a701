"""An array cut into pieces that are contiguous on disk."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from numpy.typing import NDArray

from voxarray.geometry.selection import Shape4

SLAB_BYTES = 32 << 20
"""Enough for a large patch, small enough for a few per thread."""

Slab = tuple[range, range, range, range]
"""Indices of a piece along each axis, the one that runs slowest first."""


@dataclass(frozen=True, slots=True)
class Slabs:
    """Pieces of an array, each contiguous: several volumes, else planes, else rows, else voxels.

    Attributes:
        shape: Sizes of the array, the axis that runs slowest first.
        step: Indices per slab along each axis: 1 up to the axis that is cut, all after it.
    """

    shape: Shape4
    step: Shape4

    @classmethod
    def of(cls, shape: Shape4, itemsize: int, target: int) -> Slabs:
        """Slabs of at most ``target`` bytes, but at least one voxel.

        A plane may be larger than any memory (60,000 x 60,000 in a slide): it is cut as well.
        """
        step = list(shape)
        for axis in range(4):
            below = math.prod(shape[axis + 1 :]) * itemsize
            step[axis] = min(shape[axis], max(1, target // below))
            if below <= target:
                break
        a, b, c, d = step
        return cls(shape, (a, b, c, d))

    @property
    def largest(self) -> Shape4:
        """Shape of a full slab."""
        return self.step

    def __iter__(self) -> Iterator[Slab]:
        return self.touching([range(n) for n in self.shape])

    def touching(self, box: Sequence[range]) -> Iterator[Slab]:
        """Slabs that reach into the extent of ascending ranges, one per axis, in disk order."""
        axes = [
            [range(start, min(start + step, size)) for start in _starts(indices, step)]
            for indices, step, size in zip(box, self.step, self.shape, strict=True)
        ]
        return product(*axes)  # type: ignore[return-value]  # one range of each of four lists

    def voxels_before(self, slab: Slab) -> int:
        """Voxels that stand on disk before a slab."""
        return sum(part.start * math.prod(self.shape[axis + 1 :]) for axis, part in enumerate(slab))


def overlap(indices: range, span: range) -> slice:
    """Positions in ascending ``indices`` whose values lie in contiguous ``span``."""
    before = -(-(span.start - indices.start) // indices.step)
    stop = -(-(span.stop - indices.start) // indices.step)
    return slice(max(0, before), min(len(indices), max(0, stop)))


def within(slab: Slab) -> tuple[slice, slice, slice, slice]:
    """The slab as an index of the whole array."""
    a, b, c, d = (slice(part.start, part.stop) for part in slab)
    return a, b, c, d


def parts_of(box: Sequence[range], slab: Slab) -> list[range]:
    """The part of ascending ranges that stands at the positions of a slab."""
    return [indices[part.start : part.stop] for indices, part in zip(box, slab, strict=True)]


def copy_from_slab(
    block: NDArray, slab: Sequence[range], box: Sequence[range], out: NDArray
) -> None:
    """Copy what a decoded slab holds of a box.

    Args:
        block: Voxels of the slab.
        slab: Where they are in the array.
        box: Ascending ranges that are wanted.
        out: Of the shape of the box.
    """
    targets = tuple(overlap(indices, span) for indices, span in zip(box, slab, strict=True))
    sources = tuple(
        slice(r.start - span.start, r.stop - span.start, r.step)
        for r, span in zip((w[p] for w, p in zip(box, targets, strict=True)), slab, strict=True)
    )
    out[targets] = block[sources]


def _starts(indices: range, step: int) -> range:
    return range(indices[0] // step * step, indices[-1] + 1, step)
