"""The voxels of a source in the order in which an archive is written, a block ahead of the writer.

Files, and what is computed from them, are read as slabs in the order of the disk, into two buffers
that are used in turn: one is filled while the other is encoded. Lazy arrays whose blocks are no
parts of slabs are computed shard by shard, so that a voxel is computed once. Where the budget has
no room for two slabs or shards of computed voxels, parts of them are read.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import closing

import numpy as np
from numpy.typing import NDArray

from voxarray.archive.codecs import Codec
from voxarray.archive.profiles import Trial
from voxarray.archive.projection import has_large_planes, is_by_shard, usual_block
from voxarray.archive.pyramid import Box
from voxarray.core import heap
from voxarray.core.thread_pools import CallingThread
from voxarray.geometry.layout import Layout
from voxarray.geometry.selection import Selection, Shape4
from voxarray.source.base import Source

Block = tuple[Box, NDArray]

_TRIM_EVERY = 4 << 20
"""Bytes of computed voxels after which the allocator's heap is tidied: arrays of their parts come
and go among what encoding takes, and leave holes that nobody has projected. One-hot labels of
400^3 voxels took 530 MiB where 97 were projected.
"""


def blocks(
    source: Source, layout: Layout, size: Shape4, finished: Callable[[str | None], None]
) -> Generator[Block]:
    """Blocks (n, z, y, x) of all voxels; each is valid until the next is asked for.

    Args:
        source: Read once, from start to end.
        layout: Of the finest level; blocks begin and end at its chunk borders.
        size: Of a block, as of `voxarray.archive.projection.block_and_peak`.
        finished: Called at the end with the sha256 of the source's bytes, or None.

    Raises:
        VoxarrayError: What the source finds wrong, also after its last voxel (its CRC).
    """
    if is_in_parts(source, layout, size):
        return _tidied(source, _parts(source, layout, size, finished))
    made = _shards if is_by_shard(source, layout) else _slabs
    return _tidied(source, made(source, layout, finished))


def is_in_parts(source: Source, layout: Layout, size: Shape4) -> bool:
    """Whether blocks of a size are parts of slabs or shards."""
    return size != usual_block(source, layout)


def _tidied(source: Source, blocks: Generator[Block]) -> Generator[Block]:
    """The same blocks; the heap is tidied between those that are computed."""
    if not source.lazy:
        yield from blocks
        return
    freed = 0
    with closing(blocks):
        for box, block in blocks:
            yield box, block
            freed += block.nbytes
            if freed >= _TRIM_EVERY:
                heap.trim()
                freed = 0


def _slabs(
    source: Source, layout: Layout, finished: Callable[[str | None], None]
) -> Generator[Block]:
    count, depth = layout.slab
    plane = layout.shape[2:]
    boxes = list(_slab_boxes(layout))
    buffers: list[NDArray] = []
    with source.stream() as stream, _ahead(boxes, "voxarray-decode") as decoder:

        def fill(number: int) -> NDArray:
            box = boxes[number]
            volumes, planes = len(box[0]), len(box[1])
            in_memory = stream.take((volumes, planes, *plane))
            if in_memory is not None:
                return in_memory
            if len(buffers) <= number % 2:
                buffers.append(np.empty((count, depth, *plane), source.dtype))
            flat = buffers[number % 2].reshape(-1)[: volumes * planes * plane[0] * plane[1]]
            out = flat.reshape(volumes, planes, *plane)
            stream.read_into(out)
            return out

        stream.start_digest()
        if len(boxes) == 1:  # there is nothing to read ahead
            yield boxes[0], fill(0)
        else:
            filled = decoder.submit(fill, 0)
            for number, box in enumerate(boxes):
                block = filled.result()
                if number + 1 < len(boxes):
                    filled = decoder.submit(fill, number + 1)
                yield box, block
        stream.finish()
        finished(stream.source_digest())


def planes_between(source: Source, layout: Layout, planes: range) -> Generator[Block]:
    """Blocks (1, z, y, x) of some planes of a single volume, read by place, one ahead.

    Args:
        source: Of one volume; any of its planes can be read without those before.
        layout: Of the finest level.
        planes: Begin and end at its chunk borders.
    """
    boxes = [box for box in _slab_boxes(layout) if box[1].start in planes]
    return _tidied(source, _read_ahead(source, boxes))


def first_signal(source: Source, layout: Layout, trial: Trial) -> Codec | None:
    """The codec that a trial chooses of whole slabs or shards, of which only samples are read."""
    boxes = _shard_boxes(layout) if is_by_shard(source, layout) else _slab_boxes(layout)
    choices = (trial.choose(box, lambda region: _read(source, region)) for box in boxes)
    return next((codec for codec in choices if codec is not None), None)


def _slab_boxes(layout: Layout) -> Iterator[Box]:
    count, depth = layout.slab
    volumes, planes, height, width = layout.shape
    for n, z in itertools.product(range(0, volumes, count), range(0, planes, depth)):
        yield (
            range(n, min(n + count, volumes)),
            range(z, min(z + depth, planes)),
            range(height),
            range(width),
        )


def _parts(
    source: Source, layout: Layout, size: Shape4, finished: Callable[[str | None], None]
) -> Generator[Block]:
    boxes = _shard_boxes(layout) if is_by_shard(source, layout) else _slab_boxes(layout)
    yield from _read_ahead(source, _divided(boxes, size), _computed)
    finished(None)  # what is computed has no file of its own


def _divided(boxes: Iterable[Box], size: Shape4) -> list[Box]:
    """Boxes cut into parts of a size, so that their chunks keep their order."""
    return [
        (n, z, y, x)
        for box in boxes
        for n, z, y, x in itertools.product(
            *(
                [range(start, min(start + step, r.stop)) for start in range(r.start, r.stop, step)]
                for r, step in zip(box, size, strict=True)
            )
        )
    ]


def _shards(
    source: Source, layout: Layout, finished: Callable[[str | None], None]
) -> Generator[Block]:
    if not has_large_planes(source, layout):
        yield from _read_ahead(source, list(_shard_boxes(layout)))
        finished(None)
        return
    with source.stream() as stream:  # for the digest of its file alone
        stream.start_digest()
        ordered = sorted(layout.shards(), key=_z_order)
        yield from _read_ahead(source, [_shard_box(layout, position) for position in ordered])
        stream.finish()
        finished(stream.source_digest())


def _z_order(position: tuple[int, int, int, int]) -> tuple[int, int]:
    """Order of a shard on a Z-order curve (Morton code), which completes small cubes first.

    So a chunk of a coarser level is complete soon after it is begun, whatever the size of a plane.
    """
    n, *rest = position
    bits = max(rest).bit_length()
    code = 0
    for bit in reversed(range(bits)):
        for index in rest:
            code = code << 1 | index >> bit & 1
    return n, code


def _read_ahead(
    source: Source, boxes: Sequence[Box], read: Callable[[Source, Box], NDArray] | None = None
) -> Generator[Block]:
    read = read or _read
    with _ahead(boxes, "voxarray-compute") as reader:
        ahead = reader.submit(read, source, boxes[0])
        for number, box in enumerate(boxes):
            block = ahead.result()
            if number + 1 < len(boxes):
                ahead = reader.submit(read, source, boxes[number + 1])
            yield box, block


def _ahead(boxes: Sequence[Box], name: str) -> Executor:
    """A thread that reads a block while the one before is encoded; none for a single block."""
    return ThreadPoolExecutor(1, name) if len(boxes) > 1 else CallingThread()


def _read(source: Source, box: Box) -> NDArray:
    n, z, y, x = box
    if source.inputs and source.dtype == np.float64:
        return _computed(source, box)  # else the memory order is that of its parts, or of one
    return source.read(Selection((n, x, y, z))).transpose(0, 3, 2, 1)


def _computed(source: Source, box: Box) -> NDArray:
    """Voxels of a box in the memory order of a slab, on which sums of 64-bit numbers depend.

    What `Source.read` gives has another order where all is computed at once: that depends on the
    budget.
    """
    n, z, y, x = box
    out = np.empty((len(n), len(z), len(y), len(x)), source.dtype)
    source.read_into(Selection((n, x, y, z)), out.transpose(0, 3, 2, 1))
    return out


def _shard_boxes(layout: Layout) -> Iterator[Box]:
    return (_shard_box(layout, position) for position in layout.shards())


def _shard_box(layout: Layout, position: tuple[int, int, int, int]) -> Box:
    n, z, y, x = (
        range(i * p, min(i * p + p, s))
        for i, p, s in zip(position, layout.shard, layout.shape, strict=True)
    )
    return n, z, y, x
