"""MINC images (``.mnc``): version 1 is netCDF, version 2 HDF5; the first bytes tell which."""

from __future__ import annotations

import os

from voxarray.core import portable
from voxarray.core.errors import FormatError
from voxarray.formats.minc.minc1 import open_minc1
from voxarray.formats.minc.minc2 import open_minc2
from voxarray.source.base import Source
from voxarray.storage.file_identity import FileIdentity


def open_minc(path: str | os.PathLike[str]) -> Source:
    """A MINC image; only the header is read.

    Raises:
        MissingFileError: There is no such file.
        FormatError: ``NOT_MINC``, ``BAD_HEADER``, ``BAD_DIMS``, ``BAD_AFFINE``, ``BAD_SCALE``.
        TruncatedError: The file is shorter than its header says.
        UnsupportedError: Valid, but not an image of one (C, W, H, D) array.
        MissingPackageError: A MINC 2 file, and h5py is not installed.
    """
    identity = FileIdentity.of(path)
    with identity.named_in_errors():
        fd = identity.open()
        try:
            magic = portable.pread(fd, 4, 0)
        finally:
            os.close(fd)
        if magic[:3] == b"CDF":
            return open_minc1(identity)
        if magic == b"\x89HDF":
            return open_minc2(identity)
        raise FormatError(
            f"a MINC file starts with CDF or HDF, but this one with {magic!r}: it has another "
            "format or is damaged; check its suffix, or copy it again",
            code="NOT_MINC",
        )
