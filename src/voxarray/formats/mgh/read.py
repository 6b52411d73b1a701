"""FreeSurfer's MGH, plain (``.mgh``) and compressed (``.mgz``, ``.mgh.gz``).

Format: https://surfer.nmr.mgh.harvard.edu/fswiki/FsTutorial/MghFormat. All numbers are
big-endian; the voxels start at byte 284 and a footer, which is not needed, follows them.
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
from voxarray.formats._voxels.header_text import checked_sizes
from voxarray.formats._voxels.nibabel_errors import nibabel_errors
from voxarray.formats._voxels.stream_decoders import StreamDecoder
from voxarray.geometry.selection import Shape4
from voxarray.storage.file_identity import FileIdentity

_FIELDS = struct.Struct(">i4ii")  # version, width, height, depth, frames, type

_OFFSET = 284

_VERSION = 1

_LARGEST_FOOTER = 1 << 20  # scan parameters, and tags such as the history of commands

DTYPES = {0: ">u1", 1: ">i4", 3: ">f4", 4: ">i2", 10: ">u2"}


def open_mgh(path: str | os.PathLike[str]) -> FileArray:
    """An MGH image; only the header is read, frames become C.

    Whether the file is compressed is seen from its first bytes, not from its name.

    Raises:
        MissingFileError: There is no such file.
        FormatError: ``NOT_MGH``, ``BAD_DIMS``, ``BAD_AFFINE``, ``BAD_HEADER``,
            ``DIMS_EXCEED_FILE``.
        TruncatedError: The file is shorter than its header says.
        UnsupportedError: ``UNSUPPORTED_DTYPE``.
    """
    identity = FileIdentity.of(path)
    with identity.named_in_errors():
        start, decoder = _start(identity)
        stored = _stored(start)
        affine = _affine(start)
    if decoder is not None:
        return CompressedFile(identity=identity, stored=stored, affine=affine, decoder=decoder)
    return PlainFile(identity=identity, stored=stored, affine=affine)


def _start(identity: FileIdentity) -> tuple[bytes, StreamDecoder | None]:
    start, decoder = compression.beginning(identity, _OFFSET, _LARGEST_FOOTER)
    if len(start) < _OFFSET:
        raise TruncatedError(
            f"an MGH header has {_OFFSET} bytes, but this file has {len(start)}: copy or download "
            "it again"
        )
    return start, decoder


def _stored(start: bytes) -> StoredVoxels:
    version, w, h, d, frames, code = _FIELDS.unpack_from(start)
    if version != _VERSION:
        raise FormatError(
            f"an MGH file starts with the number {_VERSION}, but this one with {version}: it has "
            "another format or is damaged; check its suffix, or copy it again",
            code="NOT_MGH",
        )
    checked_sizes((w, h, d, frames), 4)
    if code not in DTYPES:
        raise UnsupportedError(
            f"voxels of MGH type {code} cannot be read: known are {sorted(DTYPES)}; convert the "
            "file to one of them",
            code="UNSUPPORTED_DTYPE",
        )
    return StoredVoxels((frames, w, h, d), np.dtype(DTYPES[code]), offset=_OFFSET)


def _affine(start: bytes) -> NDArray[np.float64]:
    with nibabel_errors("MGH"):
        from nibabel.freesurfer.mghformat import MGHHeader

        # Voxels may be compressed, and the footer follows them: an empty one serves as well.
        blank = MGHHeader().binaryblock
        header = MGHHeader(start[: len(blank)] + blank[len(start) :], check=False)
        affine: NDArray[np.float64] = header.get_affine()
    return affine


def header_for(shape: Shape4, code: int, affine: NDArray[np.float64]) -> bytes:
    """The 284 bytes before the voxels of an MGH file.

    Args:
        shape: (C, W, H, D); C counts frames.
        code: Type, a key of `DTYPES`.
        affine: (4, 4) voxel index to RAS+ mm; rounded to float32.
    """
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    cosines = affine[:3, :3] / spacing
    # The format holds the world position of index n / 2 along each axis, not of the middle.
    centre = affine[:3, :3] @ (np.array(shape[1:]) / 2) + affine[:3, 3]
    geometry = struct.pack(">h15f", 1, *spacing, *cosines.T.ravel(), *centre)
    fields = _FIELDS.pack(_VERSION, *shape[1:], shape[0], code) + bytes(4)  # no degrees of freedom
    return (fields + geometry).ljust(_OFFSET, b"\0")
