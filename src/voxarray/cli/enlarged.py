"""A real scan made larger than memory: what the demo has instead of a scan of that size."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voxarray.geometry.grid import Grid
from voxarray.geometry.selection import Selection, Shape4
from voxarray.source.base import Source


@dataclass(frozen=True, eq=False)
class Enlarged(Source):
    """A small volume with each voxel split, linearly interpolated when it is read.

    Attributes:
        small: (W, H, D) voxels.
        grid_of_small: Where they are.
        factors: Times as many voxels along W, H and D.
    """

    small: NDArray
    grid_of_small: Grid
    factors: tuple[int, int, int]

    @property
    def shape(self) -> Shape4:
        return (1, *self.grid_of_small.zoom(self.factors).shape)

    @property
    def affine(self) -> NDArray[np.float64]:
        return self.grid_of_small.zoom(self.factors).affine

    @property
    def dtype(self) -> np.dtype:
        return self.small.dtype

    @property
    def chunks(self) -> Shape4:
        _, width, height, _ = self.shape
        return 1, width, height, self.factors[2]

    def read(self, selection: Selection) -> NDArray:
        voxels = self.small.astype(np.float32)
        for axis in (2, 1, 0):  # slices first: few are asked for at a time
            voxels = _interpolated(voxels, axis, selection.spatial[axis], self.factors[axis])
        if self.dtype.kind in "iu":
            voxels = np.rint(voxels)
        return voxels.astype(self.dtype)[None]

    def token(self) -> str:
        raise TypeError(
            "the demo's scan cannot be used in a dask graph: save it to a file, and open that"
        )


def _interpolated(voxels: NDArray, axis: int, indices: range, factor: int) -> NDArray:
    size = voxels.shape[axis]
    positions = np.clip((np.asarray(indices) + 0.5) / factor - 0.5, 0, size - 1)
    low = np.minimum(positions.astype(int), max(size - 2, 0))
    weight = (positions - low).astype(voxels.dtype)
    weight = weight.reshape([-1 if n == axis else 1 for n in range(3)])
    above = np.take(voxels, np.minimum(low + 1, size - 1), axis)
    below = np.take(voxels, low, axis)
    blended: NDArray = below + weight * (above - below)
    return blended
