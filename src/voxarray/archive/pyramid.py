"""From blocks of the finest level to every level of the pyramid, in one pass.

Each chunk is encoded and downsampled while it is in the processor's cache. Its downsampled voxels
go into a chunk of the next level, which is encoded when its last part has come. No level is read
back to make the next. Results are taken in the order of submission, so that the same source always
makes the same bytes.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, wait
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from voxarray.archive.codecs import is_uniform
from voxarray.archive.downsample import Downsampling
from voxarray.archive.level_writer import Encoded
from voxarray.core.thread_pools import CallingThread
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

    level: int
    index: Index4
    region: Box
    voxels: NDArray
    missing: int


@dataclass(frozen=True, slots=True)
class _Part:
    """Where the downsampled voxels of a chunk go."""

    whole: _Gathering
    voxels: NDArray


@dataclass(frozen=True, slots=True)
class _Task:
    """Chunks of a level that are being encoded."""

    level: int
    future: Future[list[Encoded]]
    parts: Sequence[_Part | None]


@dataclass(slots=True)
class PyramidWriter:
    """All levels of one image while it is written; used by one thread.

    Attributes:
        levels: Writers, finest first.
        factors: Per level but the first, (z, y, x) factors from the level above.
        reduce: Downsamples voxels of a level to the next; equal ones to what they are.
        convert: Applied to blocks as they come, before they are encoded.
        cpu: Threads that encode.
        observe: Called with index and voxels of every chunk of the finest level, by these threads;
            tells all values of the chunk, if it knows them, which help ``reduce``.
    """

    levels: Sequence[Level]
    factors: Sequence[Factors]
    reduce: Downsampling
    convert: Callable[[NDArray], NDArray]
    cpu: Executor
    observe: Callable[[Index4, NDArray], NDArray | None] | None = None
    _queue: deque[_Task] = field(default_factory=deque)
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
        while any(task.level == 0 for task in self._queue):
            self._take()

    def close(self) -> None:
        """Finish all levels; every file is then written, read back and synced."""
        while self._queue:
            self._take()
        for level in self.levels:
            level.close()

    def abandon(self) -> None:
        """Stop after a failure and close files."""
        for task in self._queue:
            task.future.cancel()
        wait([task.future for task in self._queue])  # the threads may be those of the process
        for level in self.levels:
            level.abandon()

    def _submit(self, level: int, chunks: list[Chunk]) -> None:
        """Submit chunks to be encoded, in one task: many small tasks cost more than their work."""
        # Looked up here, not in the thread that encodes: only this thread uses `_gathering`.
        parts = [self._part(level, index) for index, _ in chunks]
        targets = [None if part is None else part.voxels for part in parts]
        if isinstance(self.cpu, CallingThread):  # at once, without a task to keep
            self._settle(level, self._encode(level, chunks, targets), parts)
        else:
            future = self.cpu.submit(self._encode, level, chunks, targets)
            self._queue.append(_Task(level, future, parts))

    def _encode(
        self, level: int, chunks: list[Chunk], targets: list[NDArray | None]
    ) -> list[Encoded]:
        encoded = []
        for (index, block), target in zip(chunks, targets, strict=True):
            voxels, values = dense(block), None
            if level == 0:
                voxels = self.convert(voxels)
            if level == 0 and self.observe is not None:
                # NumPy adds 64-bit numbers in an order that depends on the memory layout. The
                # original block keeps the sums the same as in archives that exist.
                values = self.observe(index, block if voxels.dtype == np.float64 else voxels)
            if target is not None and is_uniform(voxels):
                target[...] = voxels.flat[0]  # what equal voxels are reduced to, by any rule
            elif target is not None:
                known = () if values is None else (values,)
                copy_rows(target, self.reduce(voxels, self.factors[level], *known))
            encoded.append(self.levels[level].encode(index, voxels))
        return encoded

    def _take(self) -> None:
        task = self._queue.popleft()
        self._settle(task.level, task.future.result(), task.parts)

    def _settle(self, level: int, chunks: Sequence[Encoded], parts: Sequence[_Part | None]) -> None:
        for encoded, part in zip(chunks, parts, strict=True):
            self.levels[level].append(encoded)
            if part is None:
                continue
            whole = part.whole
            whole.missing -= part.voxels.size
            if whole.missing == 0:
                del self._gathering[whole.level, whole.index]
                self._submit(whole.level, [(whole.index, whole.voxels)])

    def _part(self, level: int, index: Index4) -> _Part | None:
        """The part of a chunk of the next level that a chunk makes; None if it makes none."""
        if level + 1 == len(self.levels):
            return None
        box = _halved(self.levels[level].layout.region(index), self.factors[level])
        if not all(box):
            return None  # a remainder that is too thin for a voxel of the next level
        writer = self.levels[level + 1]
        edge_n, edge_z, edge_y, edge_x = writer.layout.chunk
        n, z, y, x = (r.start for r in box)
        parent = n // edge_n, z // edge_z, y // edge_y, x // edge_x
        whole = self._gathering.get((level + 1, parent))
        if whole is None:
            whole = self._begin(level + 1, parent)
        return _Part(whole, whole.voxels[_relative(box, whole.region)])

    def _begin(self, level: int, index: Index4) -> _Gathering:
        region = self.levels[level].layout.region(index)
        # Not zeroed: it is encoded when `missing` is 0, that is when every voxel was written.
        voxels = np.empty([len(r) for r in region], self.levels[level].dtype)
        whole = _Gathering(level, index, region, voxels, voxels.size)
        self._gathering[level, index] = whole
        return whole


def _halved(region: Box, factors: Factors) -> Box:
    n, z, y, x = region
    by_z, by_y, by_x = factors
    return (
        n,
        range(z.start // by_z, z.stop // by_z),
        range(y.start // by_y, y.stop // by_y),
        range(x.start // by_x, x.stop // by_x),
    )


def _relative(inner: Box, outer: Box) -> tuple[slice, slice, slice, slice]:
    n, z, y, x = inner
    n0, z0, y0, x0 = outer[0].start, outer[1].start, outer[2].start, outer[3].start
    return (
        slice(n.start - n0, n.stop - n0),
        slice(z.start - z0, z.stop - z0),
        slice(y.start - y0, y.stop - y0),
        slice(x.start - x0, x.stop - x0),
    )
