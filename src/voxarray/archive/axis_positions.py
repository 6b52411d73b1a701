"""Positions of voxels along one axis, in mm: the coordinates that plain xarray shows.

Three for each level stand in every archive, so they are kept small: compressed.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from voxarray.archive import documents
from voxarray.archive.codecs import Codec
from voxarray.core.errors import VoxarrayError

_CODEC = Codec("zstd", 5, "bitshuffle")
"""The levels above take 0.5 to 4 ms for an axis, and save two hundredths of its bytes."""

_NOT_COMPRESSED = "/c/0"
"""End of the key in archives of version 1, and in early ones of version 2."""


def encoded(
    values: NDArray[np.float64], name: str, attributes: dict[str, object]
) -> dict[str, bytes]:
    """Files of the array, by their key below it."""
    document = documents.plain_array(values.shape, values.dtype, (name,), attributes)
    document["codecs"] = _CODEC.to_json(values.dtype)
    chunk = documents.chunk_key((0,), ".")
    return {"zarr.json": documents.dump(document), chunk: b"".join(_CODEC.encode(values))}


def decoded(key: str, size: int, read: Callable[[str], bytes]) -> NDArray[np.float64] | None:
    """The positions in a chunk.

    Args:
        key: What `documents.only_chunk` found.
        size: How many there should be.
        read: Gives a file of the archive.

    Returns:
        Millimetres; None if the chunk does not hold so many.
    """
    raw = np.frombuffer(bytearray(read(key)), np.uint8)
    codec = Codec(cname="") if key.endswith(_NOT_COMPRESSED) else _CODEC
    values = np.empty(size, "<f8")
    try:
        codec.decode(raw, values)
    except (VoxarrayError, RuntimeError, ValueError):  # numcodecs raises the latter two
        return None
    return values
