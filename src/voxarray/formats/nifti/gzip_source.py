"""Compressed NIfTI: a stream that is decoded as seldom as possible."""

from __future__ import annotations

import os
from collections.abc import Hashable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from voxarray.formats._voxels.compressed_file import INDEXES, reading_bytes, slabs_of
from voxarray.formats._voxels.file_array import StoredVoxels
from voxarray.formats._voxels.file_stream import FileStream, scaling_bytes
from voxarray.formats._voxels.gzip_at_once import bytes_at_once, feed_of
from voxarray.formats._voxels.stream_decoders import (
    Deflated,
    StreamDecoder,
    VoxelFeed,
)
from voxarray.formats.nifti.source import Box, NiftiFile
from voxarray.source.base import VoxelStream
from voxarray.source.block_cache import BLOCKS
from voxarray.source.slabs import Slab, Slabs, copy_from_slab
from voxarray.storage.raw_voxels import as_bytes, make_native

_GZIP = Deflated(trailer=None)


@dataclass(frozen=True, eq=False)
class NiftiGzSource(NiftiFile):
    """A ``.nii.gz``, or a NIfTI file compressed by another codec.

    When a part is read, its voxels come from blocks and slabs as in
    `voxarray.formats._voxels.compressed_file`. The whole image is always decoded straight into its
    destination and not kept. Every full pass checks the CRC and the length of the file.

    Attributes:
        decoder: Decompresses it; what follows the voxels may be of any length.
    """

    decoder: StreamDecoder = _GZIP

    @cached_property
    def slabs(self) -> Slabs:
        """Units of decoding; decided once, so that chunks never change under a dask graph."""
        return slabs_of(self.disk_shape, self.header.stored.itemsize)

    @property
    def reading_bytes(self) -> int:
        itemsize = self.header.stored.itemsize
        return reading_bytes(self.slabs, itemsize, self.decoder.working_bytes)

    @property
    def streaming_bytes(self) -> int:
        if self.header.colours:
            return self.reading_bytes
        return self.decoder.working_bytes + self._at_once + scaling_bytes(self.scaling)

    def stream(self) -> VoxelStream:
        if self.header.colours:
            return super().stream()
        header, scaling = self.header, self.scaling
        return FileStream(self.identity, self._feed_at_once, header.stored, scaling)

    @cached_property
    def _at_once(self) -> int:
        """Decided once, so that what was projected is what is done."""
        return bytes_at_once(self.decoder, self.identity.size, self._stored)

    def _feed_at_once(self, fd: int) -> VoxelFeed:
        return feed_of(self.decoder, fd, self._stored, self._at_once)

    @property
    def _stored(self) -> StoredVoxels:
        return StoredVoxels(self.header.shape, self.header.stored, offset=self.header.offset)

    def _read_box(self, box: Box, out: NDArray) -> None:
        if out.shape == self.disk_shape and self._key(self._full_slab) not in BLOCKS:
            with self._stream(self.scaling) as stream:
                stream.read_into(out)
                stream.finish()
        else:
            super()._read_box(box, out)

    def _read_stored(self, box: Box, out: NDArray) -> None:
        os.close(self.identity.open())  # what is in the cache must still be what is in the file
        for slab in self.slabs.touching(box):
            block = BLOCKS.get(self._key(slab), lambda slab=slab: self._decode(slab))  # type: ignore[misc]
            copy_from_slab(block, slab, box, out)

    @property
    def _full_slab(self) -> Slab:
        a, b, c, d = (range(size) for size in self.disk_shape)
        return a, b, c, d

    def _key(self, slab: Slab) -> Hashable:
        return self.identity, slab

    def _feed(self, fd: int) -> VoxelFeed:
        return VoxelFeed(self.decoder.feed(fd), self._stored, self.decoder.trailer)

    # --- Decoding -----------------------------------------------------------------------------

    def _decode(self, slab: Slab) -> NDArray:
        """Voxels of a slab as they are stored, in native byte order; read-only."""
        shape = tuple(len(part) for part in slab)
        block = np.empty(shape, self.header.stored.newbyteorder("="))
        if shape == self.disk_shape:
            with self._stream(None) as stream:
                stream.read_into(block)
                stream.finish()
        else:
            self._decode_part(slab, block)
        block.flags.writeable = False
        return block

    def _decode_part(self, slab: Slab, block: NDArray) -> None:
        fd = self.identity.open()
        try:
            bounds = [*map(self._start, self.slabs), self.header.offset + self.header.nbytes]
            key = (self.identity, self.slabs, self.decoder)
            index = INDEXES.get(key, lambda: self.decoder.index(fd, bounds))
            index.read(fd, bounds.index(self._start(slab)), as_bytes(block))
            self.identity.check(fd)
        finally:
            os.close(fd)
        make_native(block, self.header.stored)

    def _start(self, slab: Slab) -> int:
        """Decoded bytes before a slab."""
        return self.header.offset + self.slabs.voxels_before(slab) * self.header.stored.itemsize


def forget() -> None:
    """Drop everything that was decoded in this process."""
    BLOCKS.clear()
    INDEXES.clear()
