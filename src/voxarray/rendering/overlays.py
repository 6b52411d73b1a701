"""Label maps over the planes of a scan, each placed by its own affine."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from voxarray.core.errors import GridError
from voxarray.core.label_colours import paint
from voxarray.geometry.grid import Grid
from voxarray.geometry.selection import Selection
from voxarray.rendering.planes import Plane, as_channels, sufficient_level
from voxarray.source.base import Source
from voxarray.source.sliced import SlicedSource

if TYPE_CHECKING:
    from voxarray.source.drawable import Drawable

_MOST_BYTES = 64 << 20
"""Of a label map that is oblique to the scan, around one plane."""


def require_overlap(scan: Grid, labels: Grid, name: str) -> None:
    """Refuse a label map of another place: over the scan nothing of it would be seen.

    Raises:
        GridError: If no voxel of it lies in the scan (``NO_OVERLAP``).
    """
    (low, high), (first, last) = scan.bounds, labels.bounds
    if np.any(last <= low) or np.any(first >= high):
        extents = (f"{np.round(a, 1)} to {np.round(b, 1)}" for a, b in (scan.bounds, labels.bounds))
        scan_place, own_place = extents
        raise GridError(
            f"the label map {name!r} lies elsewhere: the scan fills {scan_place} mm (RAS+), the "
            f"labels {own_place} mm; they are not of the same scan, or one of the affines is wrong",
            code="NO_OVERLAP",
        )


def painted(plane: Plane, labels: Drawable, opacity: float, number: int = 0) -> NDArray[np.uint8]:
    """Pixels (rows, columns, 4) RGBA of a label map where a plane is; what is no label is clear.

    Args:
        plane: Of the scan.
        labels: The last channel of it is shown.
        opacity: 0 to 1.
        number: Label maps that lie over the same plane already; see `paint`.

    Raises:
        VoxarrayError: What reading finds wrong.
    """
    values = labels_at(plane, labels.source, as_channels(-1, labels.num_channels))
    colours: Mapping[float, tuple[int, int, int]] = labels.label_colours or {}
    opaque = np.where(np.nan_to_num(values) != 0, round(255 * opacity), 0)[..., None]
    return np.concatenate(
        [paint(values, colours, over_scan=True, number=number), opaque.astype(np.uint8)], -1
    )


def labels_at(plane: Plane, source: Source, channels: range) -> NDArray:
    """The nearest label to each pixel of a plane; 0 outside of the label map.

    Args:
        plane: Of whatever grid.
        source: The label map.
        channels: The one to look at.
    """
    rows, columns = plane.pixels.shape[:2]
    level = _thinned(sufficient_level(source, max(rows, columns)), plane)
    column, row = np.meshgrid(np.arange(columns), np.arange(rows))
    pixels = np.stack([column, row, np.ones_like(row)], -1) @ plane.pixel_affine.T
    # The middle between two voxels belongs to the later one, whatever rounding made of it.
    indices = np.floor(level.grid.to_index(pixels[..., :3]) + (0.5 + 1e-6)).astype(np.int64)
    is_inside = np.all((indices >= 0) & (indices < level.shape[1:]), -1)
    result: NDArray = np.zeros((rows, columns), level.dtype)
    if is_inside.any():
        voxel_indices = indices[is_inside]
        first, last = voxel_indices.min(0), voxel_indices.max(0)
        box = [range(int(a), int(b) + 1) for a, b in zip(first, last, strict=True)]
        voxels = level.read(Selection((channels, box[0], box[1], box[2])))[0]
        result[is_inside] = voxels[tuple((voxel_indices - first).T)]
    return result


def _thinned(level: Source, plane: Plane) -> Source:
    """Fewer voxels of what an oblique plane would read too much of."""
    size = math.prod(level.shape[1:]) * level.dtype.itemsize
    if size <= _MOST_BYTES:
        return level
    along = np.abs(
        np.linalg.solve(level.affine[:3, :3], plane.pixel_affine[:3, :2])
    )  # voxels per pixel
    is_straight = bool(np.all(np.sum(along > 1e-3, 0) <= 1))
    steps = [max(1, int(step)) for step in along.max(1)]
    if not is_straight:
        coarse = math.ceil((size / _MOST_BYTES) ** (1 / 3))
        steps = [max(step, coarse) for step in steps]
    return SlicedSource.of(level)[(slice(None), *(slice(None, None, step) for step in steps))]
