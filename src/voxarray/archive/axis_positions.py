"""Positions of voxels along one axis, in mm: the coordinates that plain xarray shows.

Three for each level stand in every archive, so they are kept small: compressed, and in a file
beside the document instead of a folder of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from voxarray.archive import documents
from voxarray.archive.codecs import Codec
from voxarray.core.errors import VoxarrayError

_CODEC = Codec("zstd", 5, "bitshuffle")
"""Higher compression levels take 0.5 to 4 ms for an axis, and save 2 % of its bytes."""

_RAGGED = Codec("zstd", 5, "shuffle")
"""For lengths that are no multiple of 8, of which blosc does not shuffle the bits."""

_DOTTED_KEYS = {"name": "default", "configuration": {"separator": "."}}
"""With these the chunk is a file beside ``zarr.json``, and needs no folder of its own."""

_KEY = "c.0"
_OLD_KEY = "c/0"
"""In archives of version 1, and early ones of version 2, whose positions are not compressed."""


def encoded(values: NDArray[np.float64], name: str, step: float) -> dict[str, bytes]:
    """Files of the array, by their key below it.

    Args:
        values: Position of each voxel.
        name: Of the axis.
        step: Signed millimetres from one voxel to the next.
    """
    chunk = b"".join(_codec(values.size).encode(values))
    return {"zarr.json": _document(values.size, name, step), _KEY: chunk}


def _codec(size: int) -> Codec:
    return _RAGGED if size % 8 else _CODEC


@lru_cache(maxsize=64)  # the scans of a cohort are mostly of a few shapes and spacings
def _document(size: int, name: str, step: float) -> bytes:
    dtype = np.dtype(np.float64)
    attributes = {"units": "mm", "step": step}
    document = documents.plain_array((size,), dtype, (name,), attributes)
    document["codecs"] = _codec(size).to_json(dtype)
    document["chunk_key_encoding"] = _DOTTED_KEYS
    return documents.dump(document)


def key_of(array: str, files: Collection[str]) -> str:
    """Key of the only chunk, among the files that a manifest names."""
    key = f"{array}/{_KEY}"
    return key if key in files else f"{array}/{_OLD_KEY}"


def decoded(key: str, size: int, read: Callable[[str], bytes]) -> NDArray[np.float64] | None:
    """The positions in a chunk.

    Args:
        key: What `key_of` found.
        size: How many there should be.
        read: Gives a file of the archive.

    Returns:
        Millimetres; None if the chunk does not hold so many.
    """
    raw = np.frombuffer(bytearray(read(key)), np.uint8)
    # A chunk of blosc states its own shuffle, so `_CODEC` also decodes what `_RAGGED` encoded.
    codec = Codec(cname="") if key.endswith(f"/{_OLD_KEY}") else _CODEC
    values = np.empty(size, "<f8")
    try:
        codec.decode(raw, values)
    except (VoxarrayError, RuntimeError, ValueError):  # numcodecs raises the latter two
        return None
    return values
