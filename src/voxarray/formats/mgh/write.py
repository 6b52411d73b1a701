"""Saving in formats of a fixed header and big-endian voxels: GIPL, VTK's legacy format, MGH."""

from __future__ import annotations

import numpy as np

from voxarray.formats._voxels.capabilities import (
    remark_lost_time,
    supported_dtype,
)
from voxarray.formats._voxels.write_voxels import sink_of, write_volumes
from voxarray.formats.mgh import read as mgh
from voxarray.formats.record import SaveRequest
from voxarray.formats.suffixes import suffix_of
from voxarray.source.base import Source
from voxarray.storage.atomic_write import atomic_write


def write_mgh(source: Source, path: str, *, overwrite: bool = True) -> None:
    """Save as FreeSurfer's MGH, compressed if the suffix says so.

    The affine is rounded to float32, the format's own limit.

    Raises:
        UnsupportedError: ``UNSUPPORTED_DTYPE``.
        ArchiveError: The disk is full or fails.
    """
    codes = {dtype[1:]: code for code, dtype in mgh.DTYPES.items()}
    dtype = supported_dtype(source, codes, "MGH")
    remark_lost_time(source, "MGH")
    header = mgh.header_for(source.shape, codes[dtype.str[1:]], source.affine)
    compressed = suffix_of(path) != ".mgh"
    with (
        atomic_write(path, overwrite=overwrite) as file,
        sink_of(file, compressed=compressed) as sink,
    ):
        sink.write(header)
        write_volumes(source, sink, np.dtype(mgh.DTYPES[codes[dtype.str[1:]]]))


def save(request: SaveRequest) -> None:
    """Save an MGH file as it is asked for."""
    write_mgh(request.source, request.path, overwrite=request.overwrite)
