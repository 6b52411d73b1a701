"""Interpolation along one axis after another, where the axes of both grids are parallel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voxarray.ops.kernels import Kernel, Linear
from voxarray.ops.samples import spline_coefficients, working_dtype


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


def along_axes(voxels: NDArray, axes: Sequence[Axis], kernel: Kernel) -> NDArray:
    """Voxels (C, W, H, D) of the base interpolated to the positions along each axis.

    The order of the axes, on which rounding depends, is that of their ratios: what shrinks the
    data most comes first.
    """
    work = working_dtype(voxels.dtype, kernel)
    values = voxels
    for n in sorted(range(3), key=lambda n: (-axes[n].ratio, -n)):
        if kernel.keeps_values or axes[n].is_copied:
            # The tap with the weight: all others have none.
            heaviest = axes[n].weights.argmax(axis=1)
            chosen = np.take_along_axis(axes[n].indices, heaviest[:, None], axis=1)[:, 0]
            values = _picked(values, n + 1, chosen)
            continue
        if kernel.margin:
            values = spline_coefficients(values, n + 1)
        values = _along(values, n + 1, axes[n], isinstance(kernel, Linear), work)
    return values


def _picked(voxels: NDArray, axis: int, indices: NDArray[np.intp]) -> NDArray:
    """Single voxels along an axis; a view if they are evenly spaced."""
    steps = np.diff(indices)
    if indices.size > 1 and (steps[0] <= 0 or (steps != steps[0]).any()):
        return np.take(voxels, indices, axis=axis)
    step = int(steps[0]) if indices.size > 1 else 1
    taken = slice(int(indices[0]), int(indices[-1]) + 1, step)
    return voxels[(slice(None),) * axis + (taken,)]


def _along(values: NDArray, axis: int, one: Axis, is_linear: bool, work: np.dtype) -> NDArray:
    """One axis interpolated, in the memory order of ``values``, whatever that is."""
    order = sorted(range(4), key=lambda n: -abs(values.strides[n]))
    ordered = values.transpose(order)
    place = order.index(axis)
    shape = list(ordered.shape)
    shape[place] = len(one.indices)
    result = np.empty(shape, work)
    weights = one.weights.astype(work)
    # Plane by plane: what is read and written stays in the processor's cache.
    if place == 3:
        for plane in np.ndindex(*ordered.shape[:2]):
            taps = [np.take(ordered[plane], column, axis=1) for column in one.indices.T]
            _weigh(taps, list(weights.T), is_linear, result[plane])
    else:
        planes, out = (np.moveaxis(array, place, 0) for array in (ordered, result))
        read = _Converted(planes, work)
        for number, (taps, weighed) in enumerate(zip(one.indices.tolist(), weights, strict=True)):
            _weigh([read(index) for index in taps], list(weighed), is_linear, out[number])
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
        while len(self._last) > 2:
            del self._last[next(iter(self._last))]
        return plane


def _weigh(taps: list[NDArray], weights: list[NDArray], is_linear: bool, out: NDArray) -> None:
    """``out`` = the weighted sum of arrays, always in the same order of operations."""
    if is_linear:  # a + w (b - a): equal neighbours give exactly that value
        below, above = taps
        with np.errstate(invalid="ignore"):  # next to infinity there is no number
            np.subtract(above, below, out=out, dtype=out.dtype, casting="unsafe")
            np.multiply(out, weights[1], out=out)
            np.add(out, below, out=out, dtype=out.dtype, casting="unsafe")
        return
    np.multiply(taps[0], weights[0], out=out, dtype=out.dtype, casting="unsafe")
    for tap, weight in zip(taps[1:], weights[1:], strict=True):
        out += tap * weight
