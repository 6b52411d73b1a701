"""Saving as MetaImage: raw little-endian voxels behind the header (``.mha``) or beside it.

Uncompressed on purpose: any box of the file can then be read by offset.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from voxarray.formats._voxels.capabilities import plane_affine, supported_dtype
from voxarray.formats._voxels.header_text import detached_name
from voxarray.formats._voxels.write_voxels import write_components
from voxarray.formats.metaimage.header import SEVERAL_FILES, TIME_STEP
from voxarray.formats.record import SaveRequest
from voxarray.formats.suffixes import suffix_of
from voxarray.geometry.lps import itk_from_ras
from voxarray.source.base import Source
from voxarray.storage.atomic_write import atomic_writes

_TYPES = {
    "i1": "MET_CHAR",
    "u1": "MET_UCHAR",
    "i2": "MET_SHORT",
    "u2": "MET_USHORT",
    "i4": "MET_INT",
    "u4": "MET_UINT",
    "i8": "MET_LONG_LONG",
    "u8": "MET_ULONG_LONG",
    "f4": "MET_FLOAT",
    "f8": "MET_DOUBLE",
}


def write_meta_image(source: Source, path: str, *, squeeze: bool, overwrite: bool = True) -> None:
    """Save an image; it appears, or replaces another, when it is complete.

    The affine is held, shear included; spacing and directions are rounded as floating-point
    numbers are.

    Args:
        source: What to save.
        path: Ends in ``.mha``, or ``.mhd``, whose voxels go into a ``.raw`` beside it.
        squeeze: Whether a single slice is written as two dimensions.
        overwrite: Whether what is there is replaced.

    Raises:
        UnsupportedError: ``UNSUPPORTED_DTYPE``, ``CANNOT_SQUEEZE``, ``BAD_NAME``.
        ArchiveError: The disk is full or fails.
    """
    dtype = supported_dtype(source, _TYPES, "MetaImage")
    header = _header(source, dtype, is_plane=squeeze and source.shape[3] == 1)
    stored = dtype.newbyteorder("<")
    if suffix_of(path) == ".mha":
        with atomic_writes(path, overwrite=overwrite) as (partial,), open(partial, "xb") as file:
            file.write(f"{header}ElementDataFile = LOCAL\n".encode("ascii"))
            write_components(source, file, stored)
        return
    raw = path[: -len(".mhd")] + ".raw"
    name = detached_name(raw, SEVERAL_FILES)
    with atomic_writes(raw, path, overwrite=overwrite) as (voxels, text):
        with open(voxels, "xb") as file:
            write_components(source, file, stored)
        with open(text, "x", encoding="utf-8") as lines:
            lines.write(f"{header}ElementDataFile = {name}\n")


def _header(source: Source, dtype: np.dtype, *, is_plane: bool) -> str:
    count, *sizes = source.shape
    dimensions = 2 if is_plane else 3
    spacing, origin, direction = itk_from_ras(source.affine)
    cosines = np.reshape(direction, (3, 3))[:dimensions, :dimensions]
    if is_plane:
        plane_affine(source)  # refuses what two dimensions cannot say
    lines = [
        "ObjectType = Image",
        f"NDims = {dimensions}",
        "BinaryData = True",
        "BinaryDataByteOrderMSB = False",
        "CompressedData = False",
        f"TransformMatrix = {_numbers(cosines.T.ravel())}",
        f"Offset = {_numbers(origin[:dimensions])}",
        f"ElementSpacing = {_numbers(spacing[:dimensions])}",
        f"DimSize = {' '.join(map(str, sizes[:dimensions]))}",
        f"ElementNumberOfChannels = {count}",
        f"ElementType = {_TYPES[dtype.str[1:]]}",
    ]
    if source.channels.kind == "time":
        lines.append(f"{TIME_STEP} = {source.channels.step!r}")
    return "\n".join(lines) + "\n"


def _numbers(values: Iterable[float]) -> str:
    return " ".join(repr(float(value)) for value in values)


def save(request: SaveRequest) -> None:
    """Save a MetaImage as it is asked for."""
    write_meta_image(
        request.source, request.path, squeeze=bool(request.squeeze), overwrite=request.overwrite
    )
