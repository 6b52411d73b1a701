"""SimpleITK images: LPS, and their arrays are (D, H, W) or, of vectors, (D, H, W, C)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxarray.core.caller_warnings import warn_caller
from voxarray.core.errors import UnsupportedError, VoxarrayWarning
from voxarray.core.memory import require
from voxarray.core.promotion import tensor_dtype
from voxarray.geometry.grid import checked_affine
from voxarray.geometry.lps import itk_from_ras, ras_from_itk
from voxarray.source.array import ArraySource
from voxarray.source.base import Source
from voxarray.source.materialise import materialise, projected_peak

_TOLERANCE = 1e-6
"""Relative error of an affine that went through spacing and direction cosines."""


def to_sitk(source: Source, *, force_3d: bool = False, force_4d: bool = False) -> Any:
    """A `SimpleITK.Image` of all voxels, in the type that their tensor has.

    Several channels become a vector image, one slice a 2D image; the arguments, TorchIO's, say
    otherwise.

    Args:
        source: What to read.
        force_3d: Keep the third axis of a single slice, and its place in the patient.
        force_4d: Make channels the fourth axis of a scalar image.

    Warns:
        VoxarrayWarning: If the slice lies where a 2D image cannot.

    Raises:
        UnsupportedError: For voxels that ITK has no type for (``UNSUPPORTED_DTYPE``).
        MemoryBudgetError: If it needs more memory than allowed; nothing was read.
    """
    import SimpleITK

    is_vector = source.shape[0] > 1 and not force_4d
    dtype = _itk_dtype(source, is_vector=is_vector)
    require(
        projected_peak(source, dtype) + math.prod(source.shape) * dtype.itemsize,  # and ITK's copy
        "as_sitk()",
        "slice the image or take a coarser level(n) first",
    )
    voxels = materialise(source, dtype).transpose()  # (D, H, W, C)
    if force_4d:
        voxels = np.moveaxis(voxels, -1, 0)
    elif not is_vector:
        voxels = voxels[..., 0]
    if source.shape[3] == 1 and not (force_3d or force_4d):
        voxels = voxels[0]
    image = SimpleITK.GetImageFromArray(voxels, isVector=is_vector)
    _set_geometry(image, source)
    return image


def from_sitk(image: Any) -> ArraySource:
    """Voxels and affine of a `SimpleITK.Image` of two to four dimensions, scalar or vector.

    The fourth dimension becomes C, and so do the components of vectors. A 2D image lies in the
    x-y plane of the world and is one millimetre thick.

    Raises:
        TypeError: If it is no SimpleITK image.
        UnsupportedError: For ITK's pixel types of label maps, such as ``sitkLabelUInt8``
            (``UNSUPPORTED_DTYPE``), and for 4D images of vectors (``BAD_DIMS``).
    """
    import SimpleITK

    if not isinstance(image, SimpleITK.Image):
        raise TypeError(f"from_sitk takes a SimpleITK.Image, not {type(image).__name__}")
    name = image.GetPixelIDTypeAsString()
    if name.startswith("label of"):
        # SimpleITK ends the whole process when it is asked for the array of one.
        raise UnsupportedError(
            f"an image of type {name!r} holds runs of labels, not voxels: convert it with "
            "SimpleITK.LabelMapToLabel",
            code="UNSUPPORTED_DTYPE",
        )
    dimensions, components = image.GetDimension(), image.GetNumberOfComponentsPerPixel()
    if dimensions == 4 and components > 1:
        raise UnsupportedError(
            f"this 4D image has vectors of {components} components as voxels, thus five axes, and "
            "(C, W, H, D) has four: extract one volume or one component",
            code="BAD_DIMS",
        )
    affine = ras_from_itk(image.GetSpacing(), image.GetOrigin(), image.GetDirection())
    voxels = _channels_first(
        SimpleITK.GetArrayFromImage(image), dimensions, is_vector=name.startswith("vector")
    )
    return ArraySource(voxels, checked_affine(affine))


def _channels_first(array: NDArray, dimensions: int, *, is_vector: bool) -> NDArray:
    """ITK's array as (C, W, H, D), a view."""
    voxels = array.transpose()
    if dimensions == 4:
        return np.moveaxis(voxels[0] if is_vector else voxels, -1, 0)  # a vector of one component
    if not is_vector:
        voxels = voxels[None]
    return voxels[..., None] if dimensions == 2 else voxels


def _set_geometry(image: Any, source: Source) -> None:
    dimensions = image.GetDimension()
    spacing, origin, direction = itk_from_ras(source.affine)
    cosines = np.eye(max(3, dimensions))
    cosines[:3, :3] = np.reshape(direction, (3, 3))
    if dimensions == 2:
        cosines = cosines[:2, :2] if _lies_in_xy(cosines) else np.diag([-1.0, -1.0])
    image.SetSpacing((*spacing, source.channels.step or 1.0)[:dimensions])
    image.SetOrigin((*origin, 0.0)[:dimensions])
    image.SetDirection(cosines.ravel().tolist())
    if dimensions == 2:
        _warn_of_loss(image, source.affine)


def _lies_in_xy(cosines: NDArray[np.float64]) -> bool:
    return bool(np.all(np.abs(cosines[2, :2]) < _TOLERANCE))


def _warn_of_loss(image: Any, affine: NDArray[np.float64]) -> None:
    stored = ras_from_itk(image.GetSpacing(), image.GetOrigin(), image.GetDirection())
    if not np.allclose(stored, affine, rtol=_TOLERANCE, atol=_TOLERANCE):
        warn_caller(
            "a 2D SimpleITK image lies in the x-y plane at z = 0 and has no thickness, so this "
            "slice loses its place in the patient: as_sitk(force_3d=True) keeps it",
            VoxarrayWarning,
        )


def _itk_dtype(source: Source, *, is_vector: bool) -> np.dtype:
    dtype = tensor_dtype(source.dtype)
    if dtype == np.float16 or (dtype.kind == "c" and is_vector):
        raise UnsupportedError(
            f"ITK has no {'vectors' if is_vector else 'voxels'} of type {dtype.name}: convert the "
            "voxels first, for example with image.set_data(image.data.float())",
            code="UNSUPPORTED_DTYPE",
        )
    return dtype
