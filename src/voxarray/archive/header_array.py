"""The array ``nifti``: the bytes of a NIfTI header, which are mostly zeros.

Every archive has one, so it is kept small: compressed where that saves bytes.
"""

from __future__ import annotations

import json
from functools import lru_cache

import numpy as np

from voxarray.archive import documents
from voxarray.archive.codecs import CRC_BYTES, RAW, Codec, with_crc
from voxarray.core.error_messages import MAKE_AGAIN
from voxarray.core.errors import FormatError, VoxarrayError
from voxarray.nifti_header.fields import HEADER_BYTES

KEY = documents.chunk_key((0,))
"""Of the only chunk, below the array."""

_CODEC = Codec("zstd", 5, "noshuffle")
"""Higher compression levels take 2 to 8 times as long, and save nothing."""


def encoded(header: bytes) -> dict[str, bytes]:
    """Files of the array, by their key below it."""
    size, body = len(header), _CODEC.body(np.frombuffer(header, np.uint8))
    document, plain = _document(size, _CODEC), _document(size, RAW)
    # A header of many fields may be compressed by less than its codec takes in the document.
    if len(document) + len(body) >= len(plain) + size:
        document, body = plain, header
    return {"zarr.json": document, KEY: with_crc(body)}


@lru_cache(maxsize=8)  # the images of a cohort mostly share it
def _document(size: int, codec: Codec) -> bytes:
    dtype = np.dtype(np.uint8)
    array = documents.plain_array((size,), dtype, ("nifti_byte",), {})
    array["codecs"] = codec.to_json(dtype)
    # What Zarr assumes where nothing is said: keys with slashes, and no attributes.
    array["chunk_key_encoding"] = {"name": "default"}
    del array["attributes"]
    return documents.dump(array)


def decoded(chunk: bytes, document: bytes, path: str) -> bytes:
    """The header.

    Args:
        chunk: The only one of the array, of which the digest was compared.
        document: ``zarr.json`` of the array.
        path: Of the array, for messages.

    Raises:
        FormatError: If the chunk does not hold what the document says; code ``BAD_METADATA``.
    """
    try:
        stated = json.loads(document)
        codec = Codec.from_json(stated["codecs"])
        if codec == RAW:
            return chunk[:-CRC_BYTES]
        (size,) = stated["shape"]
        if size not in HEADER_BYTES.values():
            raise ValueError(f"{size} is not the size of a header")
        header = np.empty(size, np.uint8)
        codec.decode_body(chunk[:-CRC_BYTES], header)
    # numcodecs raises RuntimeError for bytes that it cannot decode; the others are of documents
    # that have another structure.
    except (
        AttributeError,
        KeyError,
        OverflowError,
        RecursionError,
        RuntimeError,
        TypeError,
        ValueError,
        VoxarrayError,
    ) as error:
        raise FormatError(
            f"{path} does not hold the NIfTI header that its zarr.json describes ({error!r}): "
            f"restore it, or {MAKE_AGAIN}",
            code="BAD_METADATA",
            path=path,
        ) from error
    return header.tobytes()
