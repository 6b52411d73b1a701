"""Numbers about each chunk of the full resolution, stored beside the NIfTI header."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from voxarray.archive import documents
from voxarray.archive.staging import Staging
from voxarray.core.errors import FormatError
from voxarray.counting.cells import Cells
from voxarray.geometry.layout import Layout


def cells_of(layout: Layout) -> Cells:
    """The chunks of a layout as cells of the volume."""
    _, depth, height, width = layout.shape
    _, z, y, x = layout.chunk
    return Cells((width, height, depth), (x, y, z))


def values_of(raw: bytes, dtype: str, per_row: int) -> NDArray:
    """The numbers of a table, from the bytes of its only chunk.

    Raises:
        FormatError: If they are no whole rows; code ``BAD_CHUNK_SIZE``.
    """
    size = len(raw) - 4  # its crc32c
    if size < 0 or size % (np.dtype(dtype).itemsize * per_row):
        raise FormatError(
            f"a table of rows of {per_row} numbers has {size} bytes: convert the source again",
            code="BAD_CHUNK_SIZE",
        )
    return np.frombuffer(raw, np.uint8, size).view(dtype)


def write(
    area: Staging, key: str, table: NDArray, names: Sequence[str], facts: Mapping[str, Any]
) -> None:
    """Store a table as a Zarr array of one chunk, followed by its crc32c.

    Args:
        area: The archive that is being written.
        key: Of the array.
        table: Two-dimensional, little-endian.
        names: Of its dimensions.
        facts: Attributes of the array.
    """
    document = documents.plain_array(table.shape, table.dtype, names, facts)
    area.write(f"{key}/zarr.json", documents.dump(document))
    data = table.tobytes()
    crc = google_crc32c.value(data).to_bytes(4, "little")
    area.write(f"{key}/{documents.chunk_key((0, 0))}", data + crc)
