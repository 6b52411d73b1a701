"""All voxels of a source, each once, in pieces of bounded size.

What counts, draws or films a volume goes through here, so that no voxel is decoded twice and
memory does not depend on the size of the volume.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from voxarray.core.memory import cache_limit, require
from voxarray.core.progress import Progress
from voxarray.core.promotion import cast
from voxarray.geometry.selection import Selection, Shape4
from voxarray.source.base import Source
from voxarray.source.slabs import Slabs, parts_of
from voxarray.source.sliced import SlicedSource

PIECE_BYTES = 16 << 20
"""Large enough that a piece costs little beside its voxels, small enough for any budget."""

Piece = tuple[Selection, NDArray]
"""Where voxels are in the source, and the voxels, of the selection's shape (C, W, H, D)."""

Room = Callable[[Shape4], NDArray]
"""Memory, C-contiguous, for the (C, D, H, W) voxels of the next piece."""


def pieces(source: Source, report: Progress | None = None) -> Iterator[Piece]:
    """Hand out every voxel of a source once, in the order that suits the file.

    A piece is valid until the next one is asked for. At most one block of the source, or
    `PIECE_BYTES`, is held besides.

    Args:
        source: Whose voxels are wanted.
        report: Called with the bytes of voxels that were handed out, and of all, whenever the
            next piece is asked for.

    Raises:
        VoxarrayError: What reading finds wrong. The checksum of a compressed file is checked
            after its last piece.
        UnsupportedError: There are more voxels than any disk holds, and no end to going through
            them (``TOO_LARGE``).
    """
    from voxarray.source.storable import refuse_beyond_disks  # `voxarray info` does without

    refuse_beyond_disks(source)
    done, total = 0, math.prod(source.shape) * source.dtype.itemsize
    for box, voxels in _pieces(source):
        size = voxels.nbytes
        yield box, voxels
        del voxels  # or it would be held while the next one is read
        if report is not None:
            done += size
            report(done, total)


def pieces_in_turn(source: Source) -> Iterator[Piece]:
    """As `pieces`, for a caller that has done with a piece when it asks for the next.

    Where any part of a file can be read, all pieces are read into the same memory. If each had
    memory of its own, the heap could keep that of the last one, in which the next did not fit.
    """
    base = SlicedSource.of(source).base
    if is_sequential(source) or base.in_memory or base.lazy or is_decoded_anew(source):
        yield from pieces(source)
        return
    from voxarray.source.storable import refuse_beyond_disks  # `voxarray info` does without

    refuse_beyond_disks(source)
    memory = np.empty(0, source.dtype)

    def room(shape: Shape4) -> NDArray:
        nonlocal memory
        size = math.prod(shape)
        if memory.size < size:
            memory = np.empty(size, source.dtype)
        return memory[:size].reshape(shape)

    yield from pieces_into(source, source.dtype, room)


def _pieces(source: Source) -> Iterator[Piece]:
    if is_sequential(source):
        yield from _streamed(source)
        return
    for box in _boxes(source):
        yield box, source.read(box)


def pieces_into(source: Source, dtype: np.dtype, room: Room) -> Iterator[Piece]:
    """As `pieces`, in memory of the caller, without a copy in between where that is possible.

    Args:
        source: Whose voxels are wanted.
        dtype: Of the memory: the source's own, or one that its voxels are to be cast to.
        room: Asked for memory before each piece is read, which is then the caller's.
    """
    if not is_sequential(source):
        for box in _boxes(source):
            out = _room_for(box, room)
            source.read_into(box, out)
            yield box, out
    elif source.dtype == dtype:
        yield from _streamed(source, room)
    else:
        for box, voxels in _streamed(source):
            out = _room_for(box, room)
            cast(voxels, out)
            yield box, out


def _room_for(box: Selection, room: Room) -> NDArray:
    c, w, h, d = box.shape
    return room((c, d, h, w)).transpose(0, 3, 2, 1)


def read_parts(source: Source, parts: Sequence[Selection]) -> list[NDArray]:
    """Voxels of several selections with ascending ranges, decoding a compressed file once.

    Args:
        source: What to read.
        parts: Which voxels; they may overlap.

    Returns:
        One array per part, of its shape.
    """
    if not is_sequential(source) or source.chunks == source.shape:
        return [source.read(part) for part in parts]  # a file of one block is decoded once
    results = [np.empty(part.shape, source.dtype) for part in parts]
    for box, voxels in pieces(source):
        for part, result in zip(parts, results, strict=True):
            _copy_overlap(box, voxels, part, result)
        del voxels  # or it would be held while the next one is read
    return results


def block_bytes(source: Source) -> int:
    """Bytes of a block, as far as the source shows it."""
    return math.prod(source.chunks) * source.dtype.itemsize


def pieces_peak(source: Source, per_voxel: int = 0) -> int:
    """Bytes that handing out all pieces needs at the peak, and what is made of each meanwhile.

    Args:
        source: Whose voxels are wanted.
        per_voxel: Bytes that the caller makes of each voxel of a piece.
    """
    itemsize = source.dtype.itemsize
    source_bytes = math.prod(source.shape) * itemsize
    sliced = SlicedSource.of(source)
    if is_sequential(source):
        piece, reading = min(PIECE_BYTES, source_bytes), source.streaming_bytes
    elif sliced.base.in_memory:
        piece, reading = 0, 0
    else:
        by_block = sliced.base.lazy or is_decoded_anew(sliced)
        piece = block_bytes(source) if by_block else min(PIECE_BYTES, block_bytes(source))
        reading = source.reading_bytes
        if not by_block:
            reading = min(reading, sliced.base.decoding_bytes)
    largest = min(source_bytes, max(piece, PIECE_BYTES)) // itemsize
    return piece + reading + largest * per_voxel


def require_room(source: Source, per_voxel: int, what: str, beside: int = 0) -> None:
    """Refuse to go through the pieces of a source that the budget has no room for.

    Args:
        source: Whose voxels are wanted.
        per_voxel: As `pieces_peak`.
        what: What is to be done with them, such as ``"counting the labels"``.
        beside: Bytes that are held besides, whatever the size of a piece.

    Raises:
        MemoryBudgetError: Before anything is read.
    """
    require(
        pieces_peak(source, per_voxel) + beside,
        lambda: f"{what} of {source.path or 'voxels in memory'} {source.shape}",
        "take a part or a coarser level(n), raise the budget, or convert it to an archive on a "
        "machine with more memory",
    )


def has_stream(source: Source) -> bool:
    """Whether all voxels are wanted, and the file can be read front to back."""
    sliced = SlicedSource.of(source)
    return sliced.is_whole and type(sliced.base).stream is not Source.stream


def is_sequential(source: Source) -> bool:
    """Whether the file is compressed as one piece, so that parts cost as much as the whole."""
    nbytes = math.prod(source.shape) * source.dtype.itemsize
    return has_stream(source) and (SlicedSource.of(source).base.bytes_on_disk or nbytes) < nbytes


def is_decoded_anew(source: Source) -> bool:
    """Whether all of a file is decoded for each part: one block, too large to be kept."""
    base = SlicedSource.of(source).base
    block = math.prod(base.chunks) * base.dtype.itemsize
    return base.chunks == base.shape and not base.in_memory and block > cache_limit()


def _streamed(source: Source, room: Room | None = None) -> Iterator[Piece]:
    c, w, h, d = source.shape
    slabs = Slabs.of((c, d, h, w), source.dtype.itemsize, PIECE_BYTES)
    if room is None:
        buffer = np.empty(slabs.largest, source.dtype)
        room = lambda shape: buffer.reshape(-1)[: math.prod(shape)].reshape(shape)  # noqa: E731
    with source.stream() as stream:
        for channels, z, y, x in slabs:
            slab = room((len(channels), len(z), len(y), len(x)))
            stream.read_into(slab)
            yield Selection((channels, x, y, z)), slab.transpose(0, 3, 2, 1)
        stream.finish()


def _boxes(source: Source) -> Iterator[Selection]:
    """Parts of a source that lie in one of its blocks each, in disk order."""
    sliced = SlicedSource.of(source)
    c, w, h, d = (
        list(cuts(indices, block))
        for indices, block in zip(sliced.selection, sliced.base.chunks, strict=True)
    )
    for channels, z, y, x in itertools.product(c, d, h, w):
        yield from _divided(sliced, Selection((channels, x, y, z)))


def cuts(indices: range, block: int) -> Iterator[range]:
    """Positions in ``indices``, parted where its indices pass from one block to another."""
    groups = itertools.groupby(range(len(indices)), lambda position: indices[position] // block)
    for _, members in groups:
        positions = list(members)
        yield range(positions[0], positions[-1] + 1)


def _divided(sliced: SlicedSource, box: Selection) -> Iterator[Selection]:
    """The box, cut into pieces where reading its block several times costs nothing."""
    if sliced.base.lazy or is_decoded_anew(sliced):
        yield box
        return
    c, w, h, d = box.shape
    channels, x, y, z = box.ranges
    for slab in Slabs.of((c, d, h, w), sliced.dtype.itemsize, PIECE_BYTES):
        of_channels, of_z, of_y, of_x = parts_of((channels, z, y, x), slab)
        yield Selection((of_channels, of_x, of_y, of_z))


def _copy_overlap(box: Selection, voxels: NDArray, part: Selection, result: NDArray) -> None:
    """Fill those voxels of ``result`` (which shows ``part``) that lie in the box."""
    source_slices, target_slices = [], []
    for box_range, part_range in zip(box, part, strict=True):
        positions = [n for n, index in enumerate(part_range) if index in box_range]
        if not positions:
            return
        first = part_range[positions[0]] - box_range.start
        target_slices.append(slice(positions[0], positions[-1] + 1))
        source_slices.append(
            slice(first, part_range[positions[-1]] - box_range.start + 1, part_range.step)
        )
    result[tuple(target_slices)] = voxels[tuple(source_slices)]
