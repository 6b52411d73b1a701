"""The affine from plain coordinates, as somebody without the index would compute it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxarray.core.errors import GridError
from voxarray.geometry.grid import SAME_GRID_TOLERANCE, checked_affine

WORLD_NAME = "spatial_ref"
WORLD_KEY = "intrinsic_to_world"


def world_attrs(world: NDArray[np.float64]) -> dict[str, Any]:
    """Attributes of ``spatial_ref``: W (4, 4), the frame and the unit."""
    return {WORLD_KEY: world.tolist(), "world": "RAS+", "unit": "millimeter"}


def plain_world(coords: Mapping[Any, Any]) -> NDArray[np.float64]:
    """W (4, 4) that ``spatial_ref`` carries.

    Raises:
        GridError: ``NO_SPATIAL_REF`` if it is missing.
    """
    attrs = coords[WORLD_NAME].attrs if WORLD_NAME in coords else {}
    if WORLD_KEY not in attrs:
        raise GridError(
            f"there is no coordinate {WORLD_NAME!r} with an attribute {WORLD_KEY!r}, so nothing "
            "says where the voxel axes point; voxarray.xarray_index.attach(data, affine) makes one",
            code="NO_SPATIAL_REF",
        )
    return checked_affine(attrs[WORLD_KEY])


def plain_axis(coords: Mapping[Any, Any], dim: str) -> tuple[float, float, int | None]:
    """First position, signed step (mm) and size of an evenly spaced coordinate.

    The size is None for a scalar, which an integer index has left.

    A single position has only the attribute ``step`` to say how thick its voxel is. xarray keeps
    attributes when it coarsens, so an axis coarsened to *one* voxel tells its old thickness.

    Args:
        coords: Variables or DataArrays by name.
        dim: ``"x"``, ``"y"`` or ``"z"``.

    Raises:
        GridError: ``NO_COORDINATES``, ``NOT_UNIFORM``, or ``UNKNOWN_SPACING`` where a single
            position has no attribute ``step``.
    """
    if dim not in coords:
        raise GridError(
            f"there is no coordinate {dim!r}: it was reduced, dropped or never there, so there "
            "is no affine",
            code="NO_COORDINATES",
        )
    variable = coords[dim]
    if variable.ndim and tuple(variable.dims) != (dim,):
        raise GridError(
            f"coordinate {dim!r} runs along {tuple(variable.dims)}, not along {dim!r}: these "
            "voxels are no grid any more",
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
    return float(values[0]), _step(values, variable.attrs.get("step"), dim), size


def _step(values: NDArray[np.float64], stated: Any, dim: str) -> float:
    """Signed step of finite positions; ``stated`` is what the attribute says of it."""
    if len(values) == 1:
        if not stated:
            raise GridError(
                f"coordinate {dim!r} has one position and no attribute 'step' (mm), so nothing "
                "says how thick the voxel is",
                code="UNKNOWN_SPACING",
            )
        return float(stated)
    last = len(values) - 1
    step = float((values[-1] - values[0]) / last)
    even = values[0] + step * np.arange(len(values))
    if not step or np.abs(values - even).max() > SAME_GRID_TOLERANCE * abs(step):
        raise GridError(
            f"coordinate {dim!r} is not evenly spaced: these voxels are no grid any more "
            f"(steps from {np.diff(values).min():g} to {np.diff(values).max():g} mm)",
            code="NOT_UNIFORM",
        )
    # The attribute is exact and the difference has rounding; but coarsening leaves a stale one.
    agrees = stated is not None and abs(stated - step) * last <= 1e-6 * abs(step)
    return float(stated) if agrees else step
