"""NRRD, with its header in the same file (``.nrrd``) or detached from the voxels (``.nhdr``)."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from voxarray.core.errors import FormatError, UnsupportedError
from voxarray.formats._voxels.compressed_file import CompressedFile
from voxarray.formats._voxels.decoded_file import DecodedFile, Decoder
from voxarray.formats._voxels.decoders import Hexadecimal, Text
from voxarray.formats._voxels.file_array import FileArray, PlainFile, StoredVoxels
from voxarray.formats._voxels.header_text import beginning, described, detached
from voxarray.formats._voxels.stream_decoders import Bzipped, Deflated, StreamDecoder
from voxarray.formats.nrrd.axes import NrrdAxes
from voxarray.formats.nrrd.header import NrrdHeader
from voxarray.storage.file_identity import FileIdentity

# ``data file: slice%03d.raw 1 128 1``, a file for each slice, is told from a name and refused.
_PATTERN = re.compile(r".*%\d*d.*\s[+-]?\d+\s+[+-]?\d+\s+[+-]?\d+(\s+\d+)?")

_COMPRESSED: dict[str, Callable[[int], StreamDecoder]] = {"gzip": Deflated, "bzip2": Bzipped}
_WRITTEN: dict[str, Callable[[int], Decoder]] = {"text": Text, "hex": Hexadecimal}


def open_nrrd(path: str | os.PathLike[str]) -> FileArray:
    """An NRRD image; only the header is read.

    Raw voxels are read by offset; compressed ones as a stream, textual ones as one block. What is
    odd about the header but does not keep the image from being read is a `VoxarrayWarning`.

    Raises:
        MissingFileError: There is no such file, or no file of voxels.
        FormatError: The header is wrong: ``NOT_NRRD``, ``BAD_HEADER``, ``BAD_DIMS``,
            ``BAD_SPACING``, ``BAD_AFFINE``, ``BAD_OFFSET``, ``DIMS_EXCEED_FILE``,
            ``OUTSIDE_ROOT``.
        TruncatedError: The file is shorter than its header says.
        UnsupportedError: Valid, but no image of one (C, W, H, D) array in one file.
    """
    return described(path, _open)


def _open(identity: FileIdentity) -> tuple[FileArray, list[str]]:
    header = NrrdHeader.parse(beginning(identity))
    axes = NrrdAxes.of(header)
    data = _data_file(identity, header)
    start = _start(data or identity, header, 0 if data else header.end)
    skip = header.whole_number("byteskip", 0)
    dtype = _complex(header.dtype) if axes.is_complex else header.dtype
    placed: dict[str, Any] = {
        "identity": data or identity,
        "header": identity if data else None,
        "affine": axes.affine,
        "channels": axes.channels,
    }
    if header.encoding == "raw":
        stored = StoredVoxels(axes.shape, dtype, axes.order)
        # A byte skip of -1 says that the voxels are the last bytes, however long the header is.
        offset = start + skip if skip >= 0 else (data or identity).size - stored.nbytes
        return PlainFile(stored=_at(stored, offset), **placed), axes.remarks()
    if skip < 0:
        raise FormatError(
            "byte skip is -1, which is for raw voxels only, and these have another encoding: "
            "repair the header",
            code="BAD_HEADER",
        )
    # NRRD skips lines before decompressing, and bytes after it.
    stored = StoredVoxels(axes.shape, dtype, axes.order, skip)
    if header.encoding in _COMPRESSED:
        stream = _COMPRESSED[header.encoding](start)
        return CompressedFile(stored=stored, decoder=stream, **placed), axes.remarks()
    decoder = _WRITTEN[header.encoding](start)
    return DecodedFile(stored=stored, decoder=decoder, **placed), axes.remarks()


def _at(stored: StoredVoxels, offset: int) -> StoredVoxels:
    return StoredVoxels(stored.shape, stored.dtype, stored.axes, offset)


def _data_file(identity: FileIdentity, header: NrrdHeader) -> FileIdentity | None:
    name = header.fields.get("datafile")
    if name is None:
        return None
    return detached(identity, name, is_pattern=_PATTERN.fullmatch(name) is not None)


def _start(data: FileIdentity, header: NrrdHeader, position: int) -> int:
    """Where voxels begin after the lines that are to be skipped."""
    lines = header.whole_number("lineskip", 0)
    if lines < 0:
        raise FormatError(
            f"line skip is {lines}: expected 0 or more; repair the header", code="BAD_HEADER"
        )
    if lines == 0:
        return position
    ends = [m.end() for m in re.finditer(rb"\n", beginning(data)[position:])]
    if len(ends) < lines:
        raise FormatError(
            f"line skip is {lines} and the file has {len(ends)} lines: it was cut short, or the "
            "header is wrong; copy it again, or repair the header",
            code="BAD_OFFSET",
        )
    return position + ends[lines - 1]


def _complex(dtype: np.dtype) -> np.dtype:
    if dtype.kind != "f":
        raise UnsupportedError(
            f"complex voxels made of {dtype.name} cannot be read: convert them to float",
            code="UNSUPPORTED_DTYPE",
        )
    return np.dtype(f"c{2 * dtype.itemsize}").newbyteorder(dtype.byteorder)
