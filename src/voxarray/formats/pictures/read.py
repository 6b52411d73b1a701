"""PNG, JPEG and BMP as one plane (C, W, H, 1), through SimpleITK, as TorchIO reads them.

Rows of the picture run along H, columns along W. PNG and BMP hold no geometry that ITK reads;
JPEG's dots per inch become a spacing. The axes are ITK's default, LPS. What is stated and not used
is remarked.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxarray.core.caller_warnings import warn_caller
from voxarray.core.errors import (
    FormatError,
    TruncatedError,
    UnsupportedError,
    VoxarrayError,
    VoxarrayWarning,
)
from voxarray.formats._voxels.decoded_file import DecodedFile
from voxarray.formats._voxels.file_array import COMPONENTS, VOLUMES, FileArray, StoredVoxels
from voxarray.formats._voxels.header_text import checked_sizes, checked_spacing
from voxarray.formats._voxels.picture_checks import (
    require_whole_bmp,
    require_whole_jpeg,
    require_whole_png,
)
from voxarray.formats._voxels.stream_decoders import DEFLATE_RATIO
from voxarray.formats.pictures.print_size import remarks
from voxarray.formats.suffixes import suffix_of
from voxarray.geometry.lps import ras_from_itk
from voxarray.storage.file_identity import FileIdentity

_PNG, _JPEG, _BMP = "PNGImageIO", "JPEGImageIO", "BMPImageIO"

_READERS = {".png": _PNG, ".jpg": _JPEG, ".jpeg": _JPEG, ".bmp": _BMP}

_CHECKS = {_PNG: require_whole_png, _JPEG: require_whole_jpeg, _BMP: require_whole_bmp}


@dataclass(frozen=True, slots=True)
class PictureDecoder:
    """SimpleITK, told which of its readers to use: it would otherwise go by names of files.

    Attributes:
        reader: Name of ITK's class.
    """

    reader: str

    def check(self, stored: StoredVoxels, available: int) -> None:
        stored.require_decoded(available, DEFLATE_RATIO)

    def working_bytes(self, stored: StoredVoxels) -> int:
        return stored.nbytes + (32 << 20)  # ITK's own image, and the library when it is loaded

    def decode(self, fd: int, stored: StoredVoxels, path: str) -> NDArray:
        import SimpleITK

        _CHECKS[self.reader](fd)
        try:
            voxels = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(path, imageIO=self.reader))
        except RuntimeError as error:
            raise TruncatedError(
                f"ITK cannot decode the picture: {_reason(error)}; copy or download it again"
            ) from None
        return np.asarray(voxels).reshape(stored.disk_shape)


def open_picture(path: str | os.PathLike[str]) -> FileArray:
    """A PNG, JPEG or BMP picture; only its header is read.

    Raises:
        MissingFileError: There is no such file.
        FormatError: ``BAD_HEADER``, ``DIMS_EXCEED_FILE``, ``NOT_PNG``, ``NOT_JPEG``,
            ``NOT_BMP``.
        TruncatedError: The file ends before the picture does.
        UnsupportedError: ``UNSUPPORTED_DTYPE``, ``UNSUPPORTED_DIMS``.
    """
    identity = FileIdentity.of(path)
    decoder = PictureDecoder(_READERS[suffix_of(identity.path)])
    with identity.named_in_errors():
        facts, messages = _header(identity, decoder.reader)
        stored = _stored(facts)
        spacing = checked_spacing(facts.GetSpacing())
        affine = ras_from_itk(spacing, facts.GetOrigin(), facts.GetDirection())
    for remark in messages:
        warn_caller(f"{remark} [{identity.path}]", VoxarrayWarning)
    return DecodedFile(identity=identity, stored=stored, affine=affine, decoder=decoder)


def _header(identity: FileIdentity, name: str) -> tuple[Any, list[str]]:
    """ITK's reader of the header, and remarks."""
    import SimpleITK

    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(identity.path)
    reader.SetImageIO(name)
    fd = identity.open()
    try:
        _CHECKS[name](fd)
        reader.ReadImageInformation()
        messages = remarks(fd, suffix_of(identity.path))
        identity.check(fd)
    except VoxarrayError:
        raise
    except RuntimeError as error:
        if "PixelType" in str(error):
            raise UnsupportedError(
                f"ITK has no such pixels: {_reason(error)}; convert the picture to PNG first",
                code="UNSUPPORTED_DTYPE",
            ) from None
        raise FormatError(
            f"ITK cannot read this file: {_reason(error)}; check its suffix, or copy it again",
            code="BAD_HEADER",
        ) from None
    finally:
        os.close(fd)
    return reader, messages


def _stored(facts: Any) -> StoredVoxels:
    import SimpleITK

    size = checked_sizes(facts.GetSize(), 3)
    dtypes = {
        SimpleITK.sitkUInt8: np.uint8,
        SimpleITK.sitkVectorUInt8: np.uint8,
        SimpleITK.sitkUInt16: np.uint16,
        SimpleITK.sitkVectorUInt16: np.uint16,
    }
    if facts.GetPixelIDValue() not in dtypes:
        kind = SimpleITK.GetPixelIDValueAsString(facts.GetPixelIDValue())
        raise UnsupportedError(
            f"pixels of the type {kind} cannot be read: save grey or RGB of 8 or 16 bits",
            code="UNSUPPORTED_DTYPE",
        )
    if len(size) != 2:
        raise UnsupportedError(
            f"the picture has sizes {size}: expected two", code="UNSUPPORTED_DIMS"
        )
    count = facts.GetNumberOfComponents()
    axes = COMPONENTS if count > 1 else VOLUMES
    return StoredVoxels((count, *size, 1), np.dtype(dtypes[facts.GetPixelIDValue()]), axes)


def _reason(error: Exception) -> str:
    """The last line that ITK says, without addresses and places in its code."""
    return str(error).strip().splitlines()[-1].split(": ")[-1]
