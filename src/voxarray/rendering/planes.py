"""Planes through an image, as they are looked at.

Radiological convention, as TorchIO's: the patient's right is on the left of the coronal and axial
pictures, the front on the left of the sagittal and at the top of the axial one, the head at the
top. Only the voxels of the planes are read, from the coarsest level that has enough of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxarray.core.errors import OutOfRangeError
from voxarray.core.memory import require
from voxarray.geometry.grid import Grid
from voxarray.geometry.selection import Selection, Shape3
from voxarray.source.base import Source
from voxarray.source.pieces import is_sequential, pieces_peak, read_parts
from voxarray.source.sliced import SlicedSource

_NAMES = {"LR": "Sagittal", "PA": "Coronal", "IS": "Axial"}
_PAIRS = {code: pair for pair in _NAMES for code in pair}

_ACROSS = ((1, 2), (0, 2), (0, 1))
"""Axes that run along the columns and rows of the plane across each axis."""


_LARGEST_PLANE = 4 << 20
"""Bytes of a plane that are read for a picture of it: planes of a file that cross its rows are read
voxel by voxel."""


_DRAWING = 18
"""Bytes per pixel while planes are drawn, besides a copy: two as floats, and which are finite. What
is shown is as small as a screen."""


@dataclass(frozen=True, slots=True)
class Plane:
    """One plane, ready to be drawn.

    Attributes:
        name: ``Sagittal``, ``Coronal`` or ``Axial``: the nearest of the three.
        pixels: (rows, columns, channels), from top left.
        extent: Voxel indices at the left, right, bottom and top edge, at full resolution.
        spacing: Millimetres per voxel index along columns and rows.
        sides: Directions of the left, right, bottom and top edge, such as ``"RLIS"``.
        pixel_affine: (4, 3) from (column, row, 1) to RAS+ mm of the centre of a pixel, and 1.
    """

    name: str
    pixels: NDArray
    extent: tuple[float, float, float, float]
    spacing: tuple[float, float]
    sides: str
    pixel_affine: NDArray[np.float64]

    @property
    def width(self) -> float:
        """Millimetres that the columns span."""
        return abs(self.extent[1] - self.extent[0]) * self.spacing[0]

    @property
    def height(self) -> float:
        """Millimetres that the rows span."""
        return abs(self.extent[3] - self.extent[2]) * self.spacing[1]


@dataclass(frozen=True, slots=True)
class View:
    """How an image is looked at.

    Attributes:
        channels: Channels or volumes to draw.
        indices: Voxel along each axis that the planes pass through, of the image as it is looked
            at; None for the middle. Negative ones count from the end.
        radiological: Whether the patient's right is on the left, else everything is mirrored.
        reorient: Whether to look along the patient's axes (RAS+), else along W, H and D.
        pixels: Pixels that the longest axis should have at least, if the image has as many.
        figure: Bytes of what the planes are drawn into.
    """

    channels: range = range(1)
    indices: Sequence[int] | None = None
    radiological: bool = True
    reorient: bool = True
    pixels: int = 256
    figure: int = 0


def orthogonal(source: Source, view: View | None = None) -> list[Plane]:
    """The planes across the first, second and third axis: sagittal, coronal, axial.

    Args:
        source: The image.
        view: What to show of it, and how; by default the middle of the first channel.

    Raises:
        OutOfRangeError: If the view names a voxel or channel that does not exist.
        VoxarrayError: What reading finds wrong.
    """
    return planes(source, view or View(), (0, 1, 2))


def planes(source: Source, view: View, across: Sequence[int]) -> list[Plane]:
    """The planes across some of the axes of an image as it is looked at; see `orthogonal`."""
    level = sufficient_level(source, view.pixels)
    full_grid, order, flipped = _looked_at(source.grid, view)
    _require_channels(source, view.channels)
    point = _point(full_grid, view.indices)
    thinned = [_thinned(level, view, order[axis]) for axis in across]
    if any(coarser is not level for coarser in thinned):
        pairs = zip(across, thinned, strict=True)
        return [
            _planes(coarser, view, (axis,), full_grid, order, flipped, point)[0]
            for axis, coarser in pairs
        ]
    return _planes(level, view, across, full_grid, order, flipped, point)


def _planes(
    level: Source,
    view: View,
    across: Sequence[int],
    full_grid: Grid,
    order: tuple[int, int, int],
    flipped: tuple[int, ...],
    point: list[int],
) -> list[Plane]:
    """Planes of one level, through a point of the image as it is looked at."""
    level_grid = _looked_at(level.grid, view)[0]
    nearest = level_grid.to_index(full_grid.to_world(point)).round().astype(int)
    clipped = np.clip(nearest, 0, np.array(level_grid.shape) - 1)
    parts = [
        _part(level, view.channels, order, flipped, axis, int(clipped[axis])) for axis in across
    ]
    pixels = sum(math.prod(part.shape) for part in parts)
    require(
        _peak(level, pixels, view.figure),
        lambda: f"drawing {level.path or 'voxels in memory'} {level.shape}",
        "draw a part or a coarser level(n), or raise the budget",
    )
    volumes = [
        np.flip(voxels.transpose(0, *(1 + axis for axis in order)), tuple(1 + n for n in flipped))
        for voxels in read_parts(level, parts)
    ]
    return [
        _plane(volume, axis, int(clipped[axis]), full_grid, level_grid, view.radiological)
        for axis, volume in zip(across, volumes, strict=True)
    ]


def _peak(level: Source, pixels: int, figure: int) -> int:
    """Bytes at the peak of reading planes of so many pixels, and of drawing them afterwards.

    Pieces are let go before anything is drawn; what reading leaves in caches is not.
    """
    cached_bytes = level.streaming_bytes if is_sequential(level) else level.reading_bytes
    itemsize = level.dtype.itemsize
    drawing = cached_bytes + pixels * (itemsize + _DRAWING) + figure
    return pixels * itemsize + max(pieces_peak(level), drawing)


def sufficient_level(source: Source, pixels: int) -> Source:
    """The coarsest level whose longest axis has at least ``pixels`` voxels, else the finest."""
    for number in reversed(range(source.levels)):
        level = source.level(number)
        if max(level.shape[1:]) >= pixels:
            return level
    return source


def _thinned(level: Source, view: View, across: int) -> Source:
    """Every k-th row and column, where a plane across an axis is too large to be read for a plot.

    The axis itself keeps all its planes, so that the one that was asked for is shown.
    """
    sizes = level.shape[1:]
    plane = math.prod(sizes) // sizes[across] * len(view.channels) * level.dtype.itemsize
    if plane <= _LARGEST_PLANE:
        return level
    spacing = level.grid.spacing
    # All axes alike, in millimetres: the longest keeps the pixels that were asked for.
    coarse = max(n * mm for n, mm in zip(sizes, spacing, strict=True)) / view.pixels
    steps = [
        1 if axis == across else max(1, min(n, int(coarse / mm)))
        for axis, (n, mm) in enumerate(zip(sizes, spacing, strict=True))
    ]
    return SlicedSource.of(level)[(slice(None), *(slice(None, None, step) for step in steps))]


def flat_axes(shape: Shape3) -> tuple[int, ...]:
    """Axes of an image of one slice across which there is a picture, not a line; else all."""
    across = tuple(
        axis for axis, (columns, rows) in enumerate(_ACROSS) if shape[columns] > 1 < shape[rows]
    )
    return across or (0, 1, 2)


def _looked_at(grid: Grid, view: View) -> tuple[Grid, tuple[int, int, int], tuple[int, ...]]:
    """The grid in its orientation on the screen, and the permutation and flips that lead there."""
    if not view.reorient:
        return grid, (0, 1, 2), ()
    order, flipped = grid.reorientation("RAS")
    return grid.permute(order).flip(flipped), order, flipped


def _point(grid: Grid, indices: Sequence[int] | None) -> list[int]:
    if indices is None:
        return [n // 2 for n in grid.shape]
    if len(indices) != 3 or any(not -n <= i < n for i, n in zip(indices, grid.shape, strict=True)):
        raise OutOfRangeError(
            f"indices {tuple(indices)} are out of range: they count voxels of the image as it is "
            f"drawn, which has {grid.shape} voxels along {', '.join(grid.orientation)}"
        )
    return [int(i) % n for i, n in zip(indices, grid.shape, strict=True)]


def _require_channels(source: Source, channels: range) -> None:
    if not 0 <= min(channels) <= max(channels) < source.shape[0]:
        raise OutOfRangeError(
            f"channel {channels[0]} does not exist: the image has {source.shape[0]} "
            f"{'channel' if source.shape[0] == 1 else 'channels'}, counted from 0"
        )


def _part(
    source: Source,
    channels: range,
    order: tuple[int, int, int],
    flipped: tuple[int, ...],
    axis: int,
    index: int,
) -> Selection:
    """Voxels of the plane across an axis of the image as it is looked at."""
    ranges = [range(n) for n in source.shape[1:]]
    voxel_axis = order[axis]
    position = len(ranges[voxel_axis]) - 1 - index if axis in flipped else index
    ranges[voxel_axis] = range(position, position + 1)
    return Selection((channels, ranges[0], ranges[1], ranges[2]))


def _plane(
    volume: NDArray, axis: int, index: int, full_grid: Grid, level_grid: Grid, radiological: bool
) -> Plane:
    """A plane (C, W, H, D), of which one axis has size one, as a picture.

    Args:
        volume: Voxels in the orientation of the screen.
        axis: The axis of size one.
        index: Where the plane is along it, in voxels of the level.
        full_grid: Grid of the full resolution, in the same orientation.
        level_grid: Grid of the level that the voxels are from.
        radiological: As in `View`.
    """
    u, v = _ACROSS[axis]
    codes = full_grid.orientation
    first = full_grid.to_index(level_grid.to_world((-0.5, -0.5, -0.5)))
    last = full_grid.to_index(level_grid.to_world([n - 0.5 for n in level_grid.shape]))
    pixels = volume.take(0, axis=1 + axis).transpose(2, 1, 0)[::-1]  # rows upwards, v before u
    ends = [(float(first[u]), _opposite(codes[u])), (float(last[u]), codes[u])]
    if radiological:
        pixels, ends = pixels[:, ::-1], ends[::-1]
    (left, west), (right, east) = ends
    return Plane(
        _NAMES[_PAIRS[codes[axis]]],
        pixels,
        (left, right, float(first[v]), float(last[v])),
        (full_grid.spacing[u], full_grid.spacing[v]),
        f"{west}{east}{_opposite(codes[v])}{codes[v]}",
        _pixel_affine(level_grid, axis, index, radiological),
    )


def _pixel_affine(
    level_grid: Grid, axis: int, index: int, radiological: bool
) -> NDArray[np.float64]:
    """Where the pixels of a plane are: columns along one axis, rows against another."""
    u, v = _ACROSS[axis]
    to_voxel = np.zeros((4, 3))
    to_voxel[u] = (-1, 0, level_grid.shape[u] - 1) if radiological else (1, 0, 0)
    to_voxel[v] = (0, -1, level_grid.shape[v] - 1)
    to_voxel[axis, 2] = index
    to_voxel[3, 2] = 1
    affine: NDArray[np.float64] = level_grid.affine @ to_voxel
    return affine


def _opposite(code: str) -> str:
    return _PAIRS[code].replace(code, "")


def as_channels(channel: int | None, count: int) -> range:
    """The channels that an index names (negative ones from the end); all for None."""
    if channel is None:
        return range(count)
    position: Any = channel + count if channel < 0 else channel
    return range(position, position + 1)
