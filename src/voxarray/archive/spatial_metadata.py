"""What makes an archive placeable by others: mm coordinates for xarray, a header for NIfTI-Zarr."""

from __future__ import annotations

from contextlib import suppress

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from voxarray.archive import documents
from voxarray.archive.encoding import VoxelEncoding
from voxarray.archive.metadata import NIFTI
from voxarray.archive.staging import Staging
from voxarray.core.errors import UnsupportedError
from voxarray.geometry.coordinates import WORLD_NAME, world_attrs
from voxarray.geometry.grid import Grid
from voxarray.geometry.lattice import DIMS, Placement
from voxarray.nifti_header.build import header_for
from voxarray.source.base import Source


def write_level_frame(area: Staging, folder: str, grid: Grid) -> None:
    """Group of a level with coordinates x, y, z (mm along the voxel axes) and ``spatial_ref``."""
    area.write(f"{folder}/zarr.json", documents.dump(documents.group({})))
    placement = Placement.of_affine(grid.affine, grid.shape)
    for axis, name in enumerate(DIMS):
        attributes = {
            "units": "mm",
            "step": placement.step(axis),
            "long_name": f"position along voxel axis {name}",
        }
        values = placement.positions(axis)
        _write_array(area, f"{folder}/{name}", values, (name,), attributes)
    # A scalar that is zero is its fill value, which needs no chunk: its attributes are the point.
    attributes = world_attrs(placement.lattice.world)
    scalar = documents.plain_array((), np.dtype(np.int32), (), attributes)
    area.write(f"{folder}/{WORLD_NAME}/zarr.json", documents.dump(scalar))


def write_nifti_header(area: Staging, prefix: str, source: Source, storage: VoxelEncoding) -> None:
    """The array ``nifti`` of NIfTI-Zarr 0.3: header bytes, free of text, full oblique affine.

    A type that NIfTI does not have (half precision) makes no header.
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
        values = np.frombuffer(header, np.uint8)
        _write_array(area, f"{prefix}{NIFTI}", values, ("nifti_byte",), {})


def _write_array(
    area: Staging,
    key: str,
    values: NDArray,
    dimensions: tuple[str, ...],
    attributes: dict[str, object],
) -> None:
    """A 1-D array with its only chunk."""
    document = documents.plain_array(values.shape, values.dtype, dimensions, attributes)
    area.write(f"{key}/zarr.json", documents.dump(document))
    data = values.tobytes()
    crc = google_crc32c.value(data).to_bytes(4, "little")
    area.write(f"{key}/{documents.chunk_key((0,))}", data + crc)
