"""The slices of a volume as pictures, one after another, as they are looked at.

Radiological convention as in `voxarray.rendering.planes`; anisotropic voxels take as many pixels
as their size demands. Slices are read a few at a time, whatever the size of the volume.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voxarray.core.errors import UnsupportedError
from voxarray.core.label_colours import paint
from voxarray.core.memory import budget, require
from voxarray.geometry.selection import Selection
from voxarray.rendering.intensity_window import to_grey
from voxarray.source.base import Source
from voxarray.source.pieces import cuts
from voxarray.source.sliced import SlicedSource

BATCH_BYTES = 64 << 20
"""Slices that are read at once, as far as the memory budget permits."""

_DRAWING = 28
"""Bytes per pixel while a slice becomes a picture: as floats, scaled, as bytes."""

_TOWARDS = {"I": "IPL", "S": "SPL", "A": "AIL", "P": "PIL", "R": "RIP", "L": "LIP"}
"""Where frames, rows and columns advance to, by where the frames do: TorchIO's table."""


@dataclass(frozen=True)
class Frames:
    """Pictures of all slices along one direction.

    Attributes:
        view: The voxels, their axes reversed so that frames, rows and columns ascend.
        order: Voxel axes (0, 1, 2) of the frames, rows and columns.
        limits: Intensities that become black and white.
        colours: Colours of labels by value; None for intensities.
    """

    view: SlicedSource
    order: tuple[int, int, int]
    limits: tuple[float, float]
    colours: Mapping[float, tuple[int, int, int]] | None

    @classmethod
    def of(
        cls,
        source: Source,
        direction: str,
        limits: tuple[float, float],
        colours: Mapping[float, tuple[int, int, int]] | None,
    ) -> Frames:
        """Look at a volume.

        Args:
            source: One channel, or three for red, green and blue.
            direction: Where the slices advance to: I, S, A, P, R or L.
            limits: As in the class.
            colours: As in the class.

        Raises:
            ValueError: For another direction.
        """
        if direction.upper() not in _TOWARDS:
            raise ValueError(f"Direction must be one of {', '.join(_TOWARDS)}, got {direction!r}")
        order, flipped = source.grid.reorientation(_TOWARDS[direction.upper()])
        ranges = [range(n) for n in source.shape]
        for position in flipped:
            axis = 1 + order[position]
            ranges[axis] = ranges[axis][::-1]
        selection = Selection((ranges[0], ranges[1], ranges[2], ranges[3]))
        return cls(SlicedSource.of(source).take(selection), order, limits, colours)

    def __len__(self) -> int:
        return self.view.shape[1 + self.order[0]]

    def require_room(self) -> None:
        """Refuse a film of which a few slices, and the picture of one, exceed the budget.

        Raises:
            MemoryBudgetError: Before anything is read.
        """
        channels, axis = self.view.shape[0], 1 + self.order[0]
        slice_bytes = self._slice_bytes
        batch = min(BATCH_BYTES, budget() // 8, slice_bytes * self.view.base.chunks[axis])
        pixels = slice_bytes // self.view.dtype.itemsize + math.prod(self.size) * channels
        require(
            max(batch, slice_bytes) + self.view.reading_bytes + _DRAWING * pixels,
            lambda: f"filming {self.view.path or 'voxels in memory'} {self.view.shape}",
            "film a part or a coarser level(n), or raise the budget",
        )

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns of each picture."""
        spacing = [self.view.grid.spacing[axis] for axis in self.order[1:]]
        rows, columns = (
            max(1, round(self.view.shape[1 + axis] * mm / min(spacing)))
            for axis, mm in zip(self.order[1:], spacing, strict=True)
        )
        return rows, columns

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        """Each picture, (rows, columns) grey or (rows, columns, 3) RGB."""
        axes = tuple(1 + axis for axis in self.order)
        for batch in self._batches():
            voxels = self.view.read(batch).transpose(*axes, 0)
            for index in range(len(voxels)):
                yield self._picture(voxels[index])
            del voxels  # not two batches at a time

    def _picture(self, voxels: NDArray) -> NDArray[np.uint8]:
        if self.colours is not None:
            return paint(_nearest(voxels[..., 0], self.size), self.colours)
        grey = to_grey(voxels, *self.limits)
        resized = _interpolated(grey, self.size)
        return resized[..., 0] if resized.shape[-1] == 1 else resized

    @property
    def _slice_bytes(self) -> int:
        shape, axis = self.view.shape, 1 + self.order[0]
        return math.prod(shape) // shape[axis] * self.view.dtype.itemsize

    def _batches(self) -> Iterator[Selection]:
        """Slices that are read together: of one block of the file, if that is not too much."""
        axis = 1 + self.order[0]
        most = max(1, min(BATCH_BYTES, budget() // 8) // self._slice_bytes)
        ranges = [range(n) for n in self.view.shape]
        for block in cuts(self.view.selection.ranges[axis], self.view.base.chunks[axis]):
            for start in range(block.start, block.stop, most):
                ranges[axis] = range(start, min(start + most, block.stop))
                yield Selection((ranges[0], ranges[1], ranges[2], ranges[3]))


def require_filmable(source: Source) -> None:
    """Refuse images of which there is no one picture per slice.

    Raises:
        UnsupportedError: Unless there is one channel, or three (``BAD_CHANNELS``).
    """
    if source.shape[0] not in (1, 3):
        raise UnsupportedError(
            f"the image has {source.shape[0]} channels and a film shows one, or three as colours: "
            "choose one, for example image[0, :, :, :]",
            code="BAD_CHANNELS",
            path=source.path,
        )


def _nearest(pixels: NDArray, size: tuple[int, int]) -> NDArray:
    rows, columns = (
        ((np.arange(new) + 0.5) * old / new).astype(int)
        for old, new in zip(pixels.shape, size, strict=True)
    )
    return pixels[np.ix_(rows, columns)]


def _interpolated(pixels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Linear between the centres of pixels (rows, columns, channels)."""
    result: NDArray = pixels
    for axis, (old, new) in enumerate(zip(pixels.shape, size, strict=False)):
        if old != new:
            centres = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
            below = centres.astype(int)
            shape = [1, 1, 1]
            shape[axis] = new
            weight = (centres - below).reshape(shape)
            above = np.minimum(below + 1, old - 1)
            result = result.take(below, axis) * (1 - weight) + result.take(above, axis) * weight
    return result if result.dtype == np.uint8 else (result + 0.5).astype(np.uint8)
