"""All voxels of a source as bytes, slab by slab, in the order that a format keeps them in."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, Protocol

import numpy as np
from isal import igzip_threaded

from voxarray.core import settings
from voxarray.geometry.selection import Selection
from voxarray.source.base import Source
from voxarray.source.slabs import Slabs
from voxarray.storage.raw_voxels import as_bytes

_SLAB_BYTES = 32 << 20

_FREED_BYTES = 48 << 20
"""What the allocator holds of what the threads that compute have freed."""

_LEVEL = 2  # ISA-L's own choice: level 3 takes three times as long and gains nothing on scans


class Sink(Protocol):
    """Where bytes go."""

    def write(self, data: memoryview | bytes, /) -> object:
        """Take all of ``data``."""


@contextmanager
def sink_of(file: BinaryIO, *, compressed: bool) -> Iterator[Sink]:
    """The file itself, or a gzip stream into it, compressed in threads.

    The stream holds neither a time nor a name: equal images make equal files.
    """
    if not compressed:
        yield file
        return
    with igzip_threaded.open(file, "wb", _LEVEL, threads=settings.threads()) as compressor:
        yield compressor


def write_volumes(source: Source, sink: Sink, stored: np.dtype) -> None:
    """Volumes one after another, x runs fastest.

    Args:
        source: Read once, in disk order.
        sink: Where the bytes go.
        stored: Type, with its byte order, of the numbers to write.
    """
    slabs = _slabs(source)
    buffer = np.empty(math.prod(slabs.largest), source.dtype)
    with source.stream() as stream:
        for slab in slabs:
            shape = [len(part) for part in slab]
            part = buffer[: math.prod(shape)].reshape(shape)
            stream.read_into(part)
            sink.write(as_bytes(part.astype(stored, copy=False)))
        stream.finish()


def write_components(source: Source, sink: Sink, stored: np.dtype) -> None:
    """The components of each voxel together, then x, y, z: arguments as of `write_volumes`."""
    if source.shape[0] == 1:
        write_volumes(source, sink, stored)
        return
    for z, y, x, channels in _component_slabs(source):
        voxels = source.read(Selection((channels, x, y, z))).transpose(3, 2, 1, 0)
        sink.write(as_bytes(np.ascontiguousarray(voxels, stored)))


def projected_peak(source: Source) -> int:
    """Bytes above what the process uses already that writing needs at its peak: a slab as it is
    read, in the buffer and as it is stored, what computing it needs, and the allocator.
    """
    slabs = _component_slabs(source) if source.shape[0] > 1 else _slabs(source)
    largest = max(math.prod(slabs.largest), math.prod(_slabs(source).largest))
    voxels = largest * source.dtype.itemsize
    is_computed = source.inputs or source.lazy
    reading = source.streaming_bytes if source.shape[0] == 1 else source.reading_bytes
    return 3 * voxels + reading + (_FREED_BYTES if is_computed else 0)


def _slabs(source: Source) -> Slabs:
    """Slabs that cut as few of the source's chunks as the bound allows.

    A chunk that is cut is decoded twice; of a graph it would be computed twice: then the bound has
    to yield.
    """
    count, width, height, depth = source.shape
    row = width * source.dtype.itemsize
    plane = height * row
    planes, rows = min(source.chunks[3], depth), height
    is_graph = source.lazy and not source.inputs
    while planes > 1 and planes * plane > _SLAB_BYTES and not is_graph:
        planes = -(-planes // 2)
    if plane > _SLAB_BYTES and not is_graph:  # one plane is too much: rows of it
        planes, rows = 1, min(source.chunks[2], height)
        while rows > 1 and rows * row > _SLAB_BYTES:
            rows = -(-rows // 2)
    volumes = min(source.chunks[0], _SLAB_BYTES // (depth * plane)) if planes == depth else 1
    return Slabs((count, depth, height, width), (max(1, volumes), planes, rows, width))


def _component_slabs(source: Source) -> Slabs:
    return Slabs.of(source.shape[::-1], source.dtype.itemsize, _SLAB_BYTES)
