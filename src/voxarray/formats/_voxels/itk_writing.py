"""Saving through SimpleITK, which needs all voxels at once."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxarray.core.errors import UnsupportedError
from voxarray.core.memory import require
from voxarray.geometry.lps import itk_from_ras
from voxarray.geometry.selection import Selection
from voxarray.source.base import Source


def projected_peak(source: Source) -> int:
    """Bytes that saving needs at its peak: the voxels, ITK's copy, and what its writer makes."""
    return 3 * math.prod(source.shape) * source.dtype.itemsize


def read_whole(source: Source) -> NDArray:
    """All voxels, in a type that ITK has, if they fit the budget."""
    require(
        projected_peak(source),
        "saving through SimpleITK",
        "save it as .nrrd or .nii, which is streamed",
    )
    voxels = source.read(Selection.whole(source.shape))
    return voxels.astype(np.uint8) if voxels.dtype == np.bool_ else voxels


def image_of(voxels: NDArray, affine: NDArray[np.float64]) -> Any:
    """An image of an array (D, H, W, C) or (H, W, C)."""
    import SimpleITK

    is_vector = voxels.shape[-1] > 1
    array = np.ascontiguousarray(voxels if is_vector else voxels[..., 0])
    image = SimpleITK.GetImageFromArray(array, isVector=is_vector)
    count = image.GetDimension()
    spacing, origin, direction = itk_from_ras(affine)
    image.SetSpacing(spacing[:count])
    image.SetOrigin(origin[:count])
    image.SetDirection(np.reshape(direction, (3, 3))[:count, :count].ravel().tolist())
    return image


def write_image(image: Any, path: str, writer: str) -> None:
    """Write an image with one of ITK's writers."""
    import SimpleITK

    try:
        SimpleITK.WriteImage(image, path, imageIO=writer)
    except RuntimeError as error:
        raise UnsupportedError(
            f"ITK cannot write this: {str(error).strip().splitlines()[-1]}", code="NOT_WRITTEN"
        ) from None
