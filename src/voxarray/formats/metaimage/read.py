"""MetaImage, with voxels in the same file (``.mha``) or in another (``.mhd``)."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

from voxarray.core.errors import FormatError, TruncatedError
from voxarray.formats._voxels.compressed_file import CompressedFile
from voxarray.formats._voxels.decoded_file import DecodedFile
from voxarray.formats._voxels.decoders import Text
from voxarray.formats._voxels.file_array import FileArray, PlainFile, StoredVoxels
from voxarray.formats._voxels.header_text import beginning, described, detached, whole_numbers
from voxarray.formats._voxels.stream_decoders import Deflated
from voxarray.formats.metaimage.header import SEVERAL_FILES, MetaHeader
from voxarray.storage.file_identity import FileIdentity


def open_meta_image(path: str | os.PathLike[str]) -> FileArray:
    """A MetaImage; only the header is read.

    Raw voxels are read by offset; compressed and textual ones are decoded as one block. What is
    odd about the header but does not keep the image from being read is a `VoxarrayWarning`.

    Raises:
        MissingFileError: There is no such file, or no file of voxels.
        FormatError: The header is wrong: ``NOT_METAIMAGE``, ``BAD_HEADER``, ``BAD_DIMS``,
            ``BAD_SPACING``, ``BAD_AFFINE``, ``BAD_OFFSET``, ``DIMS_EXCEED_FILE``,
            ``OUTSIDE_ROOT``.
        TruncatedError: The file is shorter than its header says.
        UnsupportedError: Valid, but no image of one (C, W, H, D) array in one file.
    """
    return described(path, _open)


def _open(identity: FileIdentity) -> tuple[FileArray, list[str]]:
    header = MetaHeader.parse(beginning(identity))
    header.check()
    data = _data_file(identity, header)
    file = data or identity
    stored = StoredVoxels(header.shape, header.dtype, header.order)
    start = _start(header, stored, data)
    placed: dict[str, Any] = {
        "identity": file,
        "header": identity if data else None,
        "affine": header.affine,
        "channels": header.channels,
    }
    if header.is_binary and not header.is_compressed:
        return PlainFile(stored=replace(stored, offset=start), **placed), header.remarks()
    _check_compressed_size(header, file.size - start)
    if header.is_compressed:
        stream = Deflated(start)
        return CompressedFile(stored=stored, decoder=stream, **placed), header.remarks()
    return DecodedFile(stored=stored, decoder=Text(start), **placed), header.remarks()


def _data_file(identity: FileIdentity, header: MetaHeader) -> FileIdentity | None:
    name = header.fields["ElementDataFile"]
    if name.upper() == "LOCAL":
        return None
    return detached(identity, name, is_pattern=SEVERAL_FILES.search(name) is not None)


def _start(header: MetaHeader, stored: StoredVoxels, data: FileIdentity | None) -> int:
    if data is None:
        if header.skipped > 0:
            raise FormatError(
                f"HeaderSize is {header.skipped}: expected 0, since ElementDataFile is LOCAL; "
                "repair the header",
                code="BAD_OFFSET",
            )
        return header.end
    if header.skipped >= 0:
        return header.skipped
    if header.is_compressed or not header.is_binary:
        raise FormatError(
            "HeaderSize is -1, which is for raw voxels only, and these are compressed or text: "
            "repair the header",
            code="BAD_OFFSET",
        )
    # A file that is too short makes a negative offset; how short it is says more.
    missing = stored.nbytes - data.size
    if missing > 0:
        raise TruncatedError(
            f"the file of voxels lacks {missing} of {stored.nbytes} bytes: copy or download it "
            "again"
        )
    return -missing


def _check_compressed_size(header: MetaHeader, available: int) -> None:
    text = header.fields.get("CompressedDataSize")
    if text is None or not header.is_compressed:
        return
    (size, *_) = whole_numbers(text, "CompressedDataSize")
    if size > available:
        raise TruncatedError(
            f"the header promises {size} compressed bytes, and {max(0, available)} are there: copy "
            "or download the file again"
        )
