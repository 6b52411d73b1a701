"""``interp_like`` of xarray, which leaves out every coordinate whose index has others, too.

It asks no index, so it would return an array with our coordinates as it is, without a word
(pydata/xarray, `Dataset.interp_like`: "pick only dimension coordinates with a single index"). There
is no other place to say so than the method itself: `install` puts a wrapper around it, which acts
where an `AffineIndex` is involved and otherwise calls what was there.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from voxarray.core.errors import GridError
from voxarray.geometry.coordinates import WORLD_KEY, WORLD_NAME, plain_world
from voxarray.geometry.grid import SAME_GRID_TOLERANCE
from voxarray.geometry.lattice import DIMS
from voxarray.xarray_index.affine_index import has_index, index_of, with_index, without_index

_MARK = "__voxarray__"

Interpolation = Callable[..., xr.Dataset]


def install() -> None:
    """Put the wrapper around `xr.Dataset.interp_like`, which that of a DataArray calls; once."""
    if not hasattr(xr.Dataset.interp_like, _MARK):
        wrapper: Any = _with_geometry(xr.Dataset.interp_like)
        xr.Dataset.interp_like = wrapper  # type: ignore[method-assign]


def _with_geometry(original: Interpolation) -> Interpolation:
    @functools.wraps(original)
    def interp_like(
        self: xr.Dataset, other: xr.Dataset | xr.DataArray, *args: Any, **kwargs: Any
    ) -> xr.Dataset:
        if not (has_index(self) or has_index(other)):
            return original(self, other, *args, **kwargs)
        world = _shared_world(self, other)
        plain: Any = other
        result = original(without_index(self), without_index(plain), *args, **kwargs)
        if world is None:
            return result
        try:
            return with_index(result, world)
        except GridError:  # positions that are no grid, such as a list with gaps
            return result

    setattr(interp_like, _MARK, True)
    return interp_like


def _shared_world(obj: xr.Dataset, other: xr.Dataset | xr.DataArray) -> NDArray[np.float64] | None:
    """Directions along which x, y and z of both are measured; None where one does not say.

    Raises:
        GridError: If they point elsewhere (``GRID_MISMATCH``): equal numbers would be other places.
    """
    world, other_world = _world(obj), _world(other)
    if world is None or other_world is None:
        return world
    positions = [np.atleast_1d(other.coords[d].values) for d in DIMS if d in other.coords]
    farthest = max((float(np.abs(p).max()) for p in positions if p.size), default=0.0)
    steps = [abs(float(p[1] - p[0])) for p in positions if p.size > 1]
    if np.abs(world - other_world).max() * farthest > SAME_GRID_TOLERANCE * min(steps, default=1.0):
        raise GridError(
            "x, y and z are measured along the voxel axes, and the voxel axes of the two images "
            "point in different directions, so interp_like would compare different positions in "
            "the patient: resample the image instead, vx.Resample(target)(image)",
            code="GRID_MISMATCH",
        )
    return world


def _world(obj: xr.Dataset | xr.DataArray) -> NDArray[np.float64] | None:
    index = index_of(obj)
    if index is not None:
        return index.placement.lattice.world
    is_said = WORLD_NAME in obj.coords and WORLD_KEY in obj.coords[WORLD_NAME].attrs
    return plain_world(obj.coords) if is_said else None
