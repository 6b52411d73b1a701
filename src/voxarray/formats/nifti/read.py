"""Opening NIfTI files: ``.nii``, plain or compressed, one or two, either byte order."""

from __future__ import annotations

import os

from voxarray.core.caller_warnings import warn_caller
from voxarray.core.errors import UnsupportedError, VoxarrayWarning
from voxarray.formats._voxels import compression
from voxarray.formats.nifti.gzip_source import NiftiGzSource
from voxarray.formats.nifti.header_warnings import remarks
from voxarray.formats.nifti.source import NiftiFile, NiftiSource
from voxarray.nifti_header.header import LARGEST_HEADER, NiftiHeader
from voxarray.storage.file_identity import FileIdentity


def open_nifti(path: str | os.PathLike[str]) -> NiftiFile:
    """A NIfTI image in a single file; only the header is read.

    Whether the file is compressed is seen from its first bytes, not from its name. What is odd
    about the header but does not keep the image from being read is a `VoxarrayWarning`.

    Raises:
        MissingFileError: There is no such file.
        FormatError: The header is wrong; codes as in `NiftiHeader.parse` and `check_extent`.
        TruncatedError: The file is shorter than its header says.
        UnsupportedError: It is valid, but not an image of one (C, W, H, D) array.
    """
    identity = FileIdentity.of(path)
    with identity.named_in_errors():
        source = _open(identity)
    for remark in remarks(source.header):
        warn_caller(f"{remark} [{identity.path}]", VoxarrayWarning)
    return source


def _open(identity: FileIdentity) -> NiftiFile:
    start, decoder = compression.beginning(identity, LARGEST_HEADER, trailer=None)
    header = NiftiHeader.parse(start)
    if not header.is_single:
        raise UnsupportedError(
            "this is the header of an image whose voxels are in another file (.hdr and .img): "
            "convert it to a single .nii",
            code="NIFTI_PAIR",
        )
    if decoder is None:
        header.check_extent(identity.size, compressed=False)
        return NiftiSource(identity, header)
    header.check_extent(identity.size, compressed=True, ratio=decoder.ratio)
    return NiftiGzSource(identity, header, decoder=decoder)
