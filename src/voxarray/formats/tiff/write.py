"""Saving slices as the pages of a TIFF, through tifffile.

Pictures hold no place in a patient. Rows run along H, columns along W.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxarray.core.errors import UnsupportedError
from voxarray.core.optional import import_optional
from voxarray.formats._voxels.capabilities import (
    remark_lost_geometry,
    remark_lost_time,
    supported_dtype,
)
from voxarray.formats.record import SaveRequest
from voxarray.geometry.lps import ras_from_lps
from voxarray.geometry.selection import Selection
from voxarray.source.base import Source
from voxarray.storage.atomic_write import atomic_writes

_TIFF_TYPES = ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8")

_OME_TYPES = tuple(name for name in _TIFF_TYPES if name not in ("u8", "i8"))

_LEAST_PIXEL = 1e-6  # mm


def write_tiff(source: Source, path: str, *, overwrite: bool = True) -> None:
    """Save slices as the pages of an uncompressed TIFF, colours (3 or 4 channels) together.

    A name that ends in ``.ome.tif`` or ``.ome.tiff`` makes an OME-TIFF.

    Warns:
        VoxarrayWarning: The place of the image is lost (``GEOMETRY_LOST``).

    Raises:
        UnsupportedError: ``UNSUPPORTED_DTYPE``; channels that are no colours
            (``UNSUPPORTED_DIMS``).
        MissingPackageError: tifffile is not installed.
        ArchiveError: The disk is full or fails.
    """
    tifffile = import_optional("tifffile", "voxarray[tiff]", path=path)
    # Told to tifffile, which would look for the letters anywhere in the path, folders included.
    ome = path.lower().endswith((".ome.tif", ".ome.tiff"))
    dtype = supported_dtype(
        source, _OME_TYPES if ome else _TIFF_TYPES, "OME-TIFF" if ome else "TIFF"
    )
    count, width, height, depth = source.shape
    if count not in (1, 3, 4):
        raise UnsupportedError(
            f"TIFF holds 1, 3 or 4 channels, but the image has {count}: select some of them",
            code="UNSUPPORTED_DIMS",
        )
    spacing = _stored_spacing(source)
    remark_lost_geometry(source, np.diag([*spacing, 1.0]), "TIFF")
    remark_lost_time(source, "TIFF")
    resolution: dict[str, Any] = {
        "photometric": "rgb" if count > 1 else "minisblack",
        "resolution": tuple(10 / mm for mm in spacing[:2]),
        "resolutionunit": "CENTIMETER",
    }
    big = count * width * height * depth * dtype.itemsize >= 1 << 31
    with (
        atomic_writes(path, overwrite=overwrite) as (partial,),
        tifffile.TiffWriter(partial, bigtiff=big, ome=ome) as file,
    ):
        pages = _pages(source, dtype)
        if ome:
            shape = (depth, height, width, *((count,) if count > 1 else ()))
            sizes = {
                f"PhysicalSize{axis}": float(mm) for axis, mm in zip("XYZ", spacing, strict=True)
            }
            units = {f"PhysicalSize{axis}Unit": "mm" for axis in "XYZ"}
            metadata = {"axes": "ZYXS"[: len(shape)], **sizes, **units}
            file.write(pages, shape=shape, dtype=dtype, metadata=metadata, **resolution)
            return
        # Planes are written one by one: given the stack at once, tifffile takes a last axis of
        # one voxel for samples, and turns the plane.
        metadata = {"spacing": float(spacing[2]), "unit": "mm"}
        for page in pages:
            file.write(page, contiguous=True, metadata=metadata, **resolution)


def held_affine(source: Source) -> NDArray[np.float64]:
    """(4, 4) affine, RAS+ in mm, that a file of a source has: its spacing and no place."""
    return ras_from_lps(np.diag([*_stored_spacing(source), 1.0]))


def _stored_spacing(source: Source) -> NDArray[np.float64]:
    """(3,) mm, as the format's fractions of 32 bits hold it; of 1 mm if they do not."""
    spacing = np.asarray(np.linalg.norm(source.affine[:3, :3], axis=0), np.float64)
    if not ((spacing[:2] > _LEAST_PIXEL) & (spacing[:2] < 1 / _LEAST_PIXEL)).all():
        return np.ones(3)
    return spacing


def _pages(source: Source, dtype: np.dtype):  # type: ignore[no-untyped-def]  # a generator
    count, width, height, depth = source.shape
    for z in range(depth):
        box = Selection.box((0, count), (0, width), (0, height), (z, z + 1))
        page = source.read(box)[..., 0].transpose(2, 1, 0).astype(dtype)
        yield np.ascontiguousarray(page if count > 1 else page[..., 0])


def save(request: SaveRequest) -> None:
    """Save a TIFF as it is asked for."""
    write_tiff(request.source, request.path, overwrite=request.overwrite)
