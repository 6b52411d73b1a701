"""Saving one slice as a picture: PNG, JPEG and BMP, through SimpleITK.

Pictures hold no place in a patient. Rows run along H, columns along W.
"""

from __future__ import annotations

import errno
import os

import numpy as np
from numpy.typing import NDArray

from voxarray.core.errors import TruncatedError, UnsupportedError
from voxarray.formats._voxels.capabilities import remark_lost_geometry, remark_lost_time, warn
from voxarray.formats._voxels.itk_writing import require_room, without_geometry, write_image
from voxarray.formats._voxels.picture_checks import (
    require_whole_bmp,
    require_whole_jpeg,
    require_whole_png,
)
from voxarray.formats.record import SaveRequest
from voxarray.formats.suffixes import suffix_of
from voxarray.geometry.lps import ras_from_lps
from voxarray.geometry.selection import Selection
from voxarray.source.base import Source
from voxarray.storage.atomic_write import atomic_writes

_HELD = np.eye(4)
"""What readers take for the affine of a picture, LPS in mm."""

_COLOURS = {".png": (1, 3, 4), ".jpg": (1, 3), ".jpeg": (1, 3), ".bmp": (3,)}

_WRITERS = {
    ".png": "PNGImageIO",
    ".jpg": "JPEGImageIO",
    ".jpeg": "JPEGImageIO",
    ".bmp": "BMPImageIO",
}

_CHECKS = {
    ".png": require_whole_png,
    ".jpg": require_whole_jpeg,
    ".jpeg": require_whole_jpeg,
    ".bmp": require_whole_bmp,
}


def write_picture(source: Source, path: str, *, overwrite: bool = True) -> None:
    """Save one slice as PNG (uint8, uint16), JPEG or BMP (uint8); other types are cast.

    Values that uint8 holds are cast as TorchIO does, which cuts off fractions.

    Warns:
        VoxarrayWarning: Fractions are cut off (``CAST_TO_UINT8``), the format changes values
            (``LOSSY``), or the place of the slice is lost (``GEOMETRY_LOST``).

    Raises:
        UnsupportedError: Several slices, or another number of channels than the format has
            (``UNSUPPORTED_DIMS``); values beyond uint8 (``OUT_OF_RANGE``).
        ArchiveError: The disk is full or fails.
    """
    suffix = suffix_of(path)
    kind = suffix[1:].upper()
    _require_plane(source, kind)
    remark_lost_time(source, kind)
    voxels = source.read(Selection.whole(source.shape))[..., 0].transpose(2, 1, 0)  # (H, W, C)
    if suffix == ".bmp" and voxels.shape[-1] == 1:
        voxels = np.repeat(voxels, 3, axis=-1)  # ITK reads grey BMP as three channels anyway
        warn(
            "GREY_AS_COLOURS: a grey BMP is read with three equal channels; save as .png to keep "
            "one"
        )
    if voxels.shape[-1] not in _COLOURS[suffix]:
        raise UnsupportedError(
            f"{kind} holds {' or '.join(map(str, _COLOURS[suffix]))} channels, but the image has "
            f"{source.shape[0]}: select some of them",
            code="UNSUPPORTED_DIMS",
        )
    is_kept = held_dtype(source, path) == voxels.dtype
    pixels = voxels if is_kept else _as_uint8(voxels, kind)
    if _WRITERS[suffix] == "JPEGImageIO":
        warn("LOSSY: JPEG changes values; save as .png to keep them")
    remark_lost_geometry(source, _HELD, kind)
    image = without_geometry(pixels)
    with atomic_writes(path, overwrite=overwrite) as (partial,):
        if suffix == ".bmp":  # which ITK cuts short without a word
            require_room(partial, image.voxels.nbytes)
        write_image(image, partial, _WRITERS[suffix])
        _require_whole(partial, suffix)


def _require_whole(path: str, suffix: str) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        _CHECKS[suffix](fd)
    except TruncatedError as error:
        raise OSError(errno.EIO, f"the picture is cut short ({error.message})") from error
    finally:
        os.close(fd)


def _require_plane(source: Source, kind: str) -> None:
    if source.shape[3] > 1:
        raise UnsupportedError(
            f"{kind} holds one slice and the image has {source.shape[3]}: take one, such as "
            f"image[..., {source.shape[3] // 2}], or save as .tif",
            code="UNSUPPORTED_DIMS",
        )


def _as_uint8(voxels: NDArray, kind: str) -> NDArray[np.uint8]:
    if voxels.dtype in (np.uint8, np.bool_):
        return voxels.astype(np.uint8)
    if voxels.dtype.kind == "c" or not ((voxels >= 0) & (voxels < 256)).all():
        raise UnsupportedError(
            f"{kind} holds whole numbers from 0 to 255, and voxels lie outside of that: rescale "
            "the image first",
            code="OUT_OF_RANGE",
        )
    pixels = voxels.astype(np.uint8)
    if not np.array_equal(pixels, voxels):
        warn(
            f"CAST_TO_UINT8: {kind} holds whole numbers, so fractions are cut off; save as .nii.gz "
            "or .ome.zarr to keep them"
        )
    return pixels


def held_affine(_: Source) -> NDArray[np.float64]:
    """(4, 4) affine, RAS+ in mm, of any picture: pixels of 1 mm at no place."""
    return ras_from_lps(_HELD)


def held_dtype(source: Source, path: str) -> np.dtype:
    """Type of the pixels of a picture: uint8, or in a PNG uint16 if they are that."""
    is_wide = suffix_of(path) == ".png" and source.dtype == np.uint16
    return np.dtype(np.uint16 if is_wide else np.uint8)


def save(request: SaveRequest) -> None:
    """Save a picture as it is asked for."""
    write_picture(request.source, request.path, overwrite=request.overwrite)
