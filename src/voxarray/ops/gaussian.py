"""A Gaussian along the spatial axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voxarray.geometry.selection import Selection
from voxarray.ops.operation import Operation
from voxarray.ops.samples import for_scipy
from voxarray.source.base import Source

TRUNCATE = 4.0
"""Standard deviations at which the Gaussian ends, as in `scipy.ndimage.gaussian_filter`."""


@dataclass(frozen=True, eq=False)
class Blurred(Operation):
    """Voxels averaged with their neighbours under a Gaussian.

    Attributes:
        sigmas: Standard deviations along W, H and D, in voxels; 0 leaves an axis as it is.
        stored: Type of the result.
        mode: What lies beyond the ends, in SciPy's words: ``"reflect"``, ``"nearest"`` or
            ``"mirror"``.
    """

    sigmas: tuple[float, float, float]
    stored: np.dtype
    mode: str = "reflect"

    @classmethod
    def by(
        cls,
        base: Source,
        sigmas: tuple[float, float, float],
        *,
        mode: str = "reflect",
        dtype: np.dtype | None = None,
    ) -> Blurred:
        """A source blurred; by default of its own floating-point type, or of float32."""
        default_dtype = base.dtype if base.dtype.kind in "fc" else np.dtype(np.float32)
        return cls(base, sigmas, default_dtype if dtype is None else dtype, mode)

    @property
    def dtype(self) -> np.dtype:
        return self.stored

    @property
    def reach(self) -> tuple[int, ...]:
        """Voxels to each side that have weight."""
        return tuple(int(TRUNCATE * sigma + 0.5) for sigma in self.sigmas)

    @property
    def part_bytes(self) -> int:
        return super().part_bytes * (1 + max(self.reach) // 4)

    def cost(self, selection: Selection) -> int:
        part = self._footprint(selection)
        return math.prod(part.shape) * (max(4, self.base.dtype.itemsize) + 3 * 8)

    def needs(self, selection: Selection) -> tuple[Selection | None, ...]:
        return (self._footprint(selection),)

    def _footprint(self, selection: Selection) -> Selection:
        box = selection.bounding_box()
        x, y, z = (
            range(max(0, r.start - reach), min(size, r.stop + reach))
            for r, reach, size in zip(box.spatial, self.reach, self.base.shape[1:], strict=True)
        )
        return Selection((selection.ranges[0], x, y, z))

    def compute(self, selection: Selection, parts: Sequence[NDArray | None]) -> NDArray:
        from scipy.ndimage import correlate1d

        values, part = for_scipy(np.asarray(parts[0])), self._footprint(selection)
        # SciPy's results have axes in the order of memory if what it is given has.
        is_turned = abs(values.strides[1]) < abs(values.strides[3])
        # The axis along which parts are cut comes first: what a part has beyond its ends, which
        # may be as much as itself, is then left out of the others.
        for axis in (3, 2, 1):
            sigma = self.sigmas[axis - 1]
            if sigma > 0:
                ordered = values.transpose(0, 3, 2, 1) if is_turned else values
                blurred = correlate1d(
                    ordered,
                    _weights(sigma),
                    axis=4 - axis if is_turned else axis,
                    output=np.float64,
                    mode=self.mode,
                )
                values = blurred.transpose(0, 3, 2, 1) if is_turned else blurred
            indices, read = selection.ranges[axis], part.ranges[axis]
            start, stop = indices.start - read.start, indices.stop - read.start
            cut = slice(start, None if stop < 0 else stop, indices.step)
            values = values[(slice(None),) * axis + (cut,)]
        return values.astype(self.dtype, copy=False)


def _weights(sigma: float) -> NDArray[np.float64]:
    reach = int(TRUNCATE * sigma + 0.5)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    return np.asarray(weights / weights.sum())
