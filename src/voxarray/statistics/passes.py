"""One pass over the voxels of a source, counted by all threads.

Each thread counts for itself; what they found is merged at the end. Chunks of archives of small
numbers are counted where they are decoded, while they are in the processor's cache; for larger
ones a chunk is too little to pay for a table of bins.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from voxarray.archive.reader import Receive
from voxarray.archive.source import ArchiveSource
from voxarray.core import memory, settings, thread_pools
from voxarray.core.errors import GridError
from voxarray.core.progress import Progress
from voxarray.counting import magnitude_bins as bins
from voxarray.counting.quantile_sketch import FEW
from voxarray.counting.tally import MEASURED
from voxarray.geometry.selection import Selection
from voxarray.source.base import Source
from voxarray.source.pieces import is_sequential, pieces, pieces_peak, require_room
from voxarray.source.sliced import SlicedSource
from voxarray.statistics.decoded_copies import staged, when_staged

_FEW = 1 << 17
"""Voxels that are not worth a second thread."""

_MOST_THREADS = 4
"""Reading keeps no more threads busy."""

_COUNTING = 4 << 20
"""Bytes that a counter of small integers holds: tables, and voxels as `bincount` takes them."""

TABLES = 2 * 2 * 8 * bins.NUMBER
"""Bytes of the bins of a counter of floats, of both signs, and of those of the last values."""

_COPIES = 33
"""Bytes per value counted at once: distances, floats, finite ones, places of bins."""


class Counter(Protocol):
    """Something that is given voxels, and merges with others of its kind."""

    def add(self, voxels: NDArray) -> None:
        """Count voxels (n,)."""

    def add_zeros(self, number: int) -> None:
        """Count so many voxels that are 0."""

    def merge(self, other: Self) -> None:
        """Count what another one counted."""


AnyCounter = TypeVar("AnyCounter", bound=Counter)


def count(
    source: Source,
    make: Callable[[], AnyCounter],
    mask: Source | None = None,
    report: Progress | None = None,
) -> AnyCounter:
    """Give every voxel of a source to a counter, each once.

    Args:
        source: What is counted.
        make: Makes a counter that has counted nothing; called once per thread.
        mask: Voxels other than 0 are counted, and no others; of one channel, or as many as the
            source.
        report: Called with the bytes that are counted and in all, by one thread at a time.

    Raises:
        GridError: If the mask is on another grid (``MASK_MISMATCH``).
        VoxarrayError: What reading finds wrong.
    """
    if mask is not None:
        require_mask(source, mask)
    is_small = source.dtype.itemsize <= 2
    if mask is not None:  # what is chosen, and by what
        per_voxel = 2 * source.dtype.itemsize + mask.dtype.itemsize + 2 + is_small
    else:  # a copy of voxels that do not lie in a row
        per_voxel = 1 if is_small else source.dtype.itemsize
    per_counter, number = _COUNTING if is_small else measuring_bytes(source), _most_threads()
    masking = 0 if mask is None else _masking_bytes(mask)
    if not is_small:  # as many counters as the budget has room for; one must do
        room = memory.budget() - pieces_peak(source, per_voxel) - masking
        number = max(1, min(number, room // per_counter))
    require_room(source, per_voxel, "computing the statistics", per_counter * number + masking)
    with ExitStack() as stack:
        ready = stack.enter_context(staged(source))
        if mask is not None:
            mask = stack.enter_context(staged(mask, in_parts=True))
        return _count(ready, make, mask, report, number)


def _masking_bytes(mask: Source) -> int:
    """Bytes that reading parts of a mask takes; of files of which any part can be read, none."""
    ready = when_staged(mask, in_parts=True)
    return ready.reading_bytes if ready.lazy or is_sequential(ready) else 0


def _most_threads() -> int:
    return min(settings.threads(), _MOST_THREADS)


def measuring_bytes(source: Source) -> int:
    """Bytes that a counter of floats holds; afterwards, what it found takes no more."""
    voxels = math.prod(source.shape)
    return _COPIES * min(voxels, MEASURED) + min(TABLES, voxels * TABLES // FEW)


def _count(
    source: Source,
    make: Callable[[], AnyCounter],
    mask: Source | None,
    report: Progress | None,
    number: int,
) -> AnyCounter:
    sliced = SlicedSource.of(source)
    if mask is None and isinstance(sliced.base, ArchiveSource) and source.dtype.itemsize <= 2:
        return _count_chunks(sliced.base, sliced.selection, make, report)
    counters = [make() for _ in range(number)]
    for voxels in _chosen(source, mask, report):
        if voxels.size <= _FEW or len(counters) == 1:
            counters[0].add(voxels)
        else:
            parts = np.array_split(voxels, len(counters))
            # Reading may compute, and wait for these threads: counting only ever waits for itself.
            list(thread_pools.pool().map(_add, counters, parts))
            del parts
        del voxels  # or it would be held while the next piece is read
    return _merged(counters)


def require_mask(source: Source, mask: Source) -> None:
    """Refuse a mask that does not fit a source.

    Raises:
        GridError: ``MASK_MISMATCH``.
    """
    if not mask.grid.isclose(source.grid):
        raise GridError(
            f"the mask has {mask.grid}, but the image has {source.grid}: resample the mask onto "
            "the image first",
            code="MASK_MISMATCH",
        )
    if mask.shape[0] not in (1, source.shape[0]):
        raise GridError(
            f"the mask has {mask.shape[0]} channels, but the image has {source.shape[0]}: a mask "
            "has one, or as many as the image",
            code="MASK_MISMATCH",
        )


def part_of_mask(mask: Source, box: Selection) -> NDArray:
    """Voxels of a mask where a box of the image is, (1 or C, W, H, D)."""
    channels, *spatial = box.ranges
    if mask.shape[0] == 1:
        channels = range(1)
    return mask.read(Selection((channels, spatial[0], spatial[1], spatial[2])))


def _chosen(source: Source, mask: Source | None, report: Progress | None) -> Iterator[NDArray]:
    for box, voxels in pieces(source, report):
        if mask is None:
            yield voxels.ravel(order="K")
            del voxels  # as in `_count`: one piece is projected
            continue
        in_mask = part_of_mask(mask, box) != 0
        chosen = voxels[np.broadcast_to(in_mask, voxels.shape)]
        del voxels, in_mask
        if chosen.size:
            yield chosen
        del chosen


def _count_chunks(
    archive: ArchiveSource,
    selection: Selection,
    make: Callable[[], AnyCounter],
    report: Progress | None,
) -> AnyCounter:
    """Count chunks of an archive, each by the thread that decoded it."""
    counters: list[AnyCounter] = []
    itemsize, done, lock = archive.dtype.itemsize, 0, threading.Lock()
    total = math.prod(selection.shape) * itemsize

    def report_voxels(number: int) -> None:
        nonlocal done
        if report is not None:
            with lock:
                done += number * itemsize
                report(done, total)

    def start() -> Receive:
        counter = make()
        counters.append(counter)

        def receive(voxels: NDArray | None, number: int) -> None:
            if voxels is None:
                counter.add_zeros(number)
            else:
                counter.add(voxels.ravel())
            report_voxels(number if voxels is None else voxels.size)

        return receive

    archive.scan(selection, start)
    return _merged(counters)


def _add(counter: Counter, voxels: NDArray) -> None:
    counter.add(voxels)


def _merged(counters: list[AnyCounter]) -> AnyCounter:
    first, *others = counters
    for other in others:
        first.merge(other)
    return first
