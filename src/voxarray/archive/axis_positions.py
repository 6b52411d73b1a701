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
from voxarray.archive.codecs import RAW, Codec, with_crc
from voxarray.core.errors import VoxarrayError

_CODEC = Codec("zstd", 5, "bitshuffle")
"""Higher compression levels take 0.5 to 4 ms for an axis, and save 2 % of its bytes."""

_EIGHT = 8
"""Blosc shuffles the bits of as many numbers at once, and leaves those of other numbers."""

_RAGGED = Codec("zstd", 5, "shuffle")
"""For lengths that are no multiple of 8: smaller for some axes of fewer than about 100 voxels."""

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
    choices = [(_lengthened(values, step), _CODEC)]
    if size % _EIGHT:
        choices.append((values, _RAGGED))
    document = _document(size, size, name, step, RAW)
    body, least = b"", len(document) + values.nbytes
    for chunk, codec in choices:
        compressed, described = codec.body(chunk), _document(size, chunk.size, name, step, codec)
        # Of a short axis, the compressor may save less than its description takes.
        if len(compressed) + len(described) < least:
            body, document, least = compressed, described, len(compressed) + len(described)
    return {"zarr.json": document, _KEY: with_crc(body or RAW.body(values))}


def _lengthened(values: NDArray[np.float64], step: float) -> NDArray[np.float64]:
    """Positions of a multiple of eight voxels: those beyond the image are read by nobody."""
    beyond = np.arange(values.size, _multiple(values.size))
    # What goes on as before is compressed better than zeros.
    return np.concatenate([values, values[0] + step * beyond]) if beyond.size else values


def _multiple(size: int) -> int:
    return -(-size // _EIGHT) * _EIGHT


@lru_cache(maxsize=64)  # the scans of a cohort are mostly of a few shapes and spacings
def _document(size: int, chunk: int, name: str, step: float, codec: Codec) -> bytes:
    dtype = np.dtype(np.float64)
    attributes = {"units": "mm", "step": step}
    document = documents.plain_array((size,), dtype, (name,), attributes)
    document["chunk_grid"] = _grid(chunk)
    document["codecs"] = codec.to_json(dtype)
    document["chunk_key_encoding"] = _DOTTED_KEYS
    return documents.dump(document)


def _grid(chunk: int) -> dict[str, Any]:
    return {"name": "regular", "configuration": {"chunk_shape": [chunk]}}


def key_of(array: str, files: Collection[str]) -> str:
    """Key of the only chunk, among the files that a manifest names."""
    key = f"{array}/{_KEY}"
    return key if key in files else f"{array}/{_OLD_KEY}"


def decoded(chunk: bytes, document: Mapping[str, Any], size: int) -> NDArray[np.float64] | None:
    """The positions in a chunk.

    Args:
        chunk: The only one of the array.
        document: Of the array.
        size: How many positions there should be.

    Returns:
        Millimetres; None if the chunk does not hold so many, or is not as the document says.
    """
    is_longer = document.get("chunk_grid") == _grid(_multiple(size))
    values = np.empty(_multiple(size) if is_longer else size, "<f8")
    try:
        codec = Codec.from_json(document["codecs"])
        codec.decode(np.frombuffer(bytearray(chunk), np.uint8), values)
    except (VoxarrayError, RuntimeError, ValueError):  # numcodecs raises the latter two
        return None
    except (AttributeError, KeyError, OverflowError, TypeError):  # no codecs at all
        return None
    return values[:size]


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
    longer = _grid(_multiple(size))
    if document.get("chunk_grid") == longer:
        expected["chunk_grid"] = longer
    if key.endswith(f"/{_KEY}"):
        expected["chunk_key_encoding"] = _DOTTED_KEYS
    compared = ("shape", "data_type", "chunk_grid", "chunk_key_encoding", "dimension_names")
    return {entry: expected[entry] for entry in compared if document.get(entry) != expected[entry]}
