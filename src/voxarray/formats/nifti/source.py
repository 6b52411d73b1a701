"""A NIfTI image as a source; uncompressed ones are read box by box."""

from __future__ import annotations

import functools
import os
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from voxarray.core.errors import OutOfRangeError
from voxarray.core.scaling import Scaling
from voxarray.formats._voxels.file_stream import (
    SCALED_BYTES,
    Feed,
    FileStream,
    PlainFeed,
    scaling_bytes,
)
from voxarray.geometry.grid import Grid
from voxarray.geometry.selection import Selection, Shape4
from voxarray.nifti_header.header import NiftiHeader
from voxarray.source.base import Channels, Source, VoxelStream, digest
from voxarray.source.slabs import SLAB_BYTES, Slabs, parts_of, within
from voxarray.storage.file_identity import FileIdentity
from voxarray.storage.raw_voxels import RawVoxels

_DISK_ORDER = (0, 3, 2, 1)
_COLOURS_DISK_ORDER = (3, 2, 1, 0)

Box = Sequence[range]
"""Ascending ranges along the axes as they lie on disk, the slowest first."""


@dataclass(frozen=True, eq=False)
class NiftiFile(Source):
    """What plain and compressed NIfTI files have in common.

    Attributes:
        identity: The file, as it was when its header was read.
        header: What it says.
        is_scaled: Whether `read` applies the header's slope and intercept.
    """

    identity: FileIdentity
    header: NiftiHeader
    is_scaled: bool = True

    @property
    def shape(self) -> Shape4:
        return self.header.shape

    @property
    def affine(self) -> NDArray[np.float64]:
        return self.header.affine

    @property
    def channels(self) -> Channels:
        return self.header.channels

    @property
    def path(self) -> str:
        return self.identity.path

    @property
    def scaling(self) -> Scaling | None:
        return self.header.scaling if self.is_scaled else None

    @functools.cached_property
    def dtype(self) -> np.dtype:
        native = self.header.stored.newbyteorder("=")
        return native if self.scaling is None else self.scaling.dtype(native)

    @functools.cached_property
    def grid(self) -> Grid:
        return super().grid

    @functools.cached_property
    def nifti_header(self) -> bytes:
        return self.header.scrubbed()

    @functools.cached_property
    def chunks(self) -> Shape4:
        return _permuted(self.slabs.largest, self._order)

    @property
    @abstractmethod
    def slabs(self) -> Slabs:
        """Pieces of the array on disk that are best read at once."""

    def unscaled(self) -> Self:
        return self if self.scaling is None else replace(self, is_scaled=False)

    def token(self) -> str:
        return digest("nifti", self.identity, self.scaling)

    # --- Reading ------------------------------------------------------------------------------

    def read(self, selection: Selection) -> NDArray:
        """Voxels of the selection, a (C, W, H, D) view of memory in the order of the file.

        Raises:
            OutOfRangeError: The selection reaches beyond the image.
            SourceChangedError: The file is not the one that was opened.
            TruncatedError: It ends before its voxels do.
        """
        ranges = [selection.ranges[axis] for axis in self._order]
        box = [r if r.step > 0 else r[::-1] for r in ranges]
        if any(r[0] < 0 or r[-1] >= n for r, n in zip(box, self.disk_shape, strict=True)):
            raise OutOfRangeError(
                f"{selection} reaches beyond an image of {self.shape}", path=self.path
            )
        voxels = np.empty([len(r) for r in box], self.dtype)
        with self.identity.named_in_errors():
            self._read_box(box, voxels)
        flips = tuple(slice(None, None, 1 if r.step > 0 else -1) for r in ranges)
        # Both disk orders swap axes in pairs, so that the way back is the way there.
        return voxels[flips].transpose(self._order)

    def stream(self) -> VoxelStream:
        if self.header.colours:  # a stream hands out one channel after another
            return super().stream()
        return self._stream(self.scaling)

    @functools.cached_property
    def disk_shape(self) -> Shape4:
        """Sizes of the array on disk, the axis that runs slowest first."""
        return _permuted(self.shape, self._order)

    @property
    def _order(self) -> tuple[int, int, int, int]:
        """Axes (C, W, H, D) by how slowly they run on disk; the same permutation leads back."""
        return _COLOURS_DISK_ORDER if self.header.colours else _DISK_ORDER

    def _read_box(self, box: Box, out: NDArray) -> None:
        """Fill C-contiguous ``out`` with voxels, scaled if they are to be."""
        if self.scaling is None:
            self._read_stored(box, out)
            return
        for slab in Slabs.of(out.shape, self.header.stored.itemsize, SCALED_BYTES):
            part = out[within(slab)]
            stored = np.empty(part.shape, self.header.stored.newbyteorder("="))
            self._read_stored(parts_of(box, slab), stored)
            part[...] = self.scaling.apply(stored)

    @abstractmethod
    def _read_stored(self, box: Box, out: NDArray) -> None:
        """Fill C-contiguous ``out`` with voxels as they are stored, in native byte order."""

    @abstractmethod
    def _feed(self, fd: int) -> Feed:
        """The bytes of the voxels from the first one on."""

    def _stream(self, scaling: Scaling | None) -> FileStream:
        return FileStream(self.identity, self._feed, self.header.stored, scaling)


@dataclass(frozen=True, eq=False)
class NiftiSource(NiftiFile):
    """An uncompressed ``.nii``: any box costs the bytes of its rows, or little more."""

    @functools.cached_property
    def slabs(self) -> Slabs:
        return Slabs.of(self.disk_shape, self.header.stored.itemsize, SLAB_BYTES)

    @property
    def streaming_bytes(self) -> int:
        return self.reading_bytes if self.header.colours else scaling_bytes(self.scaling)

    def _read_stored(self, box: Box, out: NDArray) -> None:
        fd = self.identity.open()
        try:
            RawVoxels(self.header.offset, self.disk_shape, self.header.stored).read(fd, box, out)
            self.identity.check(fd)
        finally:
            os.close(fd)

    def _feed(self, fd: int) -> Feed:
        return PlainFeed(fd, self.header.offset)


def _permuted(sizes: Shape4, order: tuple[int, int, int, int]) -> Shape4:
    a, b, c, d = (sizes[axis] for axis in order)
    return a, b, c, d
