"""What makes an archive placeable by others: mm coordinates for xarray, a header for NIfTI-Zarr."""

from __future__ import annotations

from contextlib import suppress

import google_crc32c
import numpy as np

from voxarray.archive import axis_positions, documents
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
        positions = placement.positions(axis)
        for key, data in axis_positions.encoded(positions, name, attributes).items():
            area.write(f"{folder}/{name}/{key}", data)
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
        key, dtype = f"{prefix}{NIFTI}", np.dtype(np.uint8)
        document = documents.plain_array((len(header),), dtype, ("nifti_byte",), {})
        area.write(f"{key}/zarr.json", documents.dump(document))
        crc = google_crc32c.value(header).to_bytes(4, "little")
        area.write(f"{key}/{documents.chunk_key((0,))}", header + crc)
