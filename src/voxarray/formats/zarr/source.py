"""A foreign Zarr image as a source: any level of it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from voxarray.archive.metadata import Label
from voxarray.core.errors import OutOfRangeError
from voxarray.core.scaling import Scaling
from voxarray.formats.zarr.axes import AxisOrder
from voxarray.formats.zarr.cf import Decoding
from voxarray.formats.zarr.voxels import ZarrVoxels
from voxarray.geometry.selection import Selection, Shape4
from voxarray.source.base import Channels, Source, digest

_BLOCK_BYTES = 16 << 20
"""Small chunks are best read several at once: each read costs about a millisecond."""


@dataclass(frozen=True, slots=True)
class Level:
    """One resolution.

    Attributes:
        voxels: Its array.
        axes: How the array becomes (C, W, H, D).
        affine: (4, 4) voxel index to RAS+ mm, as nested tuples.
        decoding: What its numbers stand for; slope and intercept are the source's.
    """

    voxels: ZarrVoxels
    axes: AxisOrder
    affine: tuple[tuple[float, ...], ...]
    decoding: Decoding


@dataclass(frozen=True, eq=False, kw_only=True)
class ZarrSource(Source):
    """One level of an image that another program wrote.

    Attributes:
        pyramid: All levels, the finest first.
        number: The one that is read.
        path: As the user named it.
        label_table: Names and colours of the values of a label map.
    """

    pyramid: tuple[Level, ...]
    path: str
    number: int = 0
    channels: Channels = Channels()
    scaling: Scaling | None = None
    label_table: tuple[Label, ...] = ()
    header: bytes | None = None

    @property
    def _level(self) -> Level:
        return self.pyramid[self.number]

    @property
    def shape(self) -> Shape4:
        return self._level.axes.shape

    @property
    def dtype(self) -> np.dtype:
        stored = self._level.decoding.dtype
        return stored if self.scaling is None else self.scaling.dtype(stored)

    @property
    def affine(self) -> NDArray[np.float64]:
        affine = np.array(self._level.affine)
        affine.flags.writeable = False
        return affine

    @property
    def chunks(self) -> Shape4:
        level = self._level
        block = _grown(level.axes.permuted(level.voxels.chunks), self.shape, self.dtype.itemsize)
        c, w, h, d = (min(chunk, size) for chunk, size in zip(block, self.shape, strict=True))
        return c, w, h, d

    @property
    def levels(self) -> int:
        return len(self.pyramid)

    @property
    def nifti_header(self) -> bytes | None:
        return None if self.number else self.header

    def level(self, number: int) -> ZarrSource:
        if not 0 <= number < self.levels:
            raise OutOfRangeError(
                f"{self.path} has the levels 0 to {self.levels - 1}, but no level {number}",
                code="NO_LEVEL",
                path=self.path,
            )
        return replace(self, number=number)

    def read(self, selection: Selection) -> NDArray:
        axes = self._level.axes
        ranges = axes.ranges(selection)
        if any(min(r) < 0 or max(r) >= n for r, n in zip(selection, self.shape, strict=True)):
            raise OutOfRangeError(
                f"{selection} reaches beyond an image of {self.shape}", path=self.path
            )
        numbers = self._level.voxels.read(ranges)
        stored = axes.as_image(self._level.decoding.unscaled(numbers))
        return stored if self.scaling is None else self.scaling.apply(stored)

    def unscaled(self) -> ZarrSource:
        return self if self.scaling is None else replace(self, scaling=None)

    def token(self) -> str:
        level, voxels = self._level, self._level.voxels
        array = voxels.store.path, voxels.key, voxels.documents
        return digest("zarr", *array, level.axes, level.affine, level.decoding, self.scaling)


def _grown(chunk: Shape4, shape: Shape4, itemsize: int) -> Shape4:
    """Whole chunks along W, then H, then D, as long as they make no more than a block."""
    sizes = list(chunk)
    for axis in (1, 2, 3):
        slice_bytes = math.prod(sizes) // sizes[axis] * itemsize
        fitting = max(1, _BLOCK_BYTES // (slice_bytes * chunk[axis]))
        sizes[axis] = chunk[axis] * min(fitting, -(-shape[axis] // chunk[axis]))
    c, w, h, d = sizes
    return c, w, h, d
