"""Compressed files: streams that are decoded as seldom as possible, and never as a whole if large.

* An image that decodes to no more than ``gzip-whole-limit`` is decoded once and kept, as it is
  stored, in the block cache;
* of a larger one, slabs are decoded through an index, made on one full pass, and kept;
* all of it is decoded straight into its destination and not kept.

Every full pass checks what the codec lets be checked (CRC, length), and that no more follows than
may.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from voxarray.core import settings
from voxarray.core.memory import cache_limit
from voxarray.formats._voxels.file_array import VOLUMES, Box, FileArray
from voxarray.formats._voxels.file_stream import FileStream, scaling_bytes
from voxarray.formats._voxels.gzip_at_once import bytes_at_once, feed_of
from voxarray.formats._voxels.stream_decoders import WORKING_BYTES, StreamDecoder, VoxelFeed
from voxarray.geometry.selection import Shape4
from voxarray.source.base import VoxelStream, digest
from voxarray.source.block_cache import BLOCKS, BlockCache
from voxarray.source.slabs import SLAB_BYTES, Slab, Slabs, copy_from_slab
from voxarray.storage.raw_voxels import as_bytes, make_native

INDEXES = BlockCache(lambda: 256 << 20)
"""Indexes of this process. They stay apart from the voxels, which would push them out: an index
takes a thousandth of the memory of its image, and a full pass to make again."""

INDEXES.survive_forks()


def slabs_of(shape: Shape4, itemsize: int) -> Slabs:
    """Units of decoding of a compressed array of some shape on disk: all of it, if it is small."""
    nbytes = math.prod(shape) * itemsize
    if nbytes <= min(settings.get_bytes("gzip-whole-limit"), cache_limit()):
        return Slabs(shape, shape)
    # A slab that the cache cannot keep would be decoded again for each of its planes.
    return Slabs.of(shape, itemsize, min(SLAB_BYTES, cache_limit() // 2))


def reading_bytes(slabs: Slabs, itemsize: int, working: int = WORKING_BYTES) -> int:
    """What reading a part costs beside its result: blocks that stay in the cache, and decoding."""
    slab, total = (math.prod(sizes) * itemsize for sizes in (slabs.step, slabs.shape))
    if slab == total:
        return total + working
    return min(total, cache_limit()) + slab + 2 * working


@dataclass(frozen=True, eq=False, kw_only=True)
class CompressedFile(FileArray):
    """Voxels of a file that is compressed as one stream.

    Attributes:
        decoder: Decompresses it.
    """

    decoder: StreamDecoder

    @cached_property
    def slabs(self) -> Slabs:
        """Units of decoding; decided once, so that chunks never change under a dask graph."""
        return slabs_of(self.stored.disk_shape, self.stored.dtype.itemsize)

    @property
    def reading_bytes(self) -> int:
        return reading_bytes(self.slabs, self.stored.dtype.itemsize, self.decoder.working_bytes)

    @property
    def streaming_bytes(self) -> int:
        if self.stored.axes != VOLUMES:
            return self.reading_bytes
        return self.decoder.working_bytes + self._at_once + scaling_bytes(self.scaling)

    def token(self) -> str:
        return digest(super().token(), self.decoder)

    def stream(self) -> VoxelStream:
        if self.stored.axes != VOLUMES:  # a stream hands out one channel after another
            return super().stream()
        return FileStream(
            self.identity, self._feed_at_once, self.stored.dtype, self.scaling, self._beside
        )

    @cached_property
    def _at_once(self) -> int:
        """Decided once, so that what was projected is what is done."""
        return bytes_at_once(self.decoder, self.identity.size, self.stored)

    def _feed_at_once(self, fd: int) -> VoxelFeed:
        return feed_of(self.decoder, fd, self.stored, self._at_once)

    def _check_extent(self) -> None:
        self.decoder.check(self.stored, self.identity.size)

    @property
    def _block(self) -> Shape4:
        return self.slabs.largest

    def _feed(self, fd: int) -> VoxelFeed:
        return VoxelFeed(self.decoder.feed(fd), self.stored, self.decoder.trailer)

    def _scaled(self, box: Box) -> NDArray:
        shape = tuple(len(r) for r in box)
        # All of it goes straight to its place: kept as well, it would be in memory twice.
        if shape != self.stored.disk_shape or self._key(self._full_slab) in BLOCKS:
            return super()._scaled(box)
        voxels = np.empty(shape, self.dtype)
        with FileStream(
            self.identity, self._feed, self.stored.dtype, self.scaling, self._beside
        ) as stream:
            stream.read_into(voxels)
            stream.finish()
        return voxels

    def _read_stored(self, box: Box, out: NDArray) -> None:
        with self.opened():  # what is in the cache must still be what is in the file
            for slab in self.slabs.touching(box):
                block = BLOCKS.get(self._key(slab), lambda slab=slab: self._decode(slab))  # type: ignore[misc]
                copy_from_slab(block, slab, box, out)

    @property
    def _full_slab(self) -> Slab:
        a, b, c, d = (range(size) for size in self.stored.disk_shape)
        return a, b, c, d

    def _key(self, slab: Slab) -> Hashable:
        return self.identity, self.header, self.stored, self.decoder, slab

    def _decode(self, slab: Slab) -> NDArray:
        """Voxels of a slab as they are stored, in native byte order; read-only."""
        block = np.empty([len(part) for part in slab], self.stored.native)
        with self.opened() as fd:
            if slab == self._full_slab:
                feed = self._feed(fd)
                feed.read_exactly(as_bytes(block))
                feed.finish()
            else:
                key = self.identity, self.stored, self.decoder, self.slabs
                index = INDEXES.get(key, lambda: self.decoder.index(fd, self._bounds))
                index.read(fd, index.bounds.index(self._start(slab)), as_bytes(block))
        make_native(block, self.stored.dtype)
        block.flags.writeable = False
        return block

    @property
    def _bounds(self) -> list[int]:
        starts = [self._start(slab) for slab in self.slabs]
        return [*starts, self.stored.offset + self.stored.nbytes]

    def _start(self, slab: Slab) -> int:
        """Decoded bytes before a slab."""
        return self.stored.offset + self.slabs.voxels_before(slab) * self.stored.dtype.itemsize
