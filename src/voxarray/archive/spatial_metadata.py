"""Positions for other readers of an archive: coordinates for xarray, a header for NIfTI-Zarr."""

from __future__ import annotations

from contextlib import suppress
from functools import lru_cache

import numpy as np

from voxarray.archive import axis_positions, documents, header_array
from voxarray.archive.metadata import NIFTI
from voxarray.archive.staging import Staging
from voxarray.archive.voxel_encoding import VoxelEncoding
from voxarray.core.errors import UnsupportedError
from voxarray.geometry.coordinates import WORLD_NAME, world_attrs
from voxarray.geometry.grid import Grid
from voxarray.geometry.lattice import DIMS, Placement
from voxarray.nifti_header.build import header_for
from voxarray.source.base import Source


def write_level_group(area: Staging, folder: str) -> None:
    """Group of a level."""
    area.write(f"{folder}/zarr.json", _GROUP)


def write_coordinates(area: Staging, folder: str, grid: Grid) -> None:
    """The coordinates x, y, z and ``spatial_ref`` of a level, in its group.

    The positions are mm along the voxel axes, from the origin of RAS+.
    """
    placement = Placement.of_grid(grid)
    for axis, name in enumerate(DIMS):
        files = axis_positions.encoded(placement.positions(axis), name, placement.step(axis))
        for key, data in files.items():
            area.write(f"{folder}/{name}/{key}", data)
    area.write(f"{folder}/{WORLD_NAME}/zarr.json", _world(placement.lattice.world.tobytes()))


def write_nifti_header(area: Staging, prefix: str, source: Source, storage: VoxelEncoding) -> None:
    """The array ``nifti`` of NIfTI-Zarr 0.3: header bytes, free of text, full oblique affine.

    No header is written for a type that NIfTI does not have (half precision).
    """
    with suppress(UnsupportedError):
        header = header_for(
            source.shape,
            storage.dtype,
            source.affine,
            channels=source.channels,
            scaling=storage.kept,
            template=source.original_header,
        )
        for key, data in header_array.encoded(header).items():
            area.write(f"{prefix}{NIFTI}/{key}", data)


# The images of a cohort mostly share these documents, so each is encoded once.

_GROUP = documents.dump(documents.group({}))


@lru_cache(maxsize=64)
def _world(matrix: bytes) -> bytes:
    """Document of ``spatial_ref`` for W (4, 4)."""
    # Only its attributes matter. A scalar of value 0 equals its fill value and needs no chunk, and
    # a single byte needs no byte order.
    attributes = world_attrs(np.frombuffer(matrix).reshape(4, 4))
    array = documents.plain_array((), np.dtype(np.int8), (), attributes)
    # Without a chunk, its checksum and the encoding of its key are left out, too.
    array |= {"codecs": array["codecs"][:1], "chunk_key_encoding": {"name": "default"}}
    return documents.dump(array)
