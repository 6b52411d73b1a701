"""Uncompressed voxels in a file: reading any box of them with few calls and few bytes.

Files are read: a mapped file that somebody truncates kills the process with SIGBUS, and a read of
it is an error that can be named. Only boxes of short rows are copied from a map, while a lease
keeps everybody from changing the file (`voxarray.storage.read_lease`).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from voxarray.core import page_cache, portable
from voxarray.core.errors import TruncatedError
from voxarray.storage import read_lease, resident_parts

MAX_SPAN = 8 << 20
"""Bytes that one call may read, or one copy make resident, beside the output."""

LEAST_LEASED = 64 << 10
"""Bytes of a result for which taking a lease is worth it."""

_LARGEST_CALL = 1 << 30  # Linux reads at most 2 GiB at once

Fetch = Callable[[memoryview, int], None]
"""Fills a view with the bytes of a file from a position on, or raises."""


@dataclass(frozen=True, slots=True)
class Costs:
    """What reading takes; only the ratio matters.

    Attributes:
        call: Seconds per call.
        byte: Seconds per byte.
    """

    call: float
    byte: float


# Measured on Linux, files in the page cache: a call costs as much as 25 KiB, so the rows of a small
# patch are better read together with the gaps between them.
LOCAL = Costs(2.5e-6, 1e-10)


@dataclass(frozen=True, slots=True)
class RawVoxels:
    """An array that stands in a file without gaps.

    Attributes:
        offset: Bytes before the first voxel.
        shape: Sizes, the axis that runs slowest first.
        dtype: Of a stored number, in the file's byte order.
    """

    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype

    def read(self, fd: int, ranges: Sequence[range], out: NDArray) -> None:
        """Fill ``out`` with the voxels that ``ranges`` select; as `fetch`, from a local file."""
        if not (self._has_short_rows(ranges, out.nbytes) and self._copy_leased(fd, ranges, out)):
            self.fetch(partial(read_exactly, fd), ranges, out)

    def _copy_leased(self, fd: int, ranges: Sequence[range], out: NDArray) -> bool:
        """As `fetch`, if the file can be leased and has the voxels; says whether."""
        strides = self._strides
        steps = [size * r.step for size, r in zip(strides, ranges, strict=True)]
        first = self.offset + sum(r[0] * s for r, s in zip(ranges, strides, strict=True))
        with read_lease.mapped_under_read_lease(fd) as pages:
            if pages is None or first + self._span(ranges, steps) > len(pages):
                return False
            selected: NDArray = np.ndarray(out.shape, self.dtype, pages, first, steps)
            box = [len(r) for r in ranges], steps, self.dtype.itemsize
            if (resident := resident_parts.resident(*box)) <= page_cache.LEAST_BYTES:
                page_cache.touch(resident)
                out[...] = selected
                return True
            # A plane across all rows would make the whole volume resident, as may a patch where
            # planes are large: no more of it than reading would take beside the output.
            for part, start, size in resident_parts.parts_within(MAX_SPAN, *box):
                out[part] = selected[part]
                page_cache.give_back_around(pages, first + start, size)
        return True

    def _has_short_rows(self, ranges: Sequence[range], nbytes: int) -> bool:
        """Whether more than twice the wanted bytes would be read: enough to matter."""
        if nbytes < LEAST_LEASED:
            return False
        *outer, row, voxel = ranges
        steps = [s * r.step for s, r in zip(self._strides[-2:], (row, voxel), strict=True)]
        return 2 * nbytes < math.prod(map(len, outer)) * self._span((row, voxel), steps)

    def fetch(
        self, read: Fetch, ranges: Sequence[range], out: NDArray, costs: Costs = LOCAL
    ) -> None:
        """Fill ``out`` with the voxels that ``ranges`` select.

        Args:
            read: Fills a view with the bytes of the file from a position on.
            ranges: One per axis, in the order of ``shape``, with positive steps.
            out: C-contiguous, in native byte order.
            costs: What calls of ``read`` cost.

        Raises:
            TruncatedError: The file ends before the voxels do.
        """
        steps = [size * r.step for size, r in zip(self._strides, ranges, strict=True)]
        level = self._cheapest_level(ranges, steps, costs)
        size = self._span(ranges[level:], steps[level:])
        parts = out.reshape(-1, *out.shape[level:])
        if size == parts[0].nbytes:
            view = as_bytes(out)
            for n, start in enumerate(self._starts(ranges, level)):
                read(view[n * size : (n + 1) * size], start)
            make_native(out, self.dtype)
            return
        span = np.empty(size, np.uint8)
        selected: NDArray = np.ndarray(parts.shape[1:], self.dtype, span, strides=steps[level:])
        view = as_bytes(span)
        for part, start in zip(parts, self._starts(ranges, level), strict=True):
            read(view, start)
            part[...] = selected

    @property
    def _strides(self) -> list[int]:
        """Bytes from one index to the next along each axis."""
        strides = [self.dtype.itemsize]
        for size in self.shape[:0:-1]:
            strides.append(strides[-1] * size)
        return strides[::-1]

    def _starts(self, ranges: Sequence[range], level: int) -> Iterator[int]:
        """Where in the file each part begins, one part per index of the leading axes."""
        strides = self._strides
        first = self.offset + sum(r[0] * s for r, s in zip(ranges, strides, strict=True))
        return (
            first + sum(steps)
            for steps in itertools.product(
                *(
                    range(0, len(r) * r.step * s, r.step * s)
                    for r, s in zip(ranges[:level], strides, strict=False)
                )
            )
        )

    def _span(self, ranges: Sequence[range], steps: Sequence[int]) -> int:
        """Bytes from the first voxel of a part to the end of its last."""
        last = sum((len(r) - 1) * step for r, step in zip(ranges, steps, strict=True))
        return last + self.dtype.itemsize

    def _cheapest_level(self, ranges: Sequence[range], steps: Sequence[int], costs: Costs) -> int:
        """Number of leading axes to loop over, one call for each index, in the least time."""
        calls = math.prod(map(len, ranges))
        span = selected_bytes = self.dtype.itemsize  # from one voxel on, an axis more each time
        lowest, best = math.inf, len(ranges)
        for level in range(len(ranges), -1, -1):
            if level < len(ranges):
                length = len(ranges[level])
                calls //= length
                selected_bytes *= length
                span += (length - 1) * steps[level]
            if span == selected_bytes or span <= MAX_SPAN:
                seconds = calls * (costs.call + span * costs.byte)
                if seconds <= lowest:
                    lowest, best = seconds, level
        return best


def as_bytes(array: NDArray) -> memoryview:
    """The memory of a C-contiguous array, to be written to."""
    return array.reshape(-1).view(np.uint8).data


def read_exactly(fd: int, view: memoryview, start: int) -> None:
    """Fill ``view`` with the bytes of a file from ``start`` on.

    Raises:
        TruncatedError: The file ends before.
    """
    done = portable.preadv(fd, [view[:_LARGEST_CALL]], start)
    while done < len(view):
        count = portable.preadv(fd, [view[done : done + _LARGEST_CALL]], start + done)
        if count == 0:
            raise TruncatedError(
                f"expected {len(view)} bytes at {start}, got {done}: the file ends too early; "
                "copy or download it again"
            )
        done += count


def make_native(out: NDArray, stored: np.dtype) -> None:
    """Turn voxels that were read as they are stored into native byte order, in place."""
    if not stored.isnative:
        out.byteswap(inplace=True)
