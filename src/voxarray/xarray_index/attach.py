"""Affines onto DataArrays, and back from them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from voxarray.core.errors import GridError
from voxarray.geometry.coordinates import (
    WORLD_NAME,
    plain_axis,
    plain_world,
    require_positions,
    world_attrs,
)
from voxarray.geometry.grid import Grid
from voxarray.geometry.lattice import DIMS, Placement
from voxarray.xarray_index.affine_index import (
    AffineIndex,
    XarrayObject,
    coordinates_of,
    index_of,
    with_index,
)

ARRAY_DIMS = ("c", *DIMS)


def attach(
    data: Any,
    affine: Any,
    *,
    name: str | None = None,
    attrs: Mapping[str, Any] | None = None,
) -> xr.DataArray:
    """A DataArray whose coordinates hold the affine.

    Args:
        data: NumPy or dask array (C, W, H, D); neither copied nor computed.
        affine: (4, 4) voxel index to RAS+ mm.
        name: Name of the DataArray.
        attrs: Attributes of the DataArray.

    Raises:
        GridError: If the affine is invalid, or ``BAD_DIMS`` if the data are not 4-D.
    """
    if data.ndim != 4:
        raise GridError(
            f"an image array has shape (C, W, H, D), got {tuple(data.shape)}", code="BAD_DIMS"
        )
    coords = coordinates(affine, data.shape[1:])
    return xr.DataArray(data, coords=coords, dims=ARRAY_DIMS, name=name, attrs=dict(attrs or {}))


def coordinates(affine: Any, shape: tuple[int, int, int]) -> xr.Coordinates:
    """x, y and z with their index, and ``spatial_ref``, of an image of ``shape`` (W, H, D)."""
    index = AffineIndex.from_affine(affine, shape)
    return coordinates_of(index).assign({WORLD_NAME: _spatial_ref(index)})


def affine_of(obj: xr.DataArray | xr.Dataset) -> NDArray[np.float64]:
    """(4, 4) voxel index to RAS+ mm; axes removed by an integer index count as one voxel.

    Raises:
        GridError: If the coordinates are not those of a grid, for example after padding or a
            selection by an irregular mask; the code says why.
    """
    index = index_of(obj)
    return plain_affine(obj) if index is None else index.affine


def plain_affine(obj: xr.DataArray | xr.Dataset) -> NDArray[np.float64]:
    """(4, 4) from the coordinates and ``spatial_ref`` alone, whatever the index says.

    Raises:
        GridError: As `affine_of`.
    """
    return _plain_placement(obj).affine


def grid_of(obj: xr.DataArray | xr.Dataset) -> Grid:
    """Where the voxels are, in the order x, y, z; axes removed by an integer index have one voxel.

    Raises:
        GridError: As `affine_of`; ``BAD_DIMS`` if no voxels are left.
    """
    index = index_of(obj)
    placement = _plain_placement(obj) if index is None else index.placement
    return Grid(placement.shape, placement.affine)


def reattach(obj: XarrayObject) -> XarrayObject:
    """The same object with the index on its coordinates again.

    Files do not store indexes, so arrays that plain xarray opens lack the shared index; and some
    operations (`pad`, `quantile`) lose the index or ``spatial_ref``.

    Raises:
        GridError: If the coordinates are not those of a grid.
    """
    index = index_of(obj)
    if index is None:
        require_positions(obj.coords)
        return with_index(obj, plain_world(obj.coords))
    return obj.assign_coords({WORLD_NAME: _spatial_ref(index)})


def _plain_placement(obj: xr.DataArray | xr.Dataset) -> Placement:
    require_positions(obj.coords)
    axes = [plain_axis(obj.coords, d) for d in DIMS]
    return Placement.of_axes(plain_world(obj.coords), axes)


def _spatial_ref(index: AffineIndex) -> xr.Variable:
    return xr.Variable((), 0, world_attrs(index.placement.lattice.world))
