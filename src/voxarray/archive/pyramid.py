"""From blocks of the finest level to every level of the pyramid, in one pass.

Each chunk is encoded and downsampled while it is in the processor's cache. Its downsampled voxels
go into a chunk of the next level, which is encoded when its last part has come. No level is read
back to make the next. Results are taken in the order of submission, so that the same source always
makes the same bytes.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, wait
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from voxarray.archive.downsample import Reduction
from voxarray.archive.level_writer import Encoded
from voxarray.geometry.layout import Factors, Index4, Layout
from voxarray.storage.buffers import copy_rows, dense

Box = tuple[range, range, range, range]
Chunk = tuple[Index4, NDArray]


class Level(Protocol):
    """Takes the chunks of a level, as `LevelWriter` does."""

    layout: Layout
    dtype: np.dtype

    def encode(self, index: Index4, block: NDArray) -> Encoded: ...
    def append(self, encoded: Encoded) -> None: ...
    def close(self) -> None: ...
    def abandon(self) -> None: ...


@dataclass(slots=True)
class _Gathering:
    """A chunk of a coarser level that is not complete yet."""

    voxels: NDArray
    missing: int


@dataclass(slots=True)
class PyramidWriter:
    """All levels of one image while it is written; used by one thread.

    Attributes:
        levels: Writers, finest first.
        factors: Per level but the first, (z, y, x) factors from the level above.
        reduce: Downsamples voxels of a level to the next.
        convert: Applied to blocks as they come, before they are encoded.
        cpu: Threads that encode.
        observe: Called with index and voxels of every chunk of the finest level, by these threads.
    """

    levels: Sequence[Level]
    factors: Sequence[Factors]
    reduce: Reduction
    convert: Callable[[NDArray], NDArray]
    cpu: Executor
    observe: Callable[[Index4, NDArray], None] | None = None
    _queue: deque[tuple[int, Future[list[Encoded]]]] = field(default_factory=deque)
    _gathering: dict[tuple[int, Index4], _Gathering] = field(default_factory=dict)

    def put(self, box: Box, block: NDArray) -> None:
        """Write a block (n, z, y, x) whose box begins and ends at chunk borders.

        ``block`` may be used again by the caller as soon as this returns.
        """
        layout = self.levels[0].layout
        spans = [
            range(r.start // c, -(-r.stop // c)) for r, c in zip(box, layout.chunk, strict=True)
        ]
        for n, z, y in itertools.product(*spans[:3]):
            row = [(n, z, y, x) for x in spans[3]]
            self._submit(0, [(i, block[_relative(layout.region(i), box)]) for i in row])
        # The caller may overwrite the block after this, so no thread may still be encoding it.
        while any(level == 0 for level, _ in self._queue):
            self._take()

    def close(self) -> None:
        """Finish all levels; every file is then written, read back and synced."""
        while self._queue:
            self._take()
        for level in self.levels:
            level.close()

    def abandon(self) -> None:
        """Stop after a failure and close files."""
        for _, future in self._queue:
            future.cancel()
        wait([future for _, future in self._queue])  # the threads may be those of the process
        for level in self.levels:
            level.abandon()

    def _submit(self, level: int, chunks: list[Chunk]) -> None:
        """Submit chunks to be encoded, in one task: many small tasks cost more than their work."""
        # Looked up here, not in the thread that encodes: only this thread uses `_gathering`.
        targets = [self._target(level, index) for index, _ in chunks]
        self._queue.append((level, self.cpu.submit(self._encode, level, chunks, targets)))

    def _encode(
        self, level: int, chunks: list[Chunk], targets: list[NDArray | None]
    ) -> list[Encoded]:
        encoded = []
        for (index, block), target in zip(chunks, targets, strict=True):
            voxels = dense(block)
            if level == 0:
                voxels = self.convert(voxels)
            if level == 0 and self.observe is not None:
                # NumPy adds 64-bit numbers in an order that depends on the memory layout. The
                # original block keeps the sums the same as in archives that exist.
                self.observe(index, block if voxels.dtype == np.float64 else voxels)
            if target is not None:
                copy_rows(target, self.reduce(voxels, self.factors[level]))
            encoded.append(self.levels[level].encode(index, voxels))
        return encoded

    def _take(self) -> None:
        level, future = self._queue.popleft()
        for encoded in future.result():
            self.levels[level].append(encoded)
            parent = self._parent(level, encoded.index)
            if parent is None:
                continue
            key, box = parent
            gathering = self._gathering[key]
            gathering.missing -= math.prod(len(r) for r in box)
            if gathering.missing == 0:
                del self._gathering[key]
                self._submit(key[0], [(key[1], gathering.voxels)])

    def _target(self, level: int, index: Index4) -> NDArray | None:
        """The view that takes the downsampled voxels of a chunk; None if no level takes them."""
        parent = self._parent(level, index)
        if parent is None:
            return None
        key, box = parent
        writer = self.levels[key[0]]
        region = writer.layout.region(key[1])
        if key not in self._gathering:
            shape = [len(r) for r in region]
            # Not zeroed: it is encoded when `missing` is 0, that is when every voxel was written.
            self._gathering[key] = _Gathering(np.empty(shape, writer.dtype), math.prod(shape))
        return self._gathering[key].voxels[_relative(box, region)]

    def _parent(self, level: int, index: Index4) -> tuple[tuple[int, Index4], Box] | None:
        """Chunk of the next level that a chunk is part of, and its voxels there."""
        if level + 1 == len(self.levels):
            return None
        box = _halved(self.levels[level].layout.region(index), self.factors[level])
        if not all(box):
            return None  # a remainder that is too thin for a voxel of the next level
        layout: Layout = self.levels[level + 1].layout
        n, z, y, x = (r.start // c for r, c in zip(box, layout.chunk, strict=True))
        return (level + 1, (n, z, y, x)), box


def _halved(region: Box, factors: Factors) -> Box:
    n, z, y, x = (
        range(r.start // f, r.stop // f) for r, f in zip(region, (1, *factors), strict=True)
    )
    return n, z, y, x


def _relative(inner: Box, outer: Box) -> tuple[slice, ...]:
    return tuple(
        slice(i.start - o.start, i.stop - o.start) for i, o in zip(inner, outer, strict=True)
    )
