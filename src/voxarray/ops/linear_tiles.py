"""Linear interpolation along parallel axes by NumPy, in tiles that stay in the processor's cache.

A tile is some rows of the result through all of its planes. What it holds does not depend on the
size of a plane; planes of the base that two planes of the result share are converted once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxarray.ops.samples import NUDGE, as_stored

_TILE = 1 << 15
"""Voxels of the base under a plane of a tile: three of them, in float64, fit beside the rest."""


@dataclass(slots=True)
class _Stage:
    """One axis of a plane (rows, columns): 0 or 1; numbers in, interpolated numbers out."""

    axis: int
    first: NDArray[np.intp]
    second: NDArray[np.intp]
    weights: NDArray
    is_copied: bool
    _out: list[NDArray] = field(default_factory=list)

    def __call__(self, plane: NDArray) -> NDArray:
        if not self._out:
            shape = list(plane.shape)
            shape[self.axis] = len(self.first)
            self._out = [np.empty(shape, plane.dtype) for _ in range(1 if self.is_copied else 2)]
        below = self._out[0]
        # Indices are in range: clipping spares a look at each, and a buffer.
        np.take(plane, self.first, self.axis, below, "clip")
        if self.is_copied:
            return below
        above = self._out[1]
        np.take(plane, self.second, self.axis, above, "clip")
        above -= below  # a + w (b - a): equal neighbours give exactly that value
        above *= self.weights
        above += below
        return above


def blend_in_tiles(
    result: NDArray, voxels: NDArray, axes: Sequence[Any], work: np.dtype, is_within: bool
) -> None:
    """Linear interpolation with the operations of `separable.along_axes`, in their order.

    Memory: `tile_bytes`.

    Args:
        result: (C, w, h, d), written to.
        voxels: (C, W, H, D) part of the base.
        axes: A `separable.Axis` for each of W, H and D.
        work: Type in which voxels are weighed.
        is_within: As of `as_stored`.
    """
    memory = sorted(range(3), key=lambda n: -abs(voxels.strides[n + 1]))
    order = sorted(range(3), key=lambda n: (-axes[n].ratio, -n))
    slow, middle, fast = memory
    rows = taps_of(axes[middle], work)
    span = max(rows[0].max(), rows[1].max()) - min(rows[0].min(), rows[1].min()) + 1
    longest = max(voxels.shape[fast + 1], result.shape[fast + 1])
    # Not by the ratio: of a selection with a step fewer rows are asked for than lie between.
    step = max(1, int(_TILE / longest / max(1.0, span / len(rows[0]))))
    for channel, out in zip(voxels, result, strict=True):
        ordered, target = channel.transpose(memory), out.transpose(memory)
        for start in range(0, target.shape[1], step):
            part = slice(start, start + step)
            first, second = rows[0][part], rows[1][part]
            low = int(min(first.min(), second.min()))
            high = int(max(first.max(), second.max())) + 1
            stages = {
                middle: _Stage(0, first - low, second - low, rows[2][part][:, None], rows[3]),
                fast: _Stage(1, *taps_of(axes[fast], work)),
            }
            index = order.index(slow)
            _through_planes(
                ordered[:, low:high],
                target[:, part],
                taps_of(axes[slow], work),
                [stages[n] for n in order[:index]],
                [stages[n] for n in order[index + 1 :]],
                work,
                is_within,
            )


def tile_bytes(longest: int, itemsize: int) -> int:
    """What `blend_in_tiles` holds at most.

    Args:
        longest: Numbers of the longest row, before or after it is interpolated.
        itemsize: Bytes of a number that is weighed.
    """
    # Three planes of the base, and two each after rows and after columns; a tile may have a row
    # or two more of the base than its share.
    return 7 * (_TILE + 3 * longest) * itemsize


def taps_of(axis: Any, work: np.dtype) -> tuple[NDArray, NDArray, NDArray, bool]:
    """Two indices for each position, the weight of the second, and whether the first is copied."""
    first, second = axis.indices.T
    if axis.is_copied:
        first = second = np.where(axis.weights.argmax(axis=1) == 0, first, second)
    weights = axis.weights[:, 1].astype(work)
    return np.ascontiguousarray(first), np.ascontiguousarray(second), weights, axis.is_copied


def _through_planes(
    planes: NDArray,
    target: NDArray,
    taps: tuple[NDArray, NDArray, NDArray, bool],
    before: list[_Stage],
    after: list[_Stage],
    work: np.dtype,
    is_within: bool,
) -> None:
    """All planes of the result in one tile; stages come before and after the axis of planes."""
    firsts, seconds, weights = (array.tolist() for array in taps[:3])
    buffers: dict[int, NDArray] = {}

    def plane(index: int) -> NDArray:
        loaded = buffers.get(index)
        if loaded is None:
            if len(buffers) == 2:  # two neighbours are all that a position needs
                del buffers[next(n for n in buffers if n not in (first, second))]
            loaded = planes[index].astype(work)
            for stage in before:
                loaded = stage(loaded)
            loaded = buffers[index] = loaded.copy() if before else loaded
        return loaded

    blended: NDArray | None = None
    for number, (first, second) in enumerate(zip(firsts, seconds, strict=True)):
        values = below = plane(first)
        if not taps[3]:
            above = plane(second)
            blended = np.empty_like(below) if blended is None else blended
            values = np.subtract(above, below, out=blended)
            values *= weights[number]
            values += below
        for stage in after:
            values = stage(values)
        if is_within and values is not below:
            values *= NUDGE  # as `as_stored`, without a copy
            target[number] = values
        else:
            target[number] = as_stored(values, target.dtype, is_within=is_within)
