"""Parts of a box in a mapped file, by what a copy of them may make resident.

A byte that is touched makes all of its folio resident (`voxarray.core.page_cache`), and the rows of
a box lie apart: in folios of their own where planes are large, in common ones where they are small.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from voxarray.core.page_cache import FOLIO

Part = tuple[int | slice, ...]
"""Where a part is in the box: an index of each leading axis, then a slice."""


def parts_within(
    most: int, lengths: Sequence[int], steps: Sequence[int], itemsize: int
) -> Iterator[tuple[Part, int, int]]:
    """Divide a box into parts that make at most so many bytes resident, in the file's order.

    Args:
        most: Bytes; a single voxel may make more resident, and is not divided.
        lengths: Of the box along each axis, the one that runs slowest first.
        steps: Bytes in the file from one index to the next.
        itemsize: Bytes of a voxel.

    Yields:
        Each part, its first byte counted from the box's, and the bytes from its first to its last.
    """
    # From one voxel on, an axis more each time: either each index has folios of its own, or all
    # have what lies between the first and the last.
    span, each = itemsize, itemsize + FOLIO
    axis = len(lengths)
    while axis and (more := _with_axis(lengths[axis - 1], steps[axis - 1], span, each)) <= most:
        axis -= 1
        span += (lengths[axis] - 1) * steps[axis]
        each = more
    if axis == 0:
        yield (), 0, span
        return
    length, step = lengths[axis - 1], steps[axis - 1]
    count = min(length, max(1, most // each, 1 + (most - FOLIO - span) // step))
    for index in itertools.product(*map(range, lengths[: axis - 1])):
        before = sum(n * s for n, s in zip(index, steps, strict=False))
        for start in range(0, length, count):
            last = min(count, length - start) - 1
            yield (*index, slice(start, start + count)), before + start * step, span + last * step


def resident(lengths: Sequence[int], steps: Sequence[int], itemsize: int) -> int:
    """Bytes that a copy of the whole box may make resident; arguments as above."""
    span, needed = itemsize, itemsize + FOLIO
    for length, step in zip(reversed(lengths), reversed(steps), strict=True):
        needed = _with_axis(length, step, span, needed)
        span += (length - 1) * step
    return needed


def _with_axis(length: int, step: int, span: int, each: int) -> int:
    """Bytes that so many indices of an axis may make resident, from those of one."""
    return min(length * each, span + (length - 1) * step + FOLIO)
