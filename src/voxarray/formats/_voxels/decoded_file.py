"""Files that can only be decoded as a whole: one block, kept in the block cache."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from voxarray.formats._voxels.file_array import Box, FileArray, StoredVoxels
from voxarray.geometry.selection import Shape4
from voxarray.source.base import digest
from voxarray.source.block_cache import BLOCKS


class Decoder(Protocol):
    """How the voxels of one file are decoded; a value that can be compared and pickled."""

    def check(self, stored: StoredVoxels, available: int) -> None:
        """Refuse what a file of ``available`` bytes cannot hold; nothing is allocated.

        Raises:
            FormatError: ``DIMS_EXCEED_FILE``.
        """

    def decode(self, fd: int, stored: StoredVoxels, path: str) -> NDArray:
        """All voxels in the order of the disk, in native byte order.

        Args:
            fd: Descriptor of the file.
            stored: What the header says.
            path: Of the same file, for libraries that take nothing else.
        """


@dataclass(frozen=True, eq=False, kw_only=True)
class DecodedFile(FileArray):
    """One block, decoded when the first voxel is needed, and kept as long as there is room.

    Attributes:
        decoder: Makes the voxels.
    """

    decoder: Decoder

    def _check_extent(self) -> None:
        self.decoder.check(self.stored, self.identity.size)

    @property
    def _block(self) -> Shape4:
        return self.stored.disk_shape

    def token(self) -> str:
        return digest(super().token(), self.decoder)

    def _read_stored(self, box: Box, out: NDArray) -> None:
        with self.opened() as fd:  # what is in the cache must still be what is in the file
            block = BLOCKS.get(self._key, lambda: self._decode(fd))
        out[...] = block[tuple(slice(r.start, r.stop, r.step) for r in box)]

    @property
    def _key(self) -> Hashable:
        return self.identity, self.header, self.stored, self.decoder

    def _decode(self, fd: int) -> NDArray:
        voxels = self.decoder.decode(fd, self.stored, self.identity.path)
        self.identity.check(fd)  # before anybody else may find it in the cache
        block = np.ascontiguousarray(voxels)
        block.flags.writeable = False
        return block
