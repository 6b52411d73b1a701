"""A source on another grid: every voxel interpolated from its neighbours in the base.

Positions in the base are computed in float64 from the indices of the result alone, in one order
of operations, so that a voxel is the same number whichever part it is computed with.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from voxarray.core.errors import UnsupportedError
from voxarray.geometry.grid import Grid, checked_affine
from voxarray.geometry.selection import Selection, Shape3, Shape4
from voxarray.ops.accelerated import blend_along_axes
from voxarray.ops.kernels import SNAP, Gaussian, Kernel, Linear, kernel
from voxarray.ops.linear_tiles import tile_bytes
from voxarray.ops.operation import Operation
from voxarray.ops.permuted import Permuted
from voxarray.ops.points import Lookup, at_points, votes
from voxarray.ops.samples import as_stored, working_dtype
from voxarray.ops.separable import Axis, blended_into
from voxarray.source.base import OriginalHeader, Source

Matrix = tuple[tuple[float, ...], ...]

_ALIGNED = 1e-7
"""Voxels by which axes may run apart over the whole volume and still count as parallel."""

_WHOLE = 1e-10
"""Voxels by which steps may differ from whole ones over the whole volume and still be copies."""

_CHUNK_EDGES = 32, 128
"""Smallest and largest edge of a block, unless the base's blocks fill the axis."""

_CHUNK_VOXELS = 1 << 24


@dataclass(frozen=True, eq=False)
class Resampled(Operation):
    """Voxels of ``base`` at the places of another grid, or of one that is moved first.

    A position counts as inside the base up to half a voxel beyond its outermost centres; what lies
    outside becomes ``fill``.

    Attributes:
        size: Voxels of the result along W, H and D.
        affine_rows: Affine (4, 4) of the result, row by row.
        mapping: (4, 4) from an index in the result to one in the base, row by row.
        interpolation: Name of the kernel.
        fill: Value outside, one for all channels or one per channel.
        stored: Type of the result.
    """

    size: Shape3
    affine_rows: Matrix
    mapping: Matrix
    interpolation: str
    fill: tuple[float, ...]
    stored: np.dtype

    @classmethod
    def onto(
        cls,
        base: Source,
        grid: Grid,
        interpolation: str = "linear",
        *,
        motion: ArrayLike | None = None,
        fill: Sequence[float] = (0.0,),
        dtype: np.dtype | None = None,
    ) -> Resampled:
        """The voxels of a source on a grid.

        Args:
            base: What is sampled.
            grid: Where the result is.
            interpolation: A name of `KERNELS`.
            motion: (4, 4), RAS+ mm, from a place in the result to the place in the base that is
                looked up; by default they are the same.
            fill: Value outside the base, one for all channels or one per channel.
            dtype: Type of the result; by default the base's own.

        Raises:
            UnsupportedError: For complex voxels (``UNSUPPORTED_DTYPE``), unless the interpolation
                keeps values.
        """
        used = kernel(interpolation)
        if base.dtype.kind == "c" and not used.keeps_values:
            raise UnsupportedError(
                f"voxels of type {base.dtype} are not interpolated: resample their parts, "
                "array.real and array.imag",
                code="UNSUPPORTED_DTYPE",
            )
        result_dtype = (
            np.dtype(np.uint8) if base.dtype.kind == "b" and not used.keeps_values else base.dtype
        )
        looked_up = grid.affine if motion is None else np.asarray(motion, float) @ grid.affine
        mapping = _straightened(np.linalg.solve(base.affine, looked_up), grid.shape)
        axes = _exchanged(mapping)
        if axes not in (None, (0, 1, 2)):
            base, mapping = Permuted(base, axes), mapping[[*axes, 3]]
        return cls(
            base,
            grid.shape,
            _rows(grid.affine),
            _rows(mapping),
            used.name,
            tuple(float(value) for value in fill),
            result_dtype if dtype is None else dtype,
        )

    @cached_property
    def affine(self) -> NDArray[np.float64]:
        return checked_affine(self.affine_rows)

    @property
    def shape(self) -> Shape4:
        return self.base.shape[0], *self.size

    @property
    def dtype(self) -> np.dtype:
        return self.stored

    @property
    def original_header(self) -> OriginalHeader | None:
        origin = super().original_header
        looked_up = self.base.affine @ np.asarray(self.mapping)
        if origin is None or np.allclose(
            looked_up, self.affine, atol=1e-6 * np.abs(looked_up).max()
        ):
            return origin
        return replace(origin, same_space=False, moved_axes=(0, 1, 2))

    @property
    def keeps_intensities(self) -> bool:
        return True

    @property
    def chunks(self) -> Shape4:
        lowest, highest = _CHUNK_EDGES
        sizes = []
        for axis, size in enumerate(self.size):
            block, base_size = self.base.chunks[axis + 1], self.base.shape[axis + 1]
            edge = round(block * size / base_size)
            sizes.append(size if block >= base_size else min(size, max(lowest, min(highest, edge))))
        for axis in self.slow_axes:
            while math.prod(sizes) > _CHUNK_VOXELS and sizes[axis] > lowest:
                sizes[axis] = max(lowest, sizes[axis] // 2)
        return 1, sizes[0], sizes[1], sizes[2]

    @cached_property
    def kernel(self) -> Kernel:
        """The interpolation."""
        return kernel(self.interpolation)

    @cached_property
    def is_separable(self) -> bool:
        """Whether the axes of both grids are parallel, so that they are interpolated in turn."""
        return not np.any(self._linear - np.diag(np.diag(self._linear)))

    def cost(self, selection: Selection) -> int:
        (part,) = self.needs(selection)
        result = math.prod(selection.shape)
        if part is None:
            return result * self.dtype.itemsize
        read = math.prod(part.shape)
        # Two arrays of the working type live at once, the larger of input and result at worst.
        working_bytes = 2 * max(result, read if self.kernel.margin else min(read, 2 * result))
        working_bytes *= working_dtype(self.base.dtype, self.kernel).itemsize
        if self.is_separable and isinstance(self.kernel, Linear):
            working_bytes = min(working_bytes, self._linear_bytes(part, selection))
        return read * self.base.dtype.itemsize + working_bytes + result * self.dtype.itemsize

    def _linear_bytes(self, part: Selection, selection: Selection) -> int:
        """What straight lines along parallel axes hold beside what is read and the result.

        Both may be copied into another order of memory; the rest are tiles, or planes.
        """
        work = working_dtype(self.base.dtype, self.kernel).itemsize
        copies = math.prod(part.shape) * self.base.dtype.itemsize
        copies += math.prod(selection.shape[1:]) * self.dtype.itemsize
        slow, middle, fast = self.slow_axes
        read, result = part.shape[1:], selection.shape[1:]
        ratios = [abs(self._linear[axis, axis]) for axis in range(3)]
        planes = 0
        if ratios[slow] <= min(ratios):  # compiled loops keep planes that are interpolated already
            planes = (2 * result[middle] + read[middle]) * result[fast] * work
        return copies + max(planes, tile_bytes(max(read[fast], result[fast]), work))

    @property
    def part_bytes(self) -> int:
        return super().part_bytes * (8 if self.kernel.margin else 1)

    def needs(self, selection: Selection) -> tuple[Selection | None, ...]:
        beyond = self.kernel.reach + self.kernel.margin
        ends = [(r[0], r[-1]) for r in selection.spatial]
        ranges = []
        for row, shift, size in zip(*self._rows_and_shifts, self.base.shape[1:], strict=True):
            # In plain numbers: eight calls of NumPy would cost more than a small part itself.
            low = high = 0.0
            for scale, (first, last) in zip(row, ends, strict=True):
                if scale:
                    at_first, at_last = scale * first, scale * last
                    low, high = (
                        (low + at_first, high + at_last)
                        if at_first < at_last
                        else (low + at_last, high + at_first)
                    )
            low, high = low + shift, high + shift
            if high < -0.5 - SNAP or low >= size - 0.5 + SNAP:
                return (None,)  # all of it is outside
            start = min(max(0, math.floor(low - SNAP) - beyond), size - 1)
            ranges.append(
                range(start, max(start + 1, min(size, math.ceil(high + SNAP) + beyond + 1)))
            )
        return (Selection((selection.ranges[0], ranges[0], ranges[1], ranges[2])),)

    def compute(self, selection: Selection, parts: Sequence[NDArray | None]) -> NDArray:
        result = selection.empty(self.dtype)
        self.compute_into(result, selection, parts)
        return result

    def compute_into(
        self, result: NDArray, selection: Selection, parts: Sequence[NDArray | None]
    ) -> None:
        (voxels,), (part,) = parts, self.needs(selection)
        if voxels is None or part is None:
            self._fill(result, selection)
            return
        starts = tuple(r.start for r in part.spatial)
        if self.is_separable and self.interpolation != "label_gaussian":
            self._in_turn(selection, voxels, starts, result)
            return
        self._fill(result, selection)
        lookup = Lookup(self._linear, self._shift, self.base.shape[1:], starts)
        sample = votes if self.interpolation == "label_gaussian" else at_points
        sample(lookup, selection.spatial, voxels, self.kernel, result)

    def _fill(self, result: NDArray, selection: Selection) -> None:
        fill = np.broadcast_to(np.array(self.fill), self.base.shape[0])[selection.ranges[0]]
        result[...] = as_stored(fill, self.dtype)[:, None, None, None]

    def positions(self, axis: int, indices: range) -> NDArray[np.float64]:
        """Fractional indices in the base along an axis, if `is_separable`."""
        scale, shift = self._linear[axis, axis], self._shift[axis]
        return np.asarray(scale * np.arange(indices.start, indices.stop, indices.step) + shift)

    def inside(self, axis: int, positions: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which positions along an axis are those of voxels of the base."""
        size = self.base.shape[axis + 1]
        return (positions >= -0.5 - SNAP) & (positions < size - 0.5 - SNAP)

    def _in_turn(
        self, selection: Selection, voxels: NDArray, starts: Sequence[int], result: NDArray
    ) -> None:
        axes, slices = [], [slice(None)]
        for axis, selected in enumerate(selection.spatial):
            positions = self.positions(axis, selected)
            (within,) = np.nonzero(self.inside(axis, positions))
            if not within.size:
                self._fill(result, selection)
                return
            # One stretch: positions ascend or descend evenly, so those inside follow one another.
            slices.append(slice(int(within[0]), int(within[-1]) + 1))
            size = self.base.shape[axis + 1]
            indices, weights = self.kernel.taps(positions[slices[-1]], size)
            ratio = abs(self._linear[axis, axis])
            # Taps without weight may lie outside of what was read.
            local = (indices - starts[axis]).clip(0, voxels.shape[axis + 1] - 1)
            axes.append(Axis(local, weights, ratio, self._is_copied(axis)))
        target = result[tuple(slices)]
        if target.size < result.size:
            self._fill(result, selection)
        if not blend_along_axes(voxels, axes, self.kernel, target):
            blended_into(target, voxels, axes, self.kernel)

    def _is_copied(self, axis: int) -> bool:
        scale, shift = float(self._linear[axis, axis]), float(self._shift[axis])
        return scale.is_integer() and shift.is_integer() and not isinstance(self.kernel, Gaussian)

    @cached_property
    def _rows_and_shifts(self) -> tuple[list[list[float]], list[float]]:
        return self._linear.tolist(), self._shift.tolist()

    @cached_property
    def _linear(self) -> NDArray[np.float64]:
        return np.array(self.mapping)[:3, :3]

    @cached_property
    def _shift(self) -> NDArray[np.float64]:
        return np.array(self.mapping)[:3, 3]


def _straightened(mapping: NDArray, size: Shape3) -> NDArray:
    """The mapping without what noise adds: to axes that are parallel, to steps of whole voxels."""
    # Inverting and multiplying leave 1e-17 where zeros were, and copies would be interpolated.
    straight = mapping.copy()
    straight[3] = 0, 0, 0, 1
    for row, column in itertools.product(range(3), range(4)):
        value = mapping[row, column]
        reach = size[column] if column < 3 else 1
        tolerance = _ALIGNED if column < 3 and round(value) == 0 else _WHOLE
        if abs(value - round(value)) * reach < tolerance:
            straight[row, column] = round(value)
    return straight


def _exchanged(mapping: NDArray[np.float64]) -> tuple[int, int, int] | None:
    """Axis of the base that each axis of the result is parallel to; None if they are oblique."""
    used = mapping[:3, :3] != 0
    if (used.sum(axis=0) != 1).any() or (used.sum(axis=1) != 1).any():
        return None
    x, y, z = used.argmax(axis=0)
    return int(x), int(y), int(z)


def _rows(matrix: NDArray[np.float64]) -> Matrix:
    return tuple(tuple(row) for row in matrix.tolist())
