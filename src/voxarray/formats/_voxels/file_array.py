"""An array of voxels in a file, in any order of axes: what most formats come down to.

A format's own module reads the header and says where the numbers are (`StoredVoxels`); reading
them is done here, by offset (`PlainFile`), or from a block that was decoded as a whole
(`voxarray.formats._voxels.decoded_file`).
"""

from __future__ import annotations

import math
import os
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from voxarray.core.errors import FormatError, GridError, OutOfRangeError, TruncatedError
from voxarray.core.scaling import Scaling
from voxarray.geometry.grid import checked_affine
from voxarray.geometry.selection import Selection, Shape4
from voxarray.source.base import Channels, Source, digest
from voxarray.source.slabs import SLAB_BYTES, Slabs, parts_of, within
from voxarray.storage.file_identity import FileIdentity
from voxarray.storage.raw_voxels import RawVoxels

Axes = tuple[int, int, int, int]
"""Axes of (C, W, H, D), 0 to 3, the one that runs slowest on disk first."""

VOLUMES: Axes = (0, 3, 2, 1)
"""Volumes one after another, x runs fastest."""

COMPONENTS: Axes = (3, 2, 1, 0)
"""The components of each voxel stand together."""

Box = Sequence[range]
"""Ascending ranges along the axes as they lie on disk, the slowest first."""

_SCALED_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class StoredVoxels:
    """Where the numbers of an image are, and how they are to be read.

    Attributes:
        shape: (C, W, H, D).
        dtype: Of a stored number, in the file's byte order.
        axes: By how slowly they run on disk.
        offset: Bytes before the first number, after decompression where there is any.
    """

    shape: Shape4
    dtype: np.dtype
    axes: Axes = VOLUMES
    offset: int = 0

    @property
    def disk_shape(self) -> Shape4:
        """Sizes of the array on disk, the axis that runs slowest first."""
        a, b, c, d = (self.shape[axis] for axis in self.axes)
        return a, b, c, d

    @property
    def nbytes(self) -> int:
        """Bytes of all voxels."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def native(self) -> np.dtype:
        """The type in the byte order of this machine."""
        return self.dtype.newbyteorder("=")

    def require(self, available: int) -> None:
        """Refuse, before anything is allocated, what an uncompressed file cannot hold.

        Args:
            available: Bytes of the file.

        Raises:
            FormatError: No offset within the file (``BAD_OFFSET``).
            TruncatedError: The file lacks some of its voxels.
        """
        if not 0 <= self.offset <= available:
            raise FormatError(
                f"voxels should start at byte {self.offset}, and the file has {available} bytes: "
                "it was cut short, or its header is wrong; copy it again, or repair the header",
                code="BAD_OFFSET",
            )
        needed = self.offset + self.nbytes
        if needed > available:
            raise TruncatedError(
                f"{self.shape} voxels of {self.dtype.name} end at byte {needed}, and the file has "
                f"{available} bytes: it was cut short, or its header is wrong; copy it again, or "
                "repair the header"
            )

    def require_decoded(self, available: int, ratio: int) -> None:
        """Refuse, before anything is allocated, what a compressed file cannot hold.

        Args:
            available: Bytes of the file.
            ratio: Most bytes that the codec makes of one.

        Raises:
            FormatError: ``DIMS_EXCEED_FILE``.
        """
        if self.nbytes > available * ratio:
            raise FormatError(
                f"{self.shape} voxels of {self.dtype.name} take {self.nbytes} bytes, and "
                f"{available} compressed bytes cannot hold that many: repair the header, or copy "
                "the file again",
                code="DIMS_EXCEED_FILE",
            )


@dataclass(frozen=True, eq=False, kw_only=True)
class FileArray(Source):
    """What all files of one array have in common.

    Attributes:
        identity: The file that holds the voxels, as it was when it was opened.
        header: The file that describes them; None if it is the same.
        placing: A third file, which says where they are; None if there is none.
        parts: Other files that hold voxels of the same image.
        stored: How the voxels lie in the file.
        affine: (4, 4) voxel index to RAS+ mm.
        scaling: Slope and intercept that `read` applies, or None.
        nifti_header: As in `Source`.
    """

    identity: FileIdentity
    stored: StoredVoxels
    affine: NDArray[np.float64]
    header: FileIdentity | None = None
    placing: FileIdentity | None = None
    parts: tuple[FileIdentity, ...] = ()
    channels: Channels = Channels()
    scaling: Scaling | None = None
    nifti_header: bytes | None = None

    def __post_init__(self) -> None:
        with self.identity.named_in_errors():
            object.__setattr__(self, "affine", _placed(self.affine))
            self._check_extent()

    def __reduce__(self) -> tuple[Any, ...]:
        # Made anew, so that the affine stays read-only.
        return _rebuild, (type(self), {f.name: getattr(self, f.name) for f in fields(self)})

    @property
    def shape(self) -> Shape4:
        return self.stored.shape

    @property
    def dtype(self) -> np.dtype:
        native = self.stored.native
        return native if self.scaling is None else self.scaling.dtype(native)

    @property
    def path(self) -> str:
        return (self.header or self.identity).path

    @property
    def chunks(self) -> Shape4:
        sizes = dict(zip(self.stored.axes, self._block, strict=True))
        return sizes[0], sizes[1], sizes[2], sizes[3]

    @property
    def bytes_on_disk(self) -> int:
        return self.identity.size + sum(beside.size for beside in self._beside)

    def unscaled(self) -> Self:
        return self if self.scaling is None else replace(self, scaling=None)

    def token(self) -> str:
        stored = self.stored
        return digest(
            type(self).__name__,
            self.identity,
            self._beside,
            # A pickled dtype says "=" of its byte order where it said "<", so its repr differs.
            (stored.shape, stored.dtype.str, stored.axes, stored.offset),
            self.scaling,
            self.affine,
        )

    def read(self, selection: Selection) -> NDArray:
        """Voxels of the selection, a (C, W, H, D) view of memory in the order of the file.

        Raises:
            OutOfRangeError: The selection reaches beyond the image.
            SourceChangedError: The file is not the one that was opened.
            FormatError: It ends before its voxels do, or cannot be decoded.
        """
        ranges = [selection.ranges[axis] for axis in self.stored.axes]
        box = [r if r.step > 0 else r[::-1] for r in ranges]
        if any(r[0] < 0 or r[-1] >= n for r, n in zip(box, self.stored.disk_shape, strict=True)):
            raise OutOfRangeError(
                f"{selection} reaches beyond an image of {self.shape}", path=self.path
            )
        with self.identity.named_in_errors():
            voxels = self._scaled(box)
        flips = tuple(slice(None, None, 1 if r.step > 0 else -1) for r in ranges)
        return voxels[flips].transpose(np.argsort(self.stored.axes))

    @contextmanager
    def opened(self) -> Iterator[int]:
        """Descriptor of the file of the voxels; nothing may change while it is open.

        Raises:
            SourceChangedError: The file, or one beside it, is not the one that was opened.
        """
        for beside in self._beside:
            os.close(beside.open())
        fd = self.identity.open()
        try:
            yield fd
            self.identity.check(fd)
            for part in self.parts:
                os.close(part.open())
        finally:
            os.close(fd)

    @property
    def _beside(self) -> tuple[FileIdentity, ...]:
        """Files that are read besides the one of the voxels."""
        return (
            *(identity for identity in (self.header, self.placing) if identity is not None),
            *self.parts,
        )

    @property
    @abstractmethod
    def _block(self) -> Shape4:
        """Sizes, in the order of the disk, that are best read at once."""

    @abstractmethod
    def _check_extent(self) -> None:
        """Refuse what the file cannot hold; nothing is read."""

    @abstractmethod
    def _read_stored(self, box: Box, out: NDArray) -> None:
        """Fill C-contiguous ``out`` with voxels as they are stored, in native byte order."""

    def _scaled(self, box: Box) -> NDArray:
        voxels = np.empty([len(r) for r in box], self.dtype)
        if self.scaling is None:
            self._read_stored(box, voxels)
            return voxels
        for slab in Slabs.of(voxels.shape, self.stored.dtype.itemsize, _SCALED_BYTES):
            part = voxels[within(slab)]
            stored = np.empty(part.shape, self.stored.native)
            self._read_stored(parts_of(box, slab), stored)
            part[...] = self.scaling.apply(stored)
        return voxels


@dataclass(frozen=True, eq=False, kw_only=True)
class PlainFile(FileArray):
    """Uncompressed voxels: any box costs the bytes of its rows, or little more."""

    def _check_extent(self) -> None:
        self.stored.require(self.identity.size)

    @property
    def _block(self) -> Shape4:
        return Slabs.of(self.stored.disk_shape, self.stored.dtype.itemsize, SLAB_BYTES).largest

    def _read_stored(self, box: Box, out: NDArray) -> None:
        stored = self.stored
        with self.opened() as fd:
            RawVoxels(stored.offset, stored.disk_shape, stored.dtype).read(fd, box, out)


def _placed(affine: NDArray[np.float64]) -> NDArray[np.float64]:
    try:
        return checked_affine(affine)
    except GridError as error:
        raise FormatError(error.message, code=error.code) from error


def _rebuild(cls: type[FileArray], state: dict[str, Any]) -> FileArray:
    return cls(**state)
