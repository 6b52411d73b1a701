"""Writing legacy VTK files."""

from __future__ import annotations

from voxarray.formats._voxels.capabilities import (
    remark_lost_time,
    require_lps_axes,
    supported_dtype,
)
from voxarray.formats._voxels.write_voxels import write_components
from voxarray.formats.record import SaveRequest
from voxarray.formats.vtk import read as vtk
from voxarray.geometry.lps import itk_from_ras
from voxarray.source.base import Source
from voxarray.storage.atomic_write import atomic_write


def write_vtk(source: Source, path: str, *, overwrite: bool = True) -> None:
    """Save in VTK's legacy format: structured points, axes along left, posterior, superior.

    Raises:
        UnsupportedError: ``UNSUPPORTED_DTYPE``, ``AFFINE_NOT_HELD``.
        ArchiveError: The disk is full or fails.
    """
    names = {name: text for text, name in reversed(vtk.DTYPES.items()) if "vtktype" not in text}
    dtype = supported_dtype(source, names, "VTK")
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
    with atomic_write(path, overwrite=overwrite) as file:
        file.write(("\n".join(lines) + "\n").encode("ascii"))
        write_components(source, file, dtype.newbyteorder(">"))


def save(request: SaveRequest) -> None:
    """Save a VTK file as it is asked for."""
    write_vtk(request.source, request.path, overwrite=request.overwrite)
