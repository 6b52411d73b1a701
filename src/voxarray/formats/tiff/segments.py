"""The strips or tiles that a page of a TIFF is stored in, by their places in the page.

Places are in five axes, as tifffile normalises them: planes of separate samples, depth, rows,
columns, samples of one pixel.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from voxarray.source.slabs import overlap

Place = tuple[range, ...]
"""Indices of a segment along each of the five axes."""


@dataclass(frozen=True, slots=True)
class Segments:
    """How a page is divided.

    Attributes:
        page: Sizes of the page along the five axes.
        step: Sizes of a segment; those at the ends of the page may reach beyond it.
    """

    page: tuple[int, ...]
    step: tuple[int, ...]

    @classmethod
    def of(cls, page: Any) -> Segments:
        """Of the first page of a series, as tifffile reads it."""
        sizes = tuple(int(n) for n in page.shaped)
        rows = sizes[2] if page.rowsperstrip is None else int(page.rowsperstrip)
        step = (
            (1, int(page.tiledepth), int(page.tilelength), int(page.tilewidth), sizes[4])
            if page.is_tiled
            else (1, 1, min(rows, sizes[2]), sizes[3], sizes[4])
        )
        return cls(sizes, step)

    @property
    def counts(self) -> tuple[int, ...]:
        """Segments along each axis."""
        return tuple(-(-n // step) for n, step in zip(self.page, self.step, strict=True))

    def block(self, target: int) -> tuple[int, ...]:
        """Sizes of the most neighbours, by rows, that have ``target`` pixels; at least of one."""
        sizes, room = list(self.step), target // math.prod(self.step)
        for axis in reversed(range(len(sizes))):
            count = max(1, min(self.counts[axis], room))
            sizes[axis] *= count
            if count < self.counts[axis]:
                break
            room //= count
        return tuple(min(n, size) for n, size in zip(self.page, sizes, strict=True))

    def touching(self, box: Sequence[range]) -> Iterator[tuple[int, Place]]:
        """Numbers in the tables of the file, and places, of the segments that a box reaches."""
        axes = [
            [extent for extent in self._along(axis, indices) if _meet(indices, extent)]
            for axis, indices in enumerate(box)
        ]
        for extents in itertools.product(*axes):
            number = 0
            for extent, step, count in zip(extents, self.step, self.counts, strict=True):
                number = number * count + extent.start // step
            yield number, extents

    def _along(self, axis: int, indices: range) -> Iterator[range]:
        step, size = self.step[axis], self.page[axis]
        for start in range(indices[0] // step * step, indices[-1] + 1, step):
            yield range(start, min(start + step, size))

    def in_full(self, image_sizes: Sequence[int], box: Sequence[range]) -> list[range]:
        """A box along the five axes.

        Args:
            image_sizes: Sizes along the axes that the image has of the page; of one index may be
                left out, or put in.
            box: Ranges along these.
        """
        remaining = iter([r for r, n in zip(box, image_sizes, strict=True) if n > 1])
        return [range(1) if n == 1 else next(remaining) for n in self.page]

    def as_shown(self, image_sizes: Sequence[int], sizes: Sequence[int]) -> tuple[int, ...]:
        """Sizes along the axes that the image has of the page, of those along the five axes."""
        remaining = iter([size for size, n in zip(sizes, self.page, strict=True) if n > 1])
        return tuple(1 if n == 1 else next(remaining) for n in image_sizes)


def _meet(indices: range, extent: range) -> bool:
    """Whether one of ascending indices lies in a segment: strides step over whole ones."""
    positions = overlap(indices, extent)
    return bool(positions.start < positions.stop)
