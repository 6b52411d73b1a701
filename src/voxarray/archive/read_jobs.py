"""Division of a read into jobs, one for each chunk, and their distribution over threads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from voxarray.core import settings, thread_pools


@dataclass(frozen=True, slots=True)
class Piece:
    """Part of one axis of a read that lies in one chunk.

    Attributes:
        chunk: Position of the chunk along the axis.
        shard: Position of its shard.
        slot: Contribution of this axis to the chunk's slot in the index of the shard.
        inside: Voxels that are taken from the chunk.
        out: Where they go in the result.
        begin: Contribution of the first of them to the number of a voxel in the chunk.
        last: Contribution of the last of them.
    """

    chunk: int
    shard: int
    slot: int
    inside: slice
    out: slice
    begin: int
    last: int


Job = tuple[Piece, Piece, Piece, Piece]

Chunks = Iterator[tuple[Job, NDArray | None]]
"""Jobs with their chunks, each valid until the next is asked for; None for background."""

FEW = 8
"""Chunks that meet at a corner."""

_CHUNKS_AT_A_TIME = 8
"""Chunks that a thread takes at once in a read by compiled loops, if there are several threads."""

_CHUNKS_IN_A_CALL = 64
"""Most chunks of one call: Ctrl-C has to wait for its end."""

Item = TypeVar("Item")


def needed(job: Job, dtype: np.dtype) -> tuple[int, int]:
    """The first byte of a decoded chunk that a job needs, and the one after the last."""
    (n, z, y, x), size = job, dtype.itemsize
    begin = n.begin + z.begin + y.begin + x.begin
    last = n.last + z.last + y.last + x.last
    return begin * size, (last + 1) * size


def pieces_of(
    indices: range, chunk: int, per_shard: int, slots: int, voxels: int
) -> Iterator[Piece]:
    """Cut an ascending range of one axis at chunk borders.

    Args:
        indices: Which voxels along the axis.
        chunk: Voxels of a chunk along the axis.
        per_shard: Chunks of a shard along the axis.
        slots: Slots from one chunk to the next along the axis.
        voxels: Voxels in memory from one to the next along the axis.
    """
    written = 0
    while written < len(indices):
        index = indices[written] // chunk
        first = indices[written] - index * chunk
        # -(-a // b) rounds up: so many steps begin before the chunk ends.
        count = min(len(indices) - written, -(-(chunk - first) // indices.step))
        last = first + (count - 1) * indices.step
        shard, within_shard = divmod(index, per_shard)
        inside, out = slice(first, last + 1, indices.step), slice(written, written + count)
        yield Piece(index, shard, within_shard * slots, inside, out, first * voxels, last * voxels)
        written += count


def share(
    items: Iterable[Item],
    threads: int,
    pool: ThreadPoolExecutor,
    work: Callable[[Iterable[Item]], None],
) -> None:
    """Do some work with items, in several threads, this one among them."""
    # All threads take from one iterator. That is safe for the iterator of a list, but not for a
    # generator, which raises if two threads advance it at once.
    shared_items = iter(items)
    tasks = [pool.submit(work, shared_items) for _ in range(1, threads)]
    try:
        work(shared_items)
    finally:
        if tasks:
            wait(tasks)  # the caller may free memory that a thread still writes into
    for task in tasks:
        task.result()


def share_numbers(chunks: int, read: Callable[[Iterable[range]], None]) -> None:
    """Read chunks, given by spans of their numbers, by compiled loops in several threads."""
    threads = min(settings.threads(), -(-chunks // _CHUNKS_AT_A_TIME))
    # With several threads the shares are small, so that all threads finish at about the same time.
    share_size = _CHUNKS_IN_A_CALL if threads == 1 else _CHUNKS_AT_A_TIME
    spans = [range(n, min(n + share_size, chunks)) for n in range(0, chunks, share_size)]
    share(spans, threads, thread_pools.pool(), read)
