"""The affine from plain coordinates, as somebody without the index would compute it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxarray.core.caller_warnings import warn_caller
from voxarray.core.errors import GridError, VoxarrayWarning
from voxarray.geometry.grid import SAME_GRID_TOLERANCE, checked_affine
from voxarray.geometry.units import length_in_mm, millimetres, unit_of

WORLD_NAME = "spatial_ref"
WORLD_KEY = "intrinsic_to_world"

AXIS_KEY = "voxel_axis"
"""Attribute of x, y and z that names them again: xarray renames coordinates, and no attribute."""

PLACED_BY_ROOT = {"positions": "../../zarr.json"}
"""Attribute of the voxels of a coarse level in an archive, which has no coordinates of its own.

It names the document that says where they are, so that nobody takes them for voxels of 1 mm.
"""

_DIMS = ("x", "y", "z")


def world_attrs(world: NDArray[np.float64]) -> dict[str, Any]:
    """Attributes of ``spatial_ref``: W as 16 numbers, row by row, the frame and the unit.

    Attributes of netCDF files have one dimension at most.
    """
    return {WORLD_KEY: world.ravel().tolist(), "world": "RAS+", "unit": "millimeter"}


def world_of(attrs: Mapping[Any, Any]) -> NDArray[np.float64]:
    """W (4, 4) of the attributes of ``spatial_ref``, as 16 numbers or as four rows of four.

    Raises:
        GridError: If they hold something else, or W leads elsewhere than to RAS+ mm
            (``UNKNOWN_FRAME``).
    """
    unit, frame = attrs.get("unit", "mm"), attrs.get("world", "RAS+")
    if length_in_mm(unit) != 1 or frame != "RAS+":
        raise GridError(
            f"the affine in the coordinate {WORLD_NAME!r} maps to {frame!r} in {unit!r}: give its "
            f"attribute {WORLD_KEY!r} an affine that maps to 'RAS+' in 'mm'",
            code="UNKNOWN_FRAME",
        )
    values = np.asarray(attrs[WORLD_KEY], object)
    return checked_affine(values.reshape(4, 4).tolist() if values.size == 16 else values.tolist())


def plain_world(coords: Mapping[Any, Any]) -> NDArray[np.float64]:
    """W (4, 4) that ``spatial_ref`` carries.

    What other programs write has none. Where x, y and z say in which unit they are, they are taken
    for R, A and S, as when such a file is opened by its path, with a `VoxarrayWarning`. Coordinates
    of ours that have lost it carry ``step``, and are refused.

    Raises:
        GridError: ``NO_SPATIAL_REF`` if it is missing; ``NO_COORDINATES`` if x, y and z are, too;
            ``FIXED_NAMES`` if x, y or z had another name; as `world_of`.
    """
    for dim in _DIMS:
        if dim in coords:
            _require_own_name(coords[dim].attrs, dim)
    attrs = coords[WORLD_NAME].attrs if WORLD_NAME in coords else {}
    if WORLD_KEY in attrs:
        return world_of(attrs)
    axes = [coords[dim].attrs for dim in _DIMS if dim in coords]
    if len(axes) == 3 and all("units" in axis and "step" not in axis for axis in axes):
        warn_caller(
            f"there is no coordinate {WORLD_NAME!r}, so x, y and z are taken for R, A and S",
            VoxarrayWarning,
        )
        return np.eye(4)
    if not axes:
        raise _without_coordinate(_DIMS[0])
    raise GridError(
        f"there is no coordinate {WORLD_NAME!r} with an attribute {WORLD_KEY!r}, so nothing "
        "says where the voxel axes point; give an affine: vx.ScalarImage.from_xarray(array, "
        "affine=affine), or voxarray.xarray_index.attach.attach(data, affine) for an array",
        code="NO_SPATIAL_REF",
    )


def _require_own_name(attrs: Mapping[Any, Any], dim: str) -> None:
    """Refuse a renamed coordinate: its positions run along another direction of W.

    Where the index owns x, y and z, it refuses to rename them.
    """
    original = attrs.get(AXIS_KEY, dim)
    if original != dim:
        raise GridError(
            f"coordinate {dim!r} was {str(original)!r} before it was renamed: x, y and z carry the "
            "affine, and under other names their positions would be wrong. Rename it back; for "
            "another order of the axes, transpose the array, or use image.to_orientation(...)",
            code="FIXED_NAMES",
        )


def require_positions(coords: Mapping[Any, Any]) -> None:
    """Refuse x, y and z that only count voxels: as millimetres they would be another place.

    Those of an image state their unit, and positions that somebody computes are of floating point.

    Raises:
        GridError: ``INDEX_COORDINATES``.
    """
    axes = [coords[dim] for dim in _DIMS if dim in coords and coords[dim].ndim]
    if len(axes) == 3 and all(
        axis.dtype.kind in "iu"
        and "units" not in axis.attrs
        and np.array_equal(axis.values, np.arange(axis.size))
        for axis in axes
    ):
        raise GridError(
            "x, y and z are the whole numbers 0, 1, 2, ... without a unit. They look like indices "
            "of voxels, but positions in mm are expected. Keep the original coordinates; or, if "
            "the numbers are positions in mm, assign them as floating-point numbers",
            code="INDEX_COORDINATES",
        )


def plain_axis(
    coords: Mapping[Any, Any], dim: str, *, path: str | None = None
) -> tuple[float, float, int | None]:
    """First position, signed step (both in mm) and size of an evenly spaced coordinate.

    The size is None for a scalar, which an integer index has left. Positions without a unit are
    millimetres.

    A single position has only the attribute ``step`` to say how thick its voxel is. xarray keeps
    attributes whatever it does: `voxarray.xarray_index.new_positions` corrects that of ``coarsen``
    and ``interp``.

    Args:
        coords: Variables or DataArrays by name.
        dim: ``"x"``, ``"y"`` or ``"z"``.
        path: Of the store that they are read from, whose coordinates should state their unit.

    Warns:
        VoxarrayWarning: The unit is unknown, or missing in a store.

    Raises:
        GridError: ``NO_COORDINATES``, ``NOT_UNIFORM``, ``FIXED_NAMES`` if it had another name, or
            ``UNKNOWN_SPACING`` where a single position has no attribute ``step``.
    """
    if dim not in coords:
        raise _without_coordinate(dim)
    variable = coords[dim]
    _require_own_name(variable.attrs, dim)
    if variable.ndim and tuple(variable.dims) != (dim,):
        raise GridError(
            f"coordinate {dim!r} runs along {tuple(variable.dims)}, not along {dim!r}: these "
            f"voxels are no longer a grid; keep one position for each voxel along {dim!r}",
            code="NOT_UNIFORM",
        )
    values = np.atleast_1d(np.asarray(variable.values, float))
    size = len(values) if variable.ndim else None
    if len(values) == 0 or not np.isfinite(values).all():
        raise GridError(
            f"coordinate {dim!r} is {'empty' if len(values) == 0 else 'not finite'}, so nothing "
            "says where the voxels are (padding leaves NaN: pad images, not arrays)",
            code="NOT_UNIFORM",
        )
    unit, factor = unit_of(variable.attrs), 1.0
    if path is not None or unit is not None:
        factor = millimetres(unit, dim, path)
    step = _step(values, variable.attrs.get("step"), dim)
    return float(values[0]) * factor, step * factor, size


def _without_coordinate(dim: str) -> GridError:
    return GridError(
        f"there is no coordinate {dim!r}: it was reduced, dropped or never there, so there is "
        "no affine: keep x, y and z, or give the affine again with "
        "voxarray.xarray_index.attach.attach(data, affine). If it is a coarse level of an archive, "
        "take vx.ScalarImage(archive).level(n), or open it with xr.open_dataset(archive, "
        "engine='voxarray', level=n)",
        code="NO_COORDINATES",
    )


def _step(values: NDArray[np.float64], stated: Any, dim: str) -> float:
    """Signed step of finite positions; ``stated`` is what the attribute says of it."""
    if len(values) == 1:
        if not stated:
            raise GridError(
                f"coordinate {dim!r} has one position and no attribute 'step' (mm), so nothing "
                "says how thick the voxel is: set the attribute",
                code="UNKNOWN_SPACING",
            )
        return float(stated)
    last = len(values) - 1
    step = float((values[-1] - values[0]) / last)
    even = values[0] + step * np.arange(len(values))
    if not step or np.abs(values - even).max() > SAME_GRID_TOLERANCE * abs(step):
        raise GridError(
            f"coordinate {dim!r} is not evenly spaced: these voxels are no longer a grid; keep "
            "evenly spaced positions, or resample the image (steps from "
            f"{np.diff(values).min():g} to {np.diff(values).max():g} mm)",
            code="NOT_UNIFORM",
        )
    # The attribute is exact and the difference has rounding. But slices of detached arrays leave
    # the attribute as it was.
    agrees = stated is not None and abs(stated - step) * last <= 1e-6 * abs(step)
    return float(stated) if agrees else step
