"""Voxels by their position in mm along an axis: what ``sel`` means."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from voxarray.geometry.lattice import DIMS, Placement

_HALF_VOXEL = 0.5
_ROUNDING = 1e-6  # voxels: positions that were computed still name the voxel that they mean


def containing(
    placement: Placement, axis: int, millimetres: NDArray[np.float64], tolerance: float | None
) -> NDArray[np.int64]:
    """Indices of the voxels that contain the positions, same shape.

    Args:
        placement: The voxels.
        axis: 0, 1 or 2.
        millimetres: Positions along the axis.
        tolerance: Largest distance from the voxel's centre, in mm; None for half a voxel.

    Raises:
        KeyError: If a position lies outside, or further off than the tolerance.
    """
    exact = (millimetres - placement.first(axis)) / placement.step(axis)
    # The outer face of the last voxel belongs to it.
    indices = np.clip(np.rint(exact), 0, placement.shape[axis] - 1)
    distance = np.abs(exact - indices)
    too_far = ~(distance <= _HALF_VOXEL + _ROUNDING)  # so written, NaN is too far
    if tolerance is not None:
        too_far |= distance * abs(placement.step(axis)) > tolerance
    if too_far.any():
        last = placement.first(axis) + placement.step(axis) * (placement.shape[axis] - 1)
        raise KeyError(
            f"no voxel at {DIMS[axis]}={millimetres[too_far].flat[0]:g} mm: the centres run from "
            f"{placement.first(axis):g} to {last:g} mm"
        )
    return indices.astype(np.int64)


def between(placement: Placement, axis: int, label: slice) -> slice:
    """Slice of the voxels whose centres lie between two positions, both included.

    The ends may come in either order, so a slice means the same after a reversal; an open end
    is that of the axis. The step counts voxels.
    """
    first, step, size = placement.first(axis), placement.step(axis), placement.shape[axis]
    start = -np.inf if label.start is None else (label.start - first) / step
    stop = np.inf if label.stop is None else (label.stop - first) / step
    low, high = np.clip(sorted((start, stop)), -1, size)
    begin = max(int(np.ceil(low - _ROUNDING)), 0)
    end = min(int(np.floor(high + _ROUNDING)) + 1, size)
    selected = range(size)[begin : max(begin, end)][:: label.step]
    return slice(selected.start, selected.stop if selected.stop >= 0 else None, selected.step)
