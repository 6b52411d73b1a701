"""The memory that writing an archive will need, computed before anything is written.

This imports no module that writes: a user who asks what a conversion costs may never convert.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from voxarray.archive.voxel_encoding import VoxelEncoding, encoding_of
from voxarray.core import memory, settings
from voxarray.geometry.layout import DEFAULT_CHUNK, Factors, Layout, choose, chunk_bytes, coarser
from voxarray.geometry.pyramid_levels import factors_of, require_division
from voxarray.geometry.selection import Shape4
from voxarray.source.base import Source
from voxarray.source.pieces import has_stream, is_decoded_anew, is_sequential
from voxarray.source.sliced import SlicedSource

if TYPE_CHECKING:
    from voxarray.archive.options import Options

_CHUNKS_PER_THREAD = 6
"""Copies of a chunk in one thread: raw, converted, padded, encoded, read back, and a temporary."""

_FREED_BYTES = 48 << 20
"""What the allocator holds of freed chunks in the arenas of the threads (seen: 9 to 40 MiB)."""

_GATHERED_CHUNKS = 16
"""Chunks of a level that are incomplete at once, if shards come in Z-order (see `blocks`)."""

_LARGEST_SLAB = 64 << 20
"""Bytes of a slab of whole planes, of which two are held; if it is larger, shards are read."""


_POSITION_BYTES = 24
"""Bytes for each voxel along the longest axis: its position, raw, encoded and read back."""


def projected_peak(source: Source, options: Options | None = None) -> int:
    """Bytes that converting a source needs at its peak, besides what the process uses already."""
    storage = encoding_of(source)
    layouts, _ = layouts_of(storage, options)
    return block_and_peak(storage, layouts)[1]


def layouts_of(
    storage: VoxelEncoding, options: Options | None, factors: Sequence[Factors] | None = None
) -> tuple[list[Layout], tuple[Factors, ...]]:
    """Chunks and shards of every level, finest first, and the factors between levels.

    Args:
        storage: The image, and the type in which it is stored.
        options: Levels and chunks; None for the defaults.
        factors: For a label map, the factors of the image that it belongs to; None chooses them.
    """
    channels, width, height, depth = storage.source.shape
    x, y, z = storage.source.grid.spacing
    shape = (channels, depth, height, width)
    edge = DEFAULT_CHUNK if options is None else options.chunk_edge
    levels = None if options is None else options.levels
    layouts = [choose(shape, storage.dtype.itemsize, edge)]
    if factors is None:
        factors = factors_of(layouts[0], (z, y, x), levels, edge)
    require_division(layouts[0], factors)
    for step in factors:
        layouts.append(coarser(layouts[-1], step))
    return layouts, tuple(factors)


def peak_of(storage: VoxelEncoding, layouts: Sequence[Layout], block: Shape4) -> int:
    """Bytes at the peak of writing.

    Counts two blocks, incomplete chunks of the coarser levels (a row of chunks for each level), the
    chunks of each thread, positions, the allocator, and what reading the source needs.

    Args:
        storage: The image, and the type in which it is stored.
        layouts: Of every level, finest first.
        block: (n, z, y, x) voxels that are read at once, as of `block_and_peak`.
    """
    finest, source = layouts[0], storage.source
    is_stream = block == usual_block(source, finest) and not is_by_shard(source, finest)
    reading = source.streaming_bytes if is_stream else source.reading_bytes
    rows = sum(_gathering(source, finest, level) for level in layouts[1:])
    return (
        2 * math.prod(block) * source.dtype.itemsize
        + rows * storage.dtype.itemsize
        + _CHUNKS_PER_THREAD * settings.threads() * chunk_bytes(finest, storage.dtype)
        + _POSITION_BYTES * max(finest.shape[1:])
        + _FREED_BYTES
        + reading
    )


def block_and_peak(storage: VoxelEncoding, layouts: Sequence[Layout]) -> tuple[Shape4, int]:
    """Voxels (n, z, y, x) that are read at once, and the peak of writing so, as of `peak_of`.

    A slab or a shard. If that would exceed the budget, and the voxels are computed, it is the
    largest part of one that does not, or the smallest part that there is.
    """
    block = usual_block(storage.source, layouts[0])
    budget, peak = memory.budget(), peak_of(storage, layouts, block)
    if peak > budget:
        for part in _parts_of(block, storage.source, layouts[0]):
            block, peak = part, peak_of(storage, layouts, part)
            if peak <= budget:
                break
    return block, peak


def usual_block(source: Source, layout: Layout) -> Shape4:
    """The block (n, z, y, x) of a source if memory is no concern: a shard, or a slab of planes."""
    if is_by_shard(source, layout):
        return layout.shard
    (count, depth), (height, width) = layout.slab, layout.shape[2:]
    return count, depth, height, width


def _parts_of(block: Shape4, source: Source, layout: Layout) -> Iterator[Shape4]:
    """Ever smaller parts of a block; one after the other, they give its chunks in the same order.

    So the archive has the same bytes. The last part is a row of chunks, or as close to that as the
    blocks of a dask array let it be, which would be computed again for each part that they touch.
    """
    from voxarray.ops.operation import Operation  # not loaded where nothing is computed
    from voxarray.source.array import DaskSource

    base, sizes, chunk = SlicedSource.base_of(source), list(block), layout.chunk
    is_graph = isinstance(base, DaskSource)
    if has_stream(source) or not (is_graph or isinstance(base, Operation)):
        return  # it can be read from start to end only
    if source.dtype == np.float64:
        return  # NumPy would add those of a chunk in another order, see `PyramidWriter._encode`
    n, _, y, z = source.chunks if is_graph else (1, 1, 1, 1)
    for axis, own in enumerate((n, z, y)):
        unit = math.lcm(chunk[axis], min(own, layout.shape[axis]))
        while sizes[axis] > unit:
            sizes[axis] = -(-sizes[axis] // (2 * unit)) * unit
            yield sizes[0], sizes[1], sizes[2], sizes[3]
        if sizes[axis] > chunk[axis]:
            return  # parts along the next axis would come in another order


def _gathering(source: Source, finest: Layout, level: Layout) -> int:
    """Voxels of a coarser level that wait for the rest of their chunks."""
    row = math.prod((*level.chunk[:2], *level.shape[2:]))
    if has_large_planes(source, finest):
        return min(row, _GATHERED_CHUNKS * math.prod(level.chunk))
    return row


def is_by_shard(source: Source, layout: Layout) -> bool:
    """Whether a source is read shard by shard instead of in slabs of whole planes.

    That holds for task graphs, unless slabs consist of whole blocks: else each slab would compute
    the blocks that it touches again. It also holds for files with exchanged axes, where a slab
    would take a little of every stored plane, and for planes that are too large.
    """
    is_graph = source.lazy and not source.inputs
    if (is_graph and not _in_slabs(source, layout)) or source.slow_axes[0] != 2:
        return True
    return has_large_planes(source, layout)


def has_large_planes(source: Source, layout: Layout) -> bool:
    """Whether a slab is too large to be held, and the source can read any part of a plane."""
    count, depth = layout.slab
    slab = count * depth * math.prod(layout.shape[2:]) * source.dtype.itemsize
    if slab <= _LARGEST_SLAB or source.lazy:
        return False
    return not (is_sequential(source) or is_decoded_anew(source))


def _in_slabs(source: Source, layout: Layout) -> bool:
    """Whether every block of a source lies in one slab."""
    volumes, width, height, depth = source.chunks
    _, planes, *plane = layout.shape
    is_whole = (height, width) == tuple(plane)
    count, thickness = layout.slab
    fits = thickness % depth == 0 or thickness == planes
    return is_whole and fits and count % volumes == 0
