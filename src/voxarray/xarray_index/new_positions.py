"""``coarsen`` and ``interp`` of xarray, which make new positions and leave the index behind.

Without it, nothing stops two images whose axes point elsewhere from being added; and the attribute
``step``, from which a single position tells how thick its voxel is, stays that of the old voxels.
xarray asks no index there, so `install` puts wrappers around the two methods, which act where the
coordinates are ours and otherwise call what was there.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from voxarray.core.errors import GridError
from voxarray.geometry.coordinates import WORLD_KEY, WORLD_NAME, world_attrs
from voxarray.geometry.grid import SAME_GRID_TOLERANCE
from voxarray.geometry.lattice import DIMS
from voxarray.xarray_index.affine_index import index_of, released, with_index

_MARK = "__voxarray_positions__"


def install() -> None:
    """Put wrappers around ``coarsen`` and ``interp`` of xarray; once."""
    if hasattr(xr.Dataset.interp, _MARK):
        return
    for kind in (xr.DataArray, xr.Dataset):
        _wrap(kind, "coarsen", _Windows)
    # That of a DataArray calls it.
    _wrap(xr.Dataset, "interp", _interpolated)


def _wrap(kind: Any, name: str, after: Callable[[Any, Any], Any]) -> None:
    original = getattr(kind, name)

    @functools.wraps(original)
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        result = original(self, *args, **kwargs)
        return after(self, result) if _is_ours(self) else result

    setattr(method, _MARK, True)
    setattr(kind, name, method)


def _is_ours(obj: Any) -> bool:
    is_said = WORLD_NAME in obj.coords and WORLD_KEY in obj.coords[WORLD_NAME].attrs
    return is_said or index_of(obj) is not None


class _Windows:
    """What ``coarsen`` returns, with results whose coordinates have the index again."""

    def __init__(self, obj: Any, windows: Any) -> None:
        self._obj, self._windows = obj, windows

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._windows, name)
        if name.startswith("_") or name == "construct" or not callable(attribute):
            return attribute

        @functools.wraps(attribute)
        def reduced(*args: Any, **kwargs: Any) -> Any:
            return self._coarse(attribute(*args, **kwargs))

        return reduced

    def __repr__(self) -> str:
        return repr(self._windows)

    def _coarse(self, result: Any) -> Any:
        sizes: Mapping[Any, int] = self._windows.windows
        steps, moved = {}, {}
        for dim in DIMS:
            if dim in sizes and dim in self._obj.coords:
                steps[dim] = _step(self._obj.coords[dim]) * sizes[dim]
                if self._has_padded(dim):
                    moved[dim] = self._of_whole_windows(result.coords[dim], steps[dim])
        return _placed(self._obj, result.assign_coords(moved), steps)

    def _has_padded(self, dim: str) -> bool:
        """Whether a window at one end holds fewer voxels than the others."""
        size, window = self._obj.sizes[dim], self._windows.windows[dim]
        boundary = self._windows.boundary
        mode = boundary[dim] if isinstance(boundary, Mapping) else boundary
        return bool(mode == "pad" and size > window and size % window)

    def _of_whole_windows(self, coordinate: Any, step: float) -> Any:
        """Positions as if the padded window were whole, for all voxels are of one size."""
        side = self._windows.side
        is_left = (side[coordinate.name] if isinstance(side, Mapping) else side) == "left"
        indices = np.arange(coordinate.size)
        anchor = 0 if is_left else coordinate.size - 1
        return coordinate.copy(data=float(coordinate[anchor]) + step * (indices - anchor))


def _interpolated(obj: Any, result: Any) -> Any:
    steps = {}
    for dim in DIMS:
        is_axis = dim in result.coords and result.coords[dim].dims == (dim,)
        if is_axis and result.sizes[dim] > 1:
            steps[dim] = _step(result.coords[dim])
    return _placed(obj, result, steps)


def _placed(obj: Any, result: Any, steps: Mapping[str, float]) -> Any:
    """A result that knows the steps of its positions; with the index, if ``obj`` has it.

    Without it where the positions are no grid, such as a list with gaps.
    """
    if not all(_is_even(result.coords[dim].values, step) for dim, step in steps.items()):
        return result
    # xarray may have left our index on other axes, and refuses new coordinates for some of them.
    result = released(result).assign_coords(
        {
            dim: result.coords[dim].variable._replace(
                attrs={**result.coords[dim].attrs, "step": step}
            )
            for dim, step in steps.items()
        }
    )
    index = index_of(obj)
    if index is None:
        return result
    world = index.placement.lattice.world
    try:
        placed = with_index(result, world)
    except GridError:
        return result
    return placed.assign_coords({WORLD_NAME: xr.Variable((), 0, world_attrs(world))})


def _step(coordinate: Any) -> float:
    """Mean step of positions; of a single one, what its attribute says, or 0 if it has none."""
    positions = coordinate.values
    if len(positions) == 1:
        return float(coordinate.attrs.get("step", 0))
    return float((positions[-1] - positions[0]) / (len(positions) - 1))


def _is_even(positions: NDArray[np.float64], step: float) -> bool:
    gaps = np.diff(positions)
    return bool(step and np.all(np.abs(gaps - step) <= SAME_GRID_TOLERANCE * abs(step)))
