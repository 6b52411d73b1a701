"""The one place where LPS meets RAS.

ITK (hence NRRD, MetaImage and all that SimpleITK reads) and DICOM count millimetres towards the
patient's left, posterior and superior side; voxarray counts towards right, anterior, superior.
The first two world axes are reversed, voxel axes stay as they are.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

_FLIP = np.diag([-1.0, -1.0, 1.0, 1.0])


def ras_from_lps(affine: ArrayLike) -> NDArray[np.float64]:
    """(4, 4) voxel index to RAS+ mm, from voxel index to LPS+ mm."""
    return _FLIP @ np.asarray(affine, np.float64) + 0.0  # adding 0 turns -0 into 0


def lps_from_ras(affine: ArrayLike) -> NDArray[np.float64]:
    """(4, 4) voxel index to LPS+ mm, from voxel index to RAS+ mm."""
    return ras_from_lps(affine)


def ras_from_itk(
    spacing: Sequence[float], origin: Sequence[float], direction: Sequence[float]
) -> NDArray[np.float64]:
    """(4, 4) voxel index to RAS+ mm, from what ITK says of an image of two or more dimensions.

    Args:
        spacing: mm between centres along each voxel axis.
        origin: Centre of the first voxel, LPS+ mm.
        direction: Square matrix row by row; its columns are the voxel axes.

    A plane lies in the x-y plane of the world, one millimetre thick, as TorchIO has it; of more
    than three dimensions the first three count.
    """
    count = len(spacing)
    size = min(count, 3)
    cosines = np.asarray(direction, np.float64).reshape(count, count)[:size, :size]
    affine = np.eye(4)
    affine[:size, :size] = cosines * np.asarray(spacing, np.float64)[:size]
    affine[:size, 3] = np.asarray(origin, np.float64)[:size]
    return ras_from_lps(affine)


def itk_from_ras(
    affine: ArrayLike,
) -> tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]:
    """Spacing, origin and direction as ITK takes them, of three dimensions; shear is kept."""
    lps = lps_from_ras(affine)
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    direction = lps[:3, :3] / spacing
    return tuple(spacing.tolist()), tuple(lps[:3, 3].tolist()), tuple(direction.ravel().tolist())
