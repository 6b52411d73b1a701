"""Reading voxels from the shards of an archive: strict, threaded, past every task graph."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from concurrent.futures import wait
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voxarray import settings, workers
from voxarray.archive import handles
from voxarray.archive.codecs import Codec
from voxarray.archive.documents import chunk_key
from voxarray.archive.rows import copy_rows
from voxarray.archive.scratch import scratch
from voxarray.archive.store import Store
from voxarray.errors import FormatError, TruncatedError, VoxarrayError
from voxarray.layout import Index4, Layout, chunk_bytes

Receive = Callable[[NDArray | None, int], None]
"""Takes a chunk of voxels and their number; None if all are background."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Part of one axis of a read that lies in one chunk.

    Attributes:
        chunk: Position of the chunk along the axis.
        inside: What is taken from the chunk.
        out: Where it goes.
    """

    chunk: int
    inside: slice
    out: slice


@dataclass(frozen=True, slots=True)
class ShardedArray:
    """One voxel array of an archive, (n, z, y, x).

    Attributes:
        store: Where the archive lies.
        opened: Identity of the archive when it was opened.
        key: Folder of the array in the archive.
        layout: Shape, chunks, shards.
        dtype: Native byte order.
        codec: Of the chunks.
    """

    store: Store
    opened: Hashable
    key: str
    layout: Layout
    dtype: np.dtype
    codec: Codec

    def read(self, ranges: Sequence[range]) -> NDArray:
        """Voxels at the product of four ranges (n, z, y, x); steps may be negative.

        Memory: the result, and per thread one encoded and one decoded chunk.

        Raises:
            VoxarrayError: If any chunk that is needed is missing, damaged or not what the
                layout says; nothing is filled in.
        """
        ascending = [r if r.step > 0 else r[::-1] for r in ranges]
        out = np.empty([len(r) for r in ascending], self.dtype)
        self._in_threads(ascending, lambda jobs: self._read_all(jobs, out))
        return out[tuple(slice(None, None, 1 if r.step > 0 else -1) for r in ranges)]

    def scan(self, ranges: Sequence[range], start: Callable[[], Receive]) -> None:
        """Hand out the voxels at the product of four ranges, chunk by chunk in any order.

        Memory: per thread one encoded and one decoded chunk.

        Args:
            ranges: As for `read`; nothing is reversed.
            start: Called once by each thread; what it returns is given the thread's chunks: the
                voxels (n, z, y, x), valid until it returns, or None and the number of voxels
                where all are background.

        Raises:
            VoxarrayError: As `read`.
        """
        ascending = [r if r.step > 0 else r[::-1] for r in ranges]
        self._in_threads(ascending, lambda jobs: self._scan_all(jobs, start()))

    def _in_threads(
        self, ranges: Sequence[range], work: Callable[[Iterable[tuple[Piece, ...]]], None]
    ) -> None:
        self._refuse_bomb()
        axes = [list(_pieces(r, c)) for r, c in zip(ranges, self.layout.chunk, strict=True)]
        jobs = list(itertools.product(*axes))
        threads = min(self.store.requests or settings.threads(), len(jobs))
        if threads <= 1:
            work(jobs)
            return
        pool = workers.pool(self.store.requests)
        todo = iter(jobs)  # shared: whoever is done with a chunk takes the next
        tasks = [pool.submit(work, todo) for _ in range(1, threads)]
        try:
            work(todo)
        finally:
            wait(tasks)  # never leave memory while somebody writes into it
        for task in tasks:
            task.result()

    def _scan_all(self, jobs: Iterable[tuple[Piece, ...]], receive: Receive) -> None:
        chunk = scratch("decoded", self.layout.chunk, self.dtype)
        for n, z, y, x in jobs:
            part = chunk[n.inside, z.inside, y.inside, x.inside]
            if self.decode_chunk((n.chunk, z.chunk, y.chunk, x.chunk), chunk):
                receive(part, part.size)
            else:
                receive(None, part.size)

    def _read_all(self, jobs: Iterable[tuple[Piece, ...]], out: NDArray) -> None:
        chunk = scratch("decoded", self.layout.chunk, self.dtype)
        for job in jobs:
            n, z, y, x = job
            index = (n.chunk, z.chunk, y.chunk, x.chunk)
            target = out[n.out, z.out, y.out, x.out]
            if self.decode_chunk(index, chunk):
                copy_rows(target, chunk[n.inside, z.inside, y.inside, x.inside])
            else:
                target[...] = 0

    def decode_chunk(self, index: Index4, out: NDArray) -> bool:
        """Decode one chunk into ``out`` of the chunk's shape; False if it is background.

        Raises:
            VoxarrayError: If it is missing or damaged; the message names it.
        """
        shard = self.layout.shard_of(index)
        key = f"{self.key}/{chunk_key(shard)}"
        slots = math.prod(self.layout.chunks_per_shard)
        handle = handles.shard(self.store, self.opened, key, slots)
        slot = self.layout.slot(index)
        offset, length = handle.index.offsets[slot], handle.index.lengths[slot]
        if offset < 0:
            return False
        encoded = handle.blob.read(offset, length)
        if len(encoded) != length:
            raise TruncatedError(f"{key} ends inside chunk {index}", path=self.store.path)
        try:
            self.codec.decode(encoded, out)
        except (VoxarrayError, RuntimeError, ValueError) as error:
            kind = type(error) if isinstance(error, VoxarrayError) else FormatError
            code = error.code if isinstance(error, VoxarrayError) else "BAD_CHUNK"
            raise kind(
                f"chunk {index} in {key} of {self.store.path}: {getattr(error, 'message', error)}",
                code=code,
                path=self.store.path,
            ) from error
        return True

    def _refuse_bomb(self) -> None:
        size, limit = chunk_bytes(self.layout, self.dtype), settings.get_bytes("chunk-limit")
        if size > limit:
            raise FormatError(
                f"one chunk of {self.key} would decode to {size} bytes, more than the "
                f"{limit} of the setting voxarray.chunk-limit",
                code="BOMB",
                path=self.store.path,
            )


def _pieces(wanted: range, chunk: int) -> Iterator[Piece]:
    """Cut an ascending range at chunk borders."""
    done = 0
    while done < len(wanted):
        index = wanted[done] // chunk
        first = wanted[done] - index * chunk
        count = min(len(wanted) - done, -(-(chunk - first) // wanted.step))
        inside = slice(first, first + (count - 1) * wanted.step + 1, wanted.step)
        yield Piece(index, inside, slice(done, done + count))
        done += count
