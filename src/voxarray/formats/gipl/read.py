"""GIPL, the Guy's Image Processing Lab format: 256 bytes and the voxels, all big-endian.

It holds spacing and origin but no directions; those are ITK's default, LPS.
"""

from __future__ import annotations

import os
import struct

import numpy as np
from numpy.typing import NDArray

from voxarray.core.errors import FormatError, TruncatedError, UnsupportedError
from voxarray.formats._voxels import compression
from voxarray.formats._voxels.compressed_file import CompressedFile
from voxarray.formats._voxels.file_array import FileArray, PlainFile, StoredVoxels
from voxarray.formats._voxels.header_text import checked_sizes, checked_spacing
from voxarray.formats._voxels.stream_decoders import StreamDecoder
from voxarray.geometry.lps import ras_from_itk
from voxarray.source.base import Channels
from voxarray.storage.file_identity import FileIdentity

HEADER_BYTES = 256
SIZES = struct.Struct(">4HH4f")
"""Sizes, type and spacings, with which the header begins."""
ORIGIN = struct.Struct(">4d")
ORIGIN_AT = 204
MAGIC_AT = 252
MAGIC = 0xEFFFE9B0
_MAGICS = (MAGIC, 0x2AE389B8)

DTYPES = {7: "i1", 8: "u1", 15: "i2", 16: "u2", 31: "u4", 32: "i4", 64: "f4", 65: "f8"}


def open_gipl(path: str | os.PathLike[str]) -> FileArray:
    """A GIPL image, plain or compressed; only the header is read, a fourth dimension becomes C.

    Raises:
        MissingFileError: There is no such file.
        FormatError: ``NOT_GIPL``, ``BAD_DIMS``, ``BAD_SPACING``, ``BAD_AFFINE``,
            ``DIMS_EXCEED_FILE``.
        TruncatedError: The file is shorter than its header says.
        UnsupportedError: ``UNSUPPORTED_DTYPE``.
    """
    identity = FileIdentity.of(path)
    with identity.named_in_errors():
        start, decoder = _start(identity)
        stored, affine = _stored(start), _affine(start)
        if decoder is None:
            _require_no_excess(stored, identity.size)
    channels = Channels("time") if stored.shape[0] > 1 else Channels()
    if decoder is not None:
        return CompressedFile(
            identity=identity, stored=stored, affine=affine, channels=channels, decoder=decoder
        )
    return PlainFile(identity=identity, stored=stored, affine=affine, channels=channels)


def _start(identity: FileIdentity) -> tuple[bytes, StreamDecoder | None]:
    start, decoder = compression.beginning(identity, HEADER_BYTES)
    if len(start) < HEADER_BYTES:
        raise TruncatedError(
            f"a GIPL header has {HEADER_BYTES} bytes, but this file has {len(start)}: copy or "
            "download it again"
        )
    magic = int.from_bytes(start[MAGIC_AT:HEADER_BYTES], "big")
    if magic not in _MAGICS:
        raise FormatError(
            "a GIPL header ends with one of the magic numbers "
            f"{', '.join(f'{number:#x}' for number in sorted(_MAGICS))}, but this one with "
            f"{magic:#x}: it has another format or is damaged; check its suffix, or copy it again",
            code="NOT_GIPL",
        )
    return start, decoder


def _stored(start: bytes) -> StoredVoxels:
    w, h, d, count, code, *_ = SIZES.unpack_from(start)
    checked_sizes((w, h, max(1, d), max(1, count)), 4)
    if code not in DTYPES:
        raise UnsupportedError(
            f"voxels of GIPL type {code} cannot be read: known are {sorted(DTYPES)}; convert the "
            "file to one of them",
            code="UNSUPPORTED_DTYPE",
        )
    shape = (max(1, count), w, h, max(1, d))
    return StoredVoxels(shape, np.dtype(">" + DTYPES[code]), offset=HEADER_BYTES)


def _require_no_excess(stored: StoredVoxels, size: int) -> None:
    """Refuse what ITK makes of an image of several components, whose number it does not write.

    Raises:
        FormatError: ``EXCESS_DATA``.
    """
    if size > stored.offset + stored.nbytes:
        raise FormatError(
            f"the file has {size} bytes, but the header promises {stored.offset + stored.nbytes}. "
            "The file holds something that a GIPL header cannot describe, such as vectors: export "
            "the image as .nrrd",
            code="EXCESS_DATA",
        )


def _affine(start: bytes) -> NDArray[np.float64]:
    spacing = checked_spacing(SIZES.unpack_from(start)[5:8])
    origin = ORIGIN.unpack_from(start, ORIGIN_AT)[:3]
    return ras_from_itk(spacing, origin, np.eye(3).ravel().tolist())
