"""What a read of voxels asks for, chunk by chunk, and how threads share it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TypeVar

from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Piece:
    """Part of one axis of a read that lies in one chunk.

    Attributes:
        chunk: Position of the chunk along the axis.
        shard: Position of its shard.
        slot: What the position adds to the chunk's place in the index of the shard.
        inside: What is taken from the chunk.
        out: Where it goes.
        begin: What the first of it adds to the place of a voxel in the chunk.
        last: What the last of it adds.
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

Item = TypeVar("Item")


def pieces_of(
    wanted: range, chunk: int, per_shard: int, slots: int, voxels: int
) -> Iterator[Piece]:
    """Cut an ascending range at chunk borders; steps along the axis are so many slots or voxels."""
    done = 0
    while done < len(wanted):
        index = wanted[done] // chunk
        first = wanted[done] - index * chunk
        # -(-a // b) rounds up: so many steps begin before the chunk ends.
        count = min(len(wanted) - done, -(-(chunk - first) // wanted.step))
        last = first + (count - 1) * wanted.step
        shard, place = divmod(index, per_shard)
        inside, out = slice(first, last + 1, wanted.step), slice(done, done + count)
        yield Piece(index, shard, place * slots, inside, out, first * voxels, last * voxels)
        done += count


def share(
    items: Iterable[Item],
    threads: int,
    pool: ThreadPoolExecutor,
    work: Callable[[Iterable[Item]], None],
) -> None:
    """Do some work with items, in several threads, this one among them."""
    # Shared: whoever is done with one takes the next. Threads may share the iterator of a list, but
    # no generator, which raises where two advance it at once.
    todo = iter(items)
    tasks = [pool.submit(work, todo) for _ in range(1, threads)]
    try:
        work(todo)
    finally:
        if tasks:
            wait(tasks)  # never leave memory while somebody writes into it
    for task in tasks:
        task.result()
