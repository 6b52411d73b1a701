"""Saving through SimpleITK, which needs all voxels at once: HDF5 and MINC 2."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxarray.core.errors import UnsupportedError
from voxarray.core.memory import require
from voxarray.formats._voxels.capabilities import (
    held_dtype,
    plane_affine,
    remark_lost_time,
    require_held,
    require_one_channel,
    warn,
)
from voxarray.formats.hdf5.read import open_itk_hdf5
from voxarray.formats.minc.read import open_minc
from voxarray.geometry.lps import itk_from_ras, lps_from_ras
from voxarray.geometry.selection import Selection
from voxarray.source.base import Source
from voxarray.storage.atomic_write import whole_files

_TYPES = ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8")
_MINC_TYPES = ("u1", "i1", "u2", "i2", "u4", "i4", "f4", "f8")


def write_hdf5(source: Source, path: str, *, squeeze: bool) -> None:
    """Save as ITK's HDF5 image, with spacing, origin and directions.

    Args:
        source: What to save.
        path: Destination.
        squeeze: Whether a single slice is written as two dimensions.

    Raises:
        UnsupportedError: ``UNSUPPORTED_DTYPE``, ``CANNOT_SQUEEZE``, ``AFFINE_NOT_HELD``; or h5py,
            with which the file is read again, is not installed (``NO_H5PY``).
        MemoryBudgetError: The image and ITK's copy exceed the budget.
        ArchiveError: The disk is full or fails.
    """
    held_dtype(source, _TYPES, "ITK's HDF5")
    remark_lost_time(source, "ITK's HDF5")
    voxels = _voxels(source).transpose(3, 2, 1, 0)
    affine, is_plane = source.affine, squeeze and source.shape[3] == 1
    if is_plane:
        plane_affine(source)  # refuses what two dimensions cannot say
        voxels = voxels[0]
    image = _image(voxels, affine)
    with whole_files(path, overwrite=True) as (partial,):
        _write(image, partial, "HDF5ImageIO")
        require_held(source, open_itk_hdf5(partial), "ITK's HDF5")


def write_minc(source: Source, path: str) -> None:
    """Save as MINC 2: the axes in the file are W, H, D, the order in which nibabel reads them.

    ITK takes the fastest axis for the first, and MINC's RAS for its own LPS: it reads such files,
    as it does all MINC files, with axes in reverse and turned about.

    Raises:
        UnsupportedError: ``UNSUPPORTED_DTYPE``, ``UNSUPPORTED_DIMS``, ``AFFINE_NOT_HELD``; or
            h5py, with which the file is read again, is not installed (``NO_H5PY``).
        MemoryBudgetError: The image and ITK's copy exceed the budget.
        ArchiveError: The disk is full or fails.
    """
    held_dtype(source, _MINC_TYPES, "MINC")
    require_one_channel(source, "MINC")
    voxels = _voxels(source)[0]
    # MINC's world is RAS, and ITK writes its own LPS numbers there as they are: handing it RAS
    # numbers makes the file right, for nibabel and MINC's tools if not for ITK itself.
    # `require_held` would notice if that changed.
    image = _image(voxels[..., None], lps_from_ras(source.affine)[:, [2, 1, 0, 3]])
    with whole_files(path, overwrite=True) as (partial,):
        _write(image, partial, "MINCImageIO")
        found = open_minc(partial)
        require_held(source, found, "MINC")
    if found.dtype != source.dtype:
        warn(f"WIDER_DTYPE: MINC stores the {source.dtype.name} voxels with a range of their own, "
             f"so that they are read as {found.dtype.name}; their values are the same")  # fmt: skip


def projected_peak(source: Source) -> int:
    """Bytes that saving needs at its peak: the voxels, ITK's copy, and what its writer makes."""
    return 3 * math.prod(source.shape) * source.dtype.itemsize


def _voxels(source: Source) -> NDArray:
    require(
        projected_peak(source),
        "saving through SimpleITK",
        "save it as .nrrd or .nii, which is streamed",
    )
    voxels = source.read(Selection.whole(source.shape))
    return voxels.astype(np.uint8) if voxels.dtype == np.bool_ else voxels


def _image(voxels: NDArray, affine: NDArray[np.float64]) -> Any:
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


def _write(image: Any, path: str, writer: str) -> None:
    import SimpleITK

    try:
        SimpleITK.WriteImage(image, path, imageIO=writer)
    except RuntimeError as error:
        raise UnsupportedError(
            f"ITK cannot write this: {str(error).strip().splitlines()[-1]}", code="NOT_WRITTEN"
        ) from None
