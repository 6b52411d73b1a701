"""Saving ITK's HDF5 images."""

from __future__ import annotations

from voxarray.core.optional import import_optional
from voxarray.formats._voxels.capabilities import (
    plane_affine,
    remark_lost_time,
    require_held,
    supported_dtype,
)
from voxarray.formats._voxels.itk_writing import image_of, read_whole, write_image
from voxarray.formats.hdf5.read import open_itk_hdf5
from voxarray.formats.record import SaveRequest
from voxarray.source.base import Source
from voxarray.storage.atomic_write import atomic_writes

_TYPES = ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8")


def write_hdf5(source: Source, path: str, *, squeeze: bool, overwrite: bool = True) -> None:
    """Save as ITK's HDF5 image, with spacing, origin and directions.

    Args:
        source: What to save.
        path: Destination.
        squeeze: Whether a single slice is written as two dimensions.
        overwrite: Whether what is there is replaced.

    Raises:
        UnsupportedError: ``UNSUPPORTED_DTYPE``, ``CANNOT_SQUEEZE``, ``AFFINE_NOT_HELD``.
        MissingPackageError: h5py, with which the file is read again, is not installed.
        MemoryBudgetError: The image and ITK's copy exceed the budget.
        ArchiveError: The disk is full or fails.
    """
    supported_dtype(source, _TYPES, "ITK's HDF5")
    remark_lost_time(source, "ITK's HDF5")
    import_optional("h5py", "voxarray[hdf5]", path=path)  # or it is missed after all is written
    voxels = read_whole(source).transpose(3, 2, 1, 0)
    affine, is_plane = source.affine, squeeze and source.shape[3] == 1
    if is_plane:
        plane_affine(source)  # refuses what two dimensions cannot say
        voxels = voxels[0]
    image = image_of(voxels, affine)
    with atomic_writes(path, overwrite=overwrite) as (partial,):
        write_image(image, partial, "HDF5ImageIO")
        require_held(source, open_itk_hdf5(partial), "ITK's HDF5")


def save(request: SaveRequest) -> None:
    """Save an HDF5 image as it is asked for."""
    write_hdf5(
        request.source, request.path, squeeze=bool(request.squeeze), overwrite=request.overwrite
    )
