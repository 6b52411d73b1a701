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
"""The levels above take 0.5 to 4 ms for an axis, and save two hundredths of its bytes."""

_RAGGED = Codec("zstd", 5, "shuffle")
"""Of other numbers than multiples of 8, blosc leaves the bits as they are."""

_BESIDE = {"name": "default", "configuration": {"separator": "."}}
_KEY = "c.0"
_KEY_BEFORE = "c/0"
"""Of archives of version 1, and of early ones of version 2, which are not compressed."""


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
    document["chunk_key_encoding"] = _BESIDE
    return documents.dump(document)


def key_of(array: str, files: Collection[str]) -> str:
    """Key of the only chunk, among the files that a manifest names."""
    key = f"{array}/{_KEY}"
    return key if key in files else f"{array}/{_KEY_BEFORE}"


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
    # Which of the two shuffled it, a chunk of blosc says itself.
    codec = Codec(cname="") if key.endswith(f"/{_KEY_BEFORE}") else _CODEC
    values = np.empty(size, "<f8")
    try:
        codec.decode(raw, values)
    except (VoxarrayError, RuntimeError, ValueError):  # numcodecs raises the latter two
        return None
    return values
