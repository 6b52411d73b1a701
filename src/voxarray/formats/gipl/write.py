"""Writing GIPL files."""

from __future__ import annotations

from voxarray.core.errors import UnsupportedError
from voxarray.formats._voxels.capabilities import (
    remark_lost_time,
    require_lps_axes,
    require_one_channel,
    supported_dtype,
)
from voxarray.formats._voxels.write_voxels import sink_of, write_volumes
from voxarray.formats.gipl import read as gipl
from voxarray.formats.record import SaveRequest
from voxarray.formats.suffixes import suffix_of
from voxarray.geometry.lps import itk_from_ras
from voxarray.source.base import Source
from voxarray.storage.atomic_write import atomic_write


def write_gipl(source: Source, path: str, *, overwrite: bool = True) -> None:
    """Save as GIPL: one channel, axes along left, posterior, superior; spacing as float32.

    Raises:
        UnsupportedError: ``UNSUPPORTED_DTYPE``, ``UNSUPPORTED_DIMS``, ``AFFINE_NOT_HELD``.
        ArchiveError: The disk is full or fails.
    """
    codes = {name: code for code, name in gipl.DTYPES.items() if name not in ("i4", "u4")}
    dtype = supported_dtype(source, codes, "GIPL")  # ITK reads no 32-bit integers
    require_one_channel(source, "GIPL")
    remark_lost_time(source, "GIPL")
    require_lps_axes(source.affine, "GIPL")
    if max(source.shape) >= 1 << 16:
        raise UnsupportedError(
            "an axis of GIPL has at most 65535 voxels, and the image has "
            f"{max(source.shape[1:])}: save it as .nrrd or .nii",
            code="UNSUPPORTED_DIMS",
        )
    spacing, origin, _ = itk_from_ras(source.affine)
    header = bytearray(gipl.HEADER_BYTES)
    # The 1 and 1.0 are the fourth axis: a single volume.
    gipl.SIZES.pack_into(header, 0, *source.shape[1:], 1, codes[dtype.str[1:]], *spacing, 1.0)
    gipl.ORIGIN.pack_into(header, gipl.ORIGIN_AT, *origin, 0.0)
    header[gipl.MAGIC_AT :] = gipl.MAGIC.to_bytes(4, "big")
    compressed = suffix_of(path).endswith(".gz")
    with (
        atomic_write(path, overwrite=overwrite) as file,
        sink_of(file, compressed=compressed) as sink,
    ):
        sink.write(bytes(header))
        write_volumes(source, sink, dtype.newbyteorder(">"))


def save(request: SaveRequest) -> None:
    """Save a GIPL file as it is asked for."""
    write_gipl(request.source, request.path, overwrite=request.overwrite)
