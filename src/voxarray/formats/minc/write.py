"""Saving MINC 2."""

from __future__ import annotations

import numpy as np

from voxarray.core.optional import import_optional
from voxarray.formats._voxels.capabilities import (
    remark_lost_time,
    require_held,
    require_one_channel,
    supported_dtype,
    warn,
)
from voxarray.formats._voxels.itk_writing import image_of, read_whole, write_image
from voxarray.formats.minc.read import open_minc
from voxarray.formats.record import SaveRequest
from voxarray.geometry.lps import lps_from_ras
from voxarray.source.base import Source
from voxarray.storage.atomic_write import atomic_writes

_MINC_TYPES = ("u1", "i1", "u2", "i2", "u4", "i4", "f4", "f8")


def write_minc(source: Source, path: str, *, overwrite: bool = True) -> None:
    """Save as MINC 2: the axes in the file are W, H, D, the order in which nibabel reads them.

    ITK takes the fastest axis for the first, and MINC's RAS for its own LPS: it reads such files,
    as it does all MINC files, with axes in reverse and turned about.

    Raises:
        UnsupportedError: ``UNSUPPORTED_DTYPE``, ``UNSUPPORTED_DIMS``, ``AFFINE_NOT_HELD``.
        MissingPackageError: h5py, with which the file is read again, is not installed.
        MemoryBudgetError: The image and ITK's copy exceed the budget.
        ArchiveError: The disk is full or fails.
    """
    supported_dtype(source, _MINC_TYPES, "MINC")
    require_one_channel(source, "MINC")
    remark_lost_time(source, "MINC")
    import_optional("h5py", "voxarray[hdf5]", path=path)  # or it is missed after all is written
    voxels = read_whole(source)[0]
    # MINC's world is RAS, and ITK writes its own LPS numbers there as they are: handing it RAS
    # numbers makes the file right, for nibabel and MINC's tools if not for ITK itself.
    # `require_held` would notice if that changed.
    image = image_of(voxels[..., None], lps_from_ras(source.affine)[:, [2, 1, 0, 3]])
    with atomic_writes(path, overwrite=overwrite) as (partial,):
        write_image(image, partial, "MINCImageIO")
        written = open_minc(partial)
        require_held(source, written, "MINC")
    if written.dtype != source.dtype:
        warn(
            f"WIDER_DTYPE: MINC stores {source.dtype.name} voxels with a scaling, so they will be "
            f"read as {written.dtype.name}; their values stay the same"
        )


def held_dtype(source: Source, _: str) -> np.dtype:
    """Type of voxels that are read from a file of a source: integers are stored with a scaling."""
    if source.dtype.kind == "f":
        return source.dtype
    return np.dtype(np.float64 if source.dtype.itemsize > 2 else np.float32)


def save(request: SaveRequest) -> None:
    """Save a MINC file as it is asked for."""
    write_minc(request.source, request.path, overwrite=request.overwrite)
