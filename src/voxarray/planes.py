"""Three orthogonal planes through an image, as they are looked at.

Radiological convention, as TorchIO's: the patient's right is on the left of the coronal and axial
pictures, the front on the left of the sagittal and at the top of the axial one, the head at the
top. Only the voxels of the three planes are read, from the coarsest level that has enough.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voxarray.selection import Selection
from voxarray.sources.base import Source

TOWARDS = "LPS"
"""Voxel axes run so that columns go to the patient's left or back, and rows, reversed, down."""


@dataclass(frozen=True, slots=True)
class Plane:
    """One plane, ready to be drawn.

    Attributes:
        name: ``sagittal``, ``coronal`` or ``axial``.
        pixels: (rows, columns), from top left.
        height: Millimetres that the rows span.
        width: Millimetres that the columns span.
    """

    name: str
    pixels: NDArray
    height: float
    width: float


def orthogonal(source: Source, pixels: int = 256, channel: int = 0) -> list[Plane]:
    """Sagittal, coronal and axial plane through the middle of an image.

    Args:
        source: The image.
        pixels: Pixels that the longest axis should have at least, if the image has as many.
        channel: Which channel or volume.

    Raises:
        VoxarrayError: What reading finds wrong.
    """
    level = sufficient_level(source, pixels)
    return [_plane(level, world, channel) for world in range(3)]


def sufficient_level(source: Source, pixels: int) -> Source:
    """The coarsest level whose longest axis has at least ``pixels`` voxels, else the finest."""
    for number in reversed(range(source.levels)):
        level = source.level(number)
        if max(level.shape[1:]) >= pixels:
            return level
    return source


def _plane(source: Source, world: int, channel: int) -> Plane:
    """The middle plane across a world axis (0 sagittal, 1 coronal, 2 axial)."""
    order, flipped = source.grid.reorientation(TOWARDS)
    ranges = [range(n) for n in source.shape[1:]]
    middle = len(ranges[order[world]]) // 2
    ranges[order[world]] = range(middle, middle + 1)
    selection = Selection((range(channel, channel + 1), ranges[0], ranges[1], ranges[2]))
    volume = source.read(selection)[0].transpose(order)
    volume = np.flip(volume, flipped)
    spans = [n * mm for n, mm in zip(source.shape[1:], source.grid.spacing, strict=True)]
    left, back, up = (spans[axis] for axis in order)
    if world == 2:  # columns to the patient's left, rows to the back
        return Plane("axial", volume[:, :, 0].T, height=back, width=left)
    if world == 1:
        return Plane("coronal", volume[:, 0, ::-1].T, height=up, width=left)
    return Plane("sagittal", volume[0, :, ::-1].T, height=up, width=back)
