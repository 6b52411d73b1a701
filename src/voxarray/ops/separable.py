"""Interpolation along one axis after another, where the axes of both grids are parallel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from voxarray.ops.kernels import Kernel, Linear
from voxarray.ops.linear_tiles import blend_in_tiles
from voxarray.ops.samples import as_stored, spline_coefficients, working_dtype


@dataclass(frozen=True, slots=True)
class Axis:
    """What becomes of one axis.

    Attributes:
        indices: (n, taps) voxels, in the part that was read.
        weights: (n, taps) of them.
        ratio: Voxels of the base per voxel of the result, the same for every part.
        is_copied: Whether all positions are those of centres, in every part.
    """

    indices: NDArray[np.intp]
    weights: NDArray[np.float64]
    ratio: float
    is_copied: bool


_SLAB = 1 << 16
"""Voxels of the base under a slab that goes through all axes at once: it stays in the cache."""


_LINE = 16
"""Numbers beside each other that are worth a call of NumPy: fewer are taken with other lines."""


def blended_into(result: NDArray, voxels: NDArray, axes: Sequence[Axis], kernel: Kernel) -> None:
    """`along_axes`, as voxels of the result's type.

    Args:
        result: (C, w, h, d), written to.
        voxels: As of `along_axes`.
        axes: As of `along_axes`.
        kernel: As of `along_axes`.
    """
    # Between integers lie none beyond them; 64 bits may round up, past the largest.
    is_within = isinstance(kernel, Linear) and voxels.dtype == result.dtype
    is_within &= voxels.dtype.kind in "iu" and voxels.dtype.itemsize <= 4
    if isinstance(kernel, Linear) and not all(axis.is_copied for axis in axes):
        with np.errstate(invalid="ignore"):  # next to infinity there is no number
            blend_in_tiles(result, voxels, axes, working_dtype(voxels.dtype, kernel), is_within)
        return
    slowest = max(range(3), key=lambda n: abs(voxels.strides[n + 1]))
    step = result.shape[slowest + 1]
    if slowest == _in_order(axes)[0] and not (kernel.keeps_values or kernel.margin):
        plane = voxels.size // voxels.shape[slowest + 1]
        step = max(1, _SLAB // plane)
    slowest_axis = axes[slowest]
    for start in range(0, result.shape[slowest + 1], step):
        part = slice(start, start + step)
        slab = list(axes)
        slab[slowest] = replace(
            slowest_axis, indices=slowest_axis.indices[part], weights=slowest_axis.weights[part]
        )
        target = result[(slice(None),) * (slowest + 1) + (part,)]
        values = along_axes(voxels, slab, kernel)
        target[...] = as_stored(values, result.dtype, is_within=is_within)


def _in_order(axes: Sequence[Axis]) -> list[int]:
    return sorted(range(3), key=lambda n: (-axes[n].ratio, -n))


def along_axes(voxels: NDArray, axes: Sequence[Axis], kernel: Kernel) -> NDArray:
    """Voxels (C, W, H, D) of the base interpolated to the positions along each axis.

    The order of the axes, on which rounding depends, is that of their ratios: what shrinks the
    data most comes first.
    """
    work = working_dtype(voxels.dtype, kernel)
    values = voxels
    for n in _in_order(axes):
        if kernel.keeps_values or axes[n].is_copied:
            # The tap with the weight: all others have none.
            heaviest = axes[n].weights.argmax(axis=1)
            chosen = np.take_along_axis(axes[n].indices, heaviest[:, None], axis=1)[:, 0]
            values = _picked(values, n + 1, chosen)
            continue
        if kernel.margin:
            values = spline_coefficients(values, n + 1)
        with np.errstate(invalid="ignore"):  # next to infinity there is no number
            values = _along(values, n + 1, axes[n], work)
    return values


def _picked(voxels: NDArray, axis: int, indices: NDArray[np.intp]) -> NDArray:
    """Single voxels along an axis; a view if they are evenly spaced."""
    steps = np.diff(indices)
    if indices.size > 1 and (steps[0] <= 0 or (steps != steps[0]).any()):
        return np.take(voxels, indices, axis=axis)
    step = int(steps[0]) if indices.size > 1 else 1
    selected = slice(int(indices[0]), int(indices[-1]) + 1, step)
    return voxels[(slice(None),) * axis + (selected,)]


def _along(values: NDArray, axis: int, axis_taps: Axis, work: np.dtype) -> NDArray:
    """One axis interpolated, in the memory order of ``values``, whatever that is."""
    # A single channel has whatever stride; it must not come last, as if it were a line.
    order = sorted(range(4), key=lambda n: (values.shape[n] > 1, -abs(values.strides[n])))
    ordered = values.transpose(order)
    position = order.index(axis)
    shape = list(ordered.shape)
    shape[position] = len(axis_taps.indices)
    result = np.empty(shape, work)
    weights = axis_taps.weights.astype(work)
    # Plane by plane: what is read and written stays in the processor's cache.
    if position == 3 or (position == 2 and shape[3] >= _LINE):
        along = weights.T[:, :, None] if position == 2 else weights.T
        for plane in np.ndindex(*ordered.shape[:2]):
            numbers = ordered[plane].astype(work, copy=False)
            taps = [np.take(numbers, column, axis=position - 2) for column in axis_taps.indices.T]
            _weigh(taps, list(along), result[plane])
    else:
        planes, out = (np.moveaxis(array, position, 0) for array in (ordered, result))
        read = _Converted(planes, work)
        for number, (taps, weighed) in enumerate(
            zip(axis_taps.indices.tolist(), weights, strict=True)
        ):
            _weigh([read(index) for index in taps], list(weighed), out[number])
    return result.transpose(np.argsort(order))


class _Converted:
    """Planes in the type in which they are weighed; what neighbours share is converted once."""

    def __init__(self, planes: NDArray, work: np.dtype) -> None:
        self._planes, self._work = planes, work
        self._last: dict[int, NDArray] = {}

    def __call__(self, index: int) -> NDArray:
        plane: NDArray | None
        if self._planes.dtype == self._work:
            plane = self._planes[index]
            return plane
        plane = self._last.pop(index, None)
        if plane is None:
            plane = self._planes[index].astype(self._work)
        self._last[index] = plane
        # Two are what linear interpolation at neighbouring positions shares.
        while len(self._last) > 2:
            del self._last[next(iter(self._last))]
        return plane


def _weigh(taps: list[NDArray], weights: list[NDArray], out: NDArray) -> None:
    """``out`` = the weighted sum of arrays, always in the same order of operations."""
    np.multiply(taps[0], weights[0], out=out, dtype=out.dtype, casting="unsafe")
    for tap, weight in zip(taps[1:], weights[1:], strict=True):
        out += tap * weight
