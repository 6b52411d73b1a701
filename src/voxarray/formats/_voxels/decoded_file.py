"""Files that can only be decoded as a whole: one block, kept in the block cache."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from voxarray.core.memory import require
from voxarray.formats._voxels.file_array import Box, FileArray, StoredVoxels
from voxarray.geometry.selection import Shape4
from voxarray.source.base import SequentialReads, VoxelStream, digest
from voxarray.source.block_cache import BLOCKS


class Decoder(Protocol):
    """How the voxels of one file are decoded; a value that can be compared and pickled."""

    def check(self, stored: StoredVoxels, available: int) -> None:
        """Refuse what a file of ``available`` bytes cannot hold; nothing is allocated.

        Raises:
            FormatError: ``DIMS_EXCEED_FILE``.
        """

    def working_bytes(self, stored: StoredVoxels) -> int:
        """What decoding holds besides the voxels."""

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

    @property
    def reading_bytes(self) -> int:
        return self.stored.nbytes + self.decoder.working_bytes(self.stored)

    def stream(self) -> VoxelStream:
        return _Held(self)

    def token(self) -> str:
        return digest(super().token(), self.decoder)

    def _read_stored(self, box: Box, out: NDArray) -> None:
        block = self.block()
        out[...] = block[tuple(slice(r.start, r.stop, r.step) for r in box)]

    def block(self) -> NDArray:
        """All voxels as they are stored, in the order of the disk; read-only.

        Raises:
            MemoryBudgetError: They need more memory than allowed; nothing was decoded.
        """
        with self.opened() as fd:  # what is in the cache must still be what is in the file
            return BLOCKS.get(self._key, lambda: self._decode(fd))

    @property
    def _key(self) -> Hashable:
        return self.identity, self.header, self.stored, self.decoder

    def _decode(self, fd: int) -> NDArray:
        # Whoever wants one voxel decodes all: a slice, a plot, a block of a dask array.
        require(
            self.reading_bytes,
            f"decoding {self.path}, which can only be decoded as a whole,",
            "raise the budget; or, on a machine with more memory, convert it to an archive or save "
            "it as .nii",
        )
        voxels = self.decoder.decode(fd, self.stored, self.identity.path)
        self.identity.check(fd)  # before anybody else may find it in the cache
        block = np.ascontiguousarray(voxels)
        block.flags.writeable = False
        return block


class _Held(SequentialReads):
    """All voxels in order; the block is decoded once, even if the cache has no room for it."""

    def __init__(self, source: DecodedFile) -> None:
        super().__init__(source)
        self._block: NDArray | None = source.block()

    def close(self) -> None:
        self._block = None
