"""A selection of an array, divided where it touches more chunks than should be read at once.

zarr-python makes a task of 2 KiB for each chunk before it reads the first one, so that an array of
tiny chunks takes many times the memory of its voxels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

MOST_AT_ONCE = 1024
"""Chunks, whose tasks take some 2.5 MiB; enough for all of them that zarr-python reads at once."""

Part = tuple[slice, ...]
"""Positions in the ranges of the selection, an axis each."""


def divided(
    ranges: Sequence[range], chunks: Sequence[int], most: int = MOST_AT_ONCE
) -> Iterator[Part]:
    """Parts that touch at most ``most`` chunks each, and no chunk twice.

    Args:
        ranges: Ascending indices along each axis of the array, none empty.
        chunks: Sizes of its chunks.
        most: At least 1.
    """
    yield from _divided([range(len(r)) for r in ranges], ranges, chunks, most)


def _divided(
    parts: list[range], ranges: Sequence[range], chunks: Sequence[int], most: int
) -> Iterator[Part]:
    spans = [
        (r[t[0]] // size, r[t[-1]] // size)
        for t, r, size in zip(parts, ranges, chunks, strict=True)
    ]
    counts = [last - first + 1 for first, last in spans]
    if math.prod(counts) <= most:
        yield tuple(slice(t.start, t.stop) for t in parts)
        return
    axis = counts.index(max(counts))
    first, last = spans[axis]
    border = (first + last + 1) // 2 * chunks[axis]  # where a chunk begins
    r, t = ranges[axis], parts[axis]
    cut = -((r.start - border) // r.step)
    for half in (range(t.start, cut), range(cut, t.stop)):
        yield from _divided([*parts[:axis], half, *parts[axis + 1 :]], ranges, chunks, most)
