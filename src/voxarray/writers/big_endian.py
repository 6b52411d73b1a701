"""Saving in formats of a fixed header and big-endian voxels: GIPL, VTK's legacy format, MGH."""

from __future__ import annotations

import numpy as np

from voxarray.errors import UnsupportedError
from voxarray.lps import itk_from_ras
from voxarray.sources import gipl, mgh, vtk
from voxarray.sources.base import Source
from voxarray.sources.registry import suffix_of
from voxarray.writers.held import (
    held_dtype,
    remark_lost_time,
    require_lps_axes,
    require_one_channel,
)
from voxarray.writers.voxels import sink_of, write_components, write_volumes
from voxarray.writers.whole_file import whole_file


def write_gipl(source: Source, path: str) -> None:
    """Save as GIPL: one channel, axes along left, posterior, superior; spacing as float32.

    Raises:
        UnsupportedError: ``UNSUPPORTED_DTYPE``, ``UNSUPPORTED_DIMS``, ``AFFINE_NOT_HELD``.
        ArchiveError: The disk is full or fails.
    """
    codes = {name: code for code, name in gipl.DTYPES.items() if name not in ("i4", "u4")}
    dtype = held_dtype(source, codes, "GIPL")  # ITK reads no 32-bit integers
    require_one_channel(source, "GIPL")
    require_lps_axes(source.affine, "GIPL")
    if max(source.shape) >= 1 << 16:
        raise UnsupportedError("an axis of GIPL has at most 65535 voxels", code="UNSUPPORTED_DIMS")
    spacing, origin, _ = itk_from_ras(source.affine)
    header = bytearray(gipl.HEADER_BYTES)
    gipl.SIZES.pack_into(header, 0, *source.shape[1:], 1, codes[dtype.str[1:]], *spacing, 1.0)
    gipl.ORIGIN.pack_into(header, gipl.ORIGIN_AT, *origin, 0.0)
    header[gipl.MAGIC_AT :] = gipl.MAGIC.to_bytes(4, "big")
    compressed = suffix_of(path).endswith(".gz")
    with whole_file(path, overwrite=True) as file, sink_of(file, compressed=compressed) as sink:
        sink.write(bytes(header))
        write_volumes(source, sink, dtype.newbyteorder(">"))


def write_vtk(source: Source, path: str) -> None:
    """Save in VTK's legacy format: structured points, axes along left, posterior, superior.

    Raises:
        UnsupportedError: ``UNSUPPORTED_DTYPE``, ``AFFINE_NOT_HELD``.
        ArchiveError: The disk is full or fails.
    """
    names = {name: text for text, name in reversed(vtk.DTYPES.items()) if "vtktype" not in text}
    dtype = held_dtype(source, names, "VTK")
    require_lps_axes(source.affine, "VTK")
    remark_lost_time(source, "VTK")
    count, w, h, d = source.shape
    spacing, origin, _ = itk_from_ras(source.affine)
    lines = [
        "# vtk DataFile Version 3.0",
        "voxarray",
        "BINARY",
        "DATASET STRUCTURED_POINTS",
        f"DIMENSIONS {w} {h} {d}",
        "SPACING " + " ".join(map(repr, spacing)),
        "ORIGIN " + " ".join(map(repr, origin)),
        f"POINT_DATA {w * h * d}",
        f"SCALARS scalars {names[dtype.str[1:]]} {count}",
        "LOOKUP_TABLE default",
    ]
    with whole_file(path, overwrite=True) as file:
        file.write(("\n".join(lines) + "\n").encode("ascii"))
        write_components(source, file, dtype.newbyteorder(">"))


def write_mgh(source: Source, path: str) -> None:
    """Save as FreeSurfer's MGH, compressed if the suffix says so.

    The affine is rounded to float32, the format's own limit.

    Raises:
        UnsupportedError: ``UNSUPPORTED_DTYPE``.
        ArchiveError: The disk is full or fails.
    """
    codes = {dtype[1:]: code for code, dtype in mgh.DTYPES.items()}
    dtype = held_dtype(source, codes, "MGH")
    remark_lost_time(source, "MGH")
    header = mgh.header_for(source.shape, codes[dtype.str[1:]], source.affine)
    compressed = suffix_of(path) != ".mgh"
    with whole_file(path, overwrite=True) as file, sink_of(file, compressed=compressed) as sink:
        sink.write(header)
        write_volumes(source, sink, np.dtype(mgh.DTYPES[codes[dtype.str[1:]]]))
