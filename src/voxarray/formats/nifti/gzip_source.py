"""Compressed NIfTI: a stream that is decoded as seldom as possible."""

from __future__ import annotations

import os
from collections.abc import Hashable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from voxarray.core import settings
from voxarray.core.memory import cache_limit
from voxarray.formats._voxels.gzip_index import SeekIndex
from voxarray.formats._voxels.gzip_stream import GzipFeed
from voxarray.formats.nifti.source import Box, NiftiFile
from voxarray.source.block_cache import BLOCKS, BlockCache
from voxarray.source.slabs import SLAB_BYTES, Slab, Slabs, overlap
from voxarray.storage.raw_voxels import as_bytes, make_native

INDEXES = BlockCache(lambda: 256 << 20)
"""Seek indexes of this process. They stay apart from the voxels, which would push them out: an
index takes a thousandth of the memory of its image, and a full pass to make again."""

INDEXES.survive_forks()


@dataclass(frozen=True, eq=False)
class NiftiGzSource(NiftiFile):
    """A ``.nii.gz``.

    Where its voxels come from when a part is read:

    * an image that decodes to no more than ``gzip-whole-limit`` is decoded once and kept, as it
      is stored, in the block cache;
    * of a larger one, slabs are decoded through a seek index, made on one full pass, and kept.

    The whole image is always decoded straight into its destination and not kept. Every full pass
    checks the CRC and the length of the file.
    """

    @cached_property
    def slabs(self) -> Slabs:
        """Units of decoding; settled once, so that chunks never change under a dask graph."""
        limit = min(settings.get_bytes("gzip-whole-limit"), cache_limit())
        if self.header.nbytes <= limit:
            return Slabs(self.disk_shape, self.disk_shape[:2])
        # A slab that the cache cannot keep would be decoded again for each of its planes.
        target = min(SLAB_BYTES, cache_limit() // 2)
        return Slabs.of(self.disk_shape, self.header.stored.itemsize, target)

    def _read_box(self, box: Box, out: NDArray) -> None:
        if out.shape == self.disk_shape and not self._is_kept_whole:
            with self._stream(self.scaling) as stream:
                stream.read_into(out)
                stream.finish()
        else:
            super()._read_box(box, out)

    def _read_stored(self, box: Box, out: NDArray) -> None:
        os.close(self.identity.open())  # what is in the cache must still be what is in the file
        for slab in self.slabs.touching(box[0], box[1]):
            outer, inner = (overlap(r, held) for r, held in zip(box, slab, strict=False))
            block = BLOCKS.get(self._key(slab), lambda slab=slab: self._decode(slab))  # type: ignore[misc]
            held = [*slab, *(range(n) for n in self.disk_shape[2:])]
            wanted = [box[0][outer], box[1][inner], *box[2:]]
            out[outer, inner] = block[
                tuple(
                    slice(r.start - h.start, r.stop - h.start, r.step)
                    for r, h in zip(wanted, held, strict=True)
                )
            ]

    @property
    def _is_kept_whole(self) -> bool:
        return self._key((range(self.disk_shape[0]), range(self.disk_shape[1]))) in BLOCKS

    def _key(self, slab: Slab) -> Hashable:
        return self.identity, slab

    def _feed(self, fd: int) -> GzipFeed:
        feed = GzipFeed(fd)
        feed.skip(self.header.offset)
        return feed

    # --- Decoding -----------------------------------------------------------------------------

    def _decode(self, slab: Slab) -> NDArray:
        """Voxels of a slab as they are stored, in native byte order; read-only."""
        shape = (len(slab[0]), len(slab[1]), *self.disk_shape[2:])
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
            index = INDEXES.get((self.identity, self.slabs), lambda: self._index(fd))
            index.read(fd, index.bounds.index(self._start(slab)), as_bytes(block))
            self.identity.check(fd)
        finally:
            os.close(fd)
        make_native(block, self.header.stored)

    def _index(self, fd: int) -> SeekIndex:
        starts = [self._start(slab) for slab in self.slabs]
        return SeekIndex.build(fd, [*starts, self.header.offset + self.header.nbytes])

    def _start(self, slab: Slab) -> int:
        """Decoded bytes before a slab."""
        return self.header.offset + self.slabs.voxels_before(slab) * self.header.stored.itemsize


def forget() -> None:
    """Drop everything that was decoded in this process."""
    BLOCKS.clear()
    INDEXES.clear()
