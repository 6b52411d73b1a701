"""Positions of voxels along one axis, in mm: the coordinates that plain xarray shows.

Three stand in every archive, so they are kept small: compressed where that saves bytes, and in a
file beside the document instead of a folder of its own.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxarray.archive import documents
from voxarray.archive.codecs import RAW, Codec
from voxarray.core.errors import VoxarrayError

_CODEC = Codec("zstd", 5, "bitshuffle")
"""Higher compression levels take 0.5 to 4 ms for an axis, and save 2 % of its bytes."""

_RAGGED = Codec("zstd", 5, "shuffle")
"""For lengths that are no multiple of 8, of which blosc does not shuffle the bits."""

_DOTTED_KEYS = {"name": "default", "configuration": {"separator": "."}}
"""With these the chunk is a file beside ``zarr.json``, and needs no folder of its own."""

_KEY = "c.0"
_OLD_KEY = "c/0"
"""In archives of version 1, and early ones of version 2."""


def encoded(values: NDArray[np.float64], name: str, step: float) -> dict[str, bytes]:
    """Files of the array, by their key below it.

    Args:
        values: Position of each voxel.
        name: Of the axis.
        step: Signed millimetres from one voxel to the next.
    """
    size = values.size
    # Of a short axis, the compressor may save less than its description in the document takes.
    choices = (
        {"zarr.json": _document(size, name, step, codec), _KEY: b"".join(codec.encode(values))}
        for codec in (RAW, _RAGGED if size % 8 else _CODEC)
    )
    return min(choices, key=lambda files: sum(map(len, files.values())))


@lru_cache(maxsize=64)  # the scans of a cohort are mostly of a few shapes and spacings
def _document(size: int, name: str, step: float, codec: Codec) -> bytes:
    dtype = np.dtype(np.float64)
    attributes = {"units": "mm", "step": step}
    document = documents.plain_array((size,), dtype, (name,), attributes)
    document["codecs"] = codec.to_json(dtype)
    document["chunk_key_encoding"] = _DOTTED_KEYS
    return documents.dump(document)


def key_of(array: str, files: Collection[str]) -> str:
    """Key of the only chunk, among the files that a manifest names."""
    key = f"{array}/{_KEY}"
    return key if key in files else f"{array}/{_OLD_KEY}"


def decoded(chunk: bytes, codecs: Any, size: int) -> NDArray[np.float64] | None:
    """The positions in a chunk.

    Args:
        chunk: The only one of the array.
        codecs: What the document of the array says of them.
        size: How many positions there should be.

    Returns:
        Millimetres; None if the chunk does not hold so many, or is not of these codecs.
    """
    values = np.empty(size, "<f8")
    try:
        codec = Codec.from_json(codecs)
        codec.decode(np.frombuffer(bytearray(chunk), np.uint8), values)
    except (VoxarrayError, RuntimeError, ValueError):  # numcodecs raises the latter two
        return None
    except (AttributeError, KeyError, OverflowError, TypeError):  # no codecs at all
        return None
    return values


def misfits(document: Mapping[str, Any], key: str, size: int, name: str) -> dict[str, Any]:
    """What a document should say, so that other readers find these positions, and does not.

    Args:
        document: Of the array.
        key: Of its chunk, as `key_of` found it.
        size: How many positions there are.
        name: Of the axis.

    Returns:
        What should stand there, by the name of the entry; codecs and attributes are left out.
    """
    expected = documents.plain_array((size,), np.dtype(np.float64), (name,), {})
    if key.endswith(f"/{_KEY}"):
        expected["chunk_key_encoding"] = _DOTTED_KEYS
    compared = ("shape", "data_type", "chunk_grid", "chunk_key_encoding", "dimension_names")
    return {entry: expected[entry] for entry in compared if document.get(entry) != expected[entry]}
