"""What a format can hold; everything else is refused, or remarked, before a byte is written."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from voxarray.core.caller_warnings import warn_caller
from voxarray.core.errors import UnsupportedError, VoxarrayWarning
from voxarray.geometry.grid import Grid
from voxarray.geometry.lps import lps_from_ras
from voxarray.source.base import Source

_AXIS_TOLERANCE = 1e-9  # relative to the spacing: rounding of a product of matrices


def supported_dtype(source: Source, names: Iterable[str], kind: str) -> np.dtype:
    """The type in which a format keeps the voxels of a source, in native byte order.

    Args:
        source: What is to be written; bool counts as uint8.
        names: NumPy types that the format has, such as ``"i2"``.
        kind: Name of the format.

    Raises:
        UnsupportedError: It has no such type (``UNSUPPORTED_DTYPE``).
    """
    supported = [np.dtype(name) for name in names]
    dtype = np.dtype(np.uint8) if source.dtype == np.bool_ else source.dtype
    if dtype not in supported:
        raise UnsupportedError(
            f"{kind} cannot hold {dtype.name} voxels, only {', '.join(d.name for d in supported)}: "
            "convert them first, for instance to float32",
            code="UNSUPPORTED_DTYPE",
        )
    return dtype


def require_one_channel(source: Source, kind: str) -> None:
    """Refuse several channels.

    Raises:
        UnsupportedError: ``UNSUPPORTED_DIMS``.
    """
    if source.shape[0] > 1:
        raise UnsupportedError(
            f"{kind} holds one channel, but the image has {source.shape[0]}: save each channel as "
            "a file of its own",
            code="UNSUPPORTED_DIMS",
        )


def require_lps_axes(affine: NDArray[np.float64], kind: str) -> None:
    """Refuse voxel axes that are not the world's own in LPS, in this order.

    Raises:
        UnsupportedError: ``AFFINE_NOT_HELD``.
    """
    if _has_lps_axes(affine):
        return
    grid = Grid((1, 1, 1), affine)
    if _has_lps_axes(grid.reorient("LPS").affine):
        axes = f"point {''.join(grid.orientation)}"
        advice = ', or reorient it first: vx.ToOrientation("LPS")(image)'
    else:
        axes, advice = "are oblique to these", ", which store directions"
    raise UnsupportedError(
        f"{kind} stores no directions: its axes always point left, posterior and superior (LPS), "
        f"but those of the image {axes}. Save the image as .nrrd or .nii instead{advice}",
        code="AFFINE_NOT_HELD",
    )


def _has_lps_axes(affine: NDArray[np.float64]) -> bool:
    columns = lps_from_ras(affine)[:3, :3]
    spacing = np.diag(columns)
    stray = np.abs(columns - np.diag(spacing)).max()
    return bool((spacing > 0).all() and stray <= _AXIS_TOLERANCE * spacing.max())


def require_held(before: Source, after: Source, kind: str) -> None:
    """Compare what was to be written with what a reader of the file finds.

    Raises:
        UnsupportedError: Shape or affine differ (``SHAPE_NOT_HELD``, ``AFFINE_NOT_HELD``).
    """
    if before.shape != after.shape:
        raise UnsupportedError(
            f"{kind} cannot store the shape {before.shape}: a reader would get {after.shape}; "
            "save the image as .nrrd or .nii instead",
            code="SHAPE_NOT_HELD",
        )
    if not before.grid.isclose(after.grid):
        raise UnsupportedError(
            f"{kind} cannot hold the affine:\n{before.affine}\nwould become\n{after.affine}.\n"
            "Save the image as .nrrd or .nii instead",
            code="AFFINE_NOT_HELD",
        )


def remark_lost_time(source: Source, kind: str) -> None:
    """Warn where C is time and the format will not say so."""
    if source.channels.kind == "time":
        warn(
            f"TIME_LOST: {kind} cannot store that the C axis is time, in steps of "
            f"{source.channels.step:g} s; the time points will be read as channels. Save as "
            ".nii.gz or .ome.zarr to keep the time axis")  # fmt: skip


def remark_lost_geometry(source: Source, stored_affine: NDArray[np.float64], kind: str) -> None:
    """Warn where the affine that a format stores (4, 4; LPS) is not that of the image."""
    if not np.allclose(lps_from_ras(source.affine), stored_affine, rtol=1e-6, atol=1e-6):
        warn(
            f"GEOMETRY_LOST: {kind} cannot store where the image is in the patient. Save as "
            ".nii.gz or .ome.zarr to keep its place"
        )


def warn(text: str) -> None:
    """A `VoxarrayWarning` that points at whoever saves."""
    warn_caller(text, VoxarrayWarning)


def plane_affine(source: Source) -> NDArray[np.float64]:
    """(3, 3) of a slice that lies in the world's x-y plane at z = 0 and is 1 mm thick, LPS.

    Only such a slice can leave out its third axis and come back where it was.

    Raises:
        UnsupportedError: It lies elsewhere (``CANNOT_SQUEEZE``).
    """
    lps = lps_from_ras(source.affine)
    if not np.allclose(lps[2], (0, 0, 1, 0)) or not np.allclose(lps[:2, 2], 0):
        raise UnsupportedError(
            "squeeze leaves out the third axis. Without it, a slice keeps its place in the patient "
            "only if it is in the x-y plane, at z = 0 and 1 mm thick. Your slice is not: save it "
            "without squeeze",
            code="CANNOT_SQUEEZE",
        )
    return lps[np.ix_([0, 1, 3], [0, 1, 3])]
