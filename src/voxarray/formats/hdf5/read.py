"""ITK's HDF5 images (``.h5``, ``.hdf5``), read box by box through h5py."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxarray.core.errors import FormatError, UnsupportedError
from voxarray.formats._voxels.file_array import COMPONENTS, VOLUMES, FileArray, StoredVoxels
from voxarray.formats._voxels.hdf5_array import Hdf5File, dataset_dtype, opened_hdf5
from voxarray.formats._voxels.header_text import checked_sizes, checked_spacing
from voxarray.geometry.lps import ras_from_itk
from voxarray.source.base import Channels
from voxarray.storage.file_identity import FileIdentity

_IMAGE = "ITKImage/0"
_VOXELS = f"{_IMAGE}/VoxelData"


def open_itk_hdf5(path: str | os.PathLike[str]) -> FileArray:
    """An HDF5 file that ITK, hence SimpleITK or TorchIO, has written; only its header is read.

    Raises:
        MissingFileError: There is no such file.
        FormatError: ``NOT_AN_IMAGE`` for other HDF5 files, ``BAD_HEADER``, ``BAD_DIMS``,
            ``BAD_SPACING``, ``BAD_AFFINE``, ``DIMS_EXCEED_FILE``.
        UnsupportedError: More axes than (C, W, H, D).
        MissingPackageError: h5py is not installed.
    """
    identity = FileIdentity.of(path)
    with identity.named_in_errors():
        os.close(identity.open())
        with opened_hdf5(identity.path) as file:
            if _VOXELS not in file:
                raise FormatError(
                    f"the HDF5 file has no array {_VOXELS}, so it is not an image of ITK: read it "
                    "with a reader= of your own",
                    code="NOT_AN_IMAGE",
                )
            stored, channels = _stored(file)
            affine = _affine(file)
    return Hdf5File(
        identity=identity, stored=stored, affine=affine, channels=channels, dataset=_VOXELS
    )


def _stored(file: Any) -> tuple[StoredVoxels, Channels]:
    dataset = file[_VOXELS]
    dimensions = len(_small(file, "Dimension"))
    sizes = checked_sizes([int(n) for n in dataset.shape], 5)
    components = sizes[dimensions:]
    axes = sizes[:dimensions][::-1]
    if len(components) > 1 or not 2 <= dimensions <= 4 or (dimensions == 4 and components):
        raise UnsupportedError(
            f"the array has {dimensions} dimensions, and each voxel has the shape {components}: "
            "expected the axes (C, W, H, D) of a plane or volume; save each volume as a file of "
            "its own",
            code="UNSUPPORTED_DIMS",
        )
    w, h, d, volumes = (*axes, 1, 1)[:4]
    shape = (components[0] if components else volumes, w, h, d)
    order = COMPONENTS if components else VOLUMES
    channels = Channels("time") if dimensions == 4 else Channels()
    return StoredVoxels(shape, dataset_dtype(dataset), order), channels


def _affine(file: Any) -> NDArray[np.float64]:
    spacing = checked_spacing([float(mm) for mm in _small(file, "Spacing")])
    origin = [float(mm) for mm in _small(file, "Origin")]
    # A row of the file is the direction of one voxel axis; ITK holds those as columns.
    directions = np.asarray(_small(file, "Directions"), np.float64)
    count = len(_small(file, "Dimension"))
    if directions.shape != (count, count) or len(origin) != count or len(spacing) != count:
        raise FormatError(
            f"{count} sizes, {len(spacing)} spacings, {len(origin)} numbers of an origin and "
            f"directions of shape {directions.shape} do not fit together: repair the header",
            code="BAD_HEADER",
        )
    return ras_from_itk(spacing, origin, directions.T.ravel().tolist())


def _small(file: Any, name: str) -> NDArray:
    dataset = file[f"{_IMAGE}/{name}"]
    if dataset.size > 16:
        raise FormatError(
            f"{name} holds {dataset.size} numbers: expected at most 16; repair the header",
            code="BAD_HEADER",
        )
    return np.asarray(dataset[()])
