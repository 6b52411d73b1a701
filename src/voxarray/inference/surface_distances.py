"""Distances between the surfaces of two masks, by SciPy's exact Euclidean distance transform."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class SurfaceDistances:
    """Distances in mm between two surfaces.

    They are measured from each voxel of one surface to the nearest voxel of the other, and from
    each voxel of the other to the nearest voxel of the first.

    Attributes:
        hausdorff: The largest of all distances.
        hausdorff95: The 95th percentile of the distances in each direction; the larger of the two.
        mean: The mean of all distances.
    """

    hausdorff: float
    hausdorff95: float
    mean: float


def surface_distances(
    first: NDArray[np.bool_], second: NDArray[np.bool_], spacing: Sequence[float]
) -> SurfaceDistances:
    """Compare two masks (W, H, D), neither of them empty, with a border of background.

    Args:
        first: A mask.
        second: Another of the same shape.
        spacing: Of voxels along W, H and D, in mm.
    """
    from scipy.ndimage import binary_erosion, distance_transform_edt

    surfaces = [mask & ~binary_erosion(mask) for mask in (first, second)]
    distances = [
        distance_transform_edt(~target, sampling=spacing)[source]
        for source, target in (surfaces, surfaces[::-1])
    ]
    return SurfaceDistances(
        hausdorff=float(max(values.max() for values in distances)),
        hausdorff95=float(max(np.percentile(values, 95) for values in distances)),
        mean=float(np.concatenate(distances).mean()),
    )
