"""Saving as NRRD: raw little-endian voxels behind the header (``.nrrd``) or beside it (``.nhdr``).

Uncompressed on purpose: any box of the file can then be read by offset.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from voxarray.core.errors import UnsupportedError
from voxarray.formats._voxels.capabilities import plane_affine, supported_dtype
from voxarray.formats._voxels.header_text import detached_name
from voxarray.formats._voxels.write_voxels import write_components
from voxarray.formats.nrrd.header import NUMBERED_FILES, TIME_STEP
from voxarray.formats.record import SaveRequest
from voxarray.formats.suffixes import suffix_of
from voxarray.geometry.lps import lps_from_ras
from voxarray.source.base import Source
from voxarray.storage.atomic_write import atomic_writes

_TYPES = {
    "i1": "int8",
    "u1": "uint8",
    "i2": "int16",
    "u2": "uint16",
    "i4": "int32",
    "u4": "uint32",
    "i8": "int64",
    "u8": "uint64",
    "f4": "float",
    "f8": "double",
    "c8": "float",
    "c16": "double",
}


def write_nrrd(source: Source, path: str, *, squeeze: bool, overwrite: bool = True) -> None:
    """Save an image; it appears, or replaces another, when it is complete.

    Components of a voxel stand together, as ITK wants them. The affine is held exactly, shear
    included.

    Args:
        source: What to save.
        path: Ends in ``.nrrd``, or ``.nhdr``, whose voxels go into a ``.raw`` beside it.
        squeeze: Whether a single slice is written as two dimensions.
        overwrite: Whether what is there is replaced.

    Raises:
        UnsupportedError: ``UNSUPPORTED_DTYPE``, ``UNSUPPORTED_DIMS`` for complex channels,
            ``CANNOT_SQUEEZE``, ``BAD_NAME``.
        ArchiveError: The disk is full or fails.
    """
    dtype = supported_dtype(source, _TYPES, "NRRD")
    if dtype.kind == "c" and source.shape[0] > 1:
        raise UnsupportedError(
            "other programs could not read an NRRD of several channels of complex voxels: save "
            "each channel as a file of its own",
            code="UNSUPPORTED_DIMS",
        )
    header = _header(source, dtype, is_plane=squeeze and source.shape[3] == 1)
    stored = dtype.newbyteorder("<")
    if suffix_of(path) == ".nrrd":
        with atomic_writes(path, overwrite=overwrite) as (partial,), open(partial, "xb") as file:
            file.write(header.encode("ascii") + b"\n")
            write_components(source, file, stored)
        return
    raw = path[: -len(".nhdr")] + ".raw"
    name = detached_name(raw, NUMBERED_FILES)
    with atomic_writes(raw, path, overwrite=overwrite) as (voxels, text):
        with open(voxels, "xb") as file:
            write_components(source, file, stored)
        with open(text, "x", encoding="utf-8") as lines:
            lines.write(f"{header}data file: {name}\n")


def _header(source: Source, dtype: np.dtype, *, is_plane: bool) -> str:
    count, *sizes = source.shape
    dimensions = 2 if is_plane else 3
    kinds, sizes = ["domain"] * dimensions, sizes[:dimensions]
    affine = plane_affine(source) if is_plane else lps_from_ras(source.affine)
    directions = [_vector(column) for column in affine[:-1, :-1].T]
    if count > 1 or dtype.kind == "c":
        kinds.insert(0, "complex" if dtype.kind == "c" else "vector")
        sizes.insert(0, 2 if dtype.kind == "c" else count)
        directions.insert(0, "none")
    # A space with a name has three dimensions; that of a plane can only be counted.
    space = "space dimension: 2" if is_plane else "space: left-posterior-superior"
    lines = [
        "NRRD0004",  # the first version with space directions
        f"type: {_TYPES[dtype.str[1:]]}",
        f"dimension: {len(sizes)}",
        space,
        f"sizes: {' '.join(map(str, sizes))}",
        f"space directions: {' '.join(directions)}",
        f"kinds: {' '.join(kinds)}",
        "endian: little",
        "encoding: raw",
        f"space origin: {_vector(affine[:-1, -1])}",
    ]
    if not is_plane:
        lines.append('space units: "mm" "mm" "mm"')
    if source.channels.kind == "time":
        lines.append(f"{TIME_STEP}:={source.channels.step!r}")
    return "\n".join(lines) + "\n"


def _vector(numbers: Iterable[float]) -> str:
    return "(" + ",".join(repr(float(number)) for number in numbers) + ")"


def save(request: SaveRequest) -> None:
    """Save an NRRD file as it is asked for."""
    write_nrrd(
        request.source, request.path, squeeze=bool(request.squeeze), overwrite=request.overwrite
    )
