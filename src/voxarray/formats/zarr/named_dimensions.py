"""Arrays with dimension names, alone or in a group with coordinates that xarray wrote."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxarray.core.errors import FormatError, GridError, UnsupportedError
from voxarray.formats.zarr.axes import AxisOrder, canonical
from voxarray.formats.zarr.cf import Decoding
from voxarray.formats.zarr.node import Node
from voxarray.formats.zarr.voxels import ZarrVoxels
from voxarray.geometry.coordinates import WORLD_KEY, WORLD_NAME, plain_axis, world_of
from voxarray.geometry.grid import checked_affine
from voxarray.geometry.units import seconds, unit_of
from voxarray.storage.store import Store

_MAX_COORDINATES = 1 << 20


@dataclass(frozen=True, slots=True)
class Positions:
    """A coordinate as `plain_axis` reads it.

    Attributes:
        dims: Its axes.
        values: Positions.
        attrs: Attributes.
    """

    dims: tuple[str | None, ...]
    values: NDArray
    attrs: Mapping[str, Any]

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return self.values.ndim


def names_of(array: Node, store: Store) -> tuple[str, ...]:
    """Names of the axes of an array.

    Raises:
        UnsupportedError: It has none (``NO_AXES``).
    """
    names = array.dimension_names
    sizes = array.document.get("shape", ())
    if names is None or any(
        name is None and size != 1 for name, size in zip(names, sizes, strict=False)
    ):
        raise UnsupportedError(
            f"{array.key or 'the array'} of {store.path} does not name its dimensions, so nothing "
            "says which axis is x, y or z: write dimension_names (Zarr 3) or _ARRAY_DIMENSIONS "
            "(Zarr 2), or pass the voxels as tensor=",
            code="NO_AXES",
            path=store.path,
        )
    return tuple(name or "" for name in names)  # one voxel needs no name: it is left out


def affine_beside(
    store: Store, group: Node | None, array: Node, names: Sequence[str], order: AxisOrder
) -> NDArray[np.float64] | None:
    """(4, 4) affine from coordinates of the axes in the group of an array; None without them.

    Coordinates x, y, z are positions along the voxel axes, from the origin of RAS+; ``spatial_ref``
    says where these axes point in the world, and without it they are R, A and S. An axis from which
    xarray selected one voxel by an integer has a coordinate of no dimensions.

    Raises:
        FormatError: The coordinates are not those of a grid; codes as in `plain_axis`. They are
            ours, and ``spatial_ref`` is missing (``NO_SPATIAL_REF``).
    """
    spatial = {canonical(name): name for name in names if canonical(name) in ("x", "y", "z")}
    coordinates = {axis: _coordinate(store, group, name) for axis, name in spatial.items()}
    coordinates |= _selected(store, group, array, spatial)
    present = {axis: values for axis, values in coordinates.items() if values is not None}
    if not present:
        return None
    affine = np.eye(4)
    sizes = dict(zip("xyz", order.shape[1:], strict=True))
    try:
        for axis, positions in present.items():
            column = "xyz".index(axis)
            start, step, size = plain_axis({axis: positions}, axis, path=store.path)
            if size not in (None, sizes[axis]):
                raise GridError(
                    f"coordinate {axis!r} has the length {size}, but its axis has the size "
                    f"{sizes[axis]}: give one value for each voxel"
                )
            affine[column, column], affine[column, 3] = step, start
        if len(present) < len(spatial):
            missing = sorted(set(spatial) - set(present))
            raise GridError(
                f"some axes have coordinates ({sorted(present)}) and others have none "
                f"({missing}): give all of x, y and z, or none"
            )
        return checked_affine(_world(store, group, present.values()) @ affine)
    except GridError as error:
        raise FormatError(error.message, code=error.code, path=store.path) from error


def time_step(store: Store, group: Node | None, names: Sequence[str]) -> float:
    """Seconds between volumes, by a coordinate of the time axis; 0 if unknown."""
    name = next((n for n in names if canonical(n) == "t"), None)
    times = None if name is None else _coordinate(store, group, name)
    if times is None or times.values.dtype.kind not in "iuf" or times.values.size < 2:
        return 0.0
    steps = np.diff(times.values.astype(float))
    even = np.allclose(steps, steps[0], rtol=1e-3) and steps[0] > 0
    return float(steps[0]) * seconds(unit_of(times.attrs)) if even else 0.0


def _selected(
    store: Store, group: Node | None, array: Node, axes: Iterable[str]
) -> dict[str, Positions]:
    """Single positions along the axes that an array has no more.

    The array must name them, as CF and xarray do: another one of the group may have this axis.
    """
    listed = array.attributes.get("coordinates")
    found = {}
    for name in listed.split() if isinstance(listed, str) else ():
        axis = canonical(name)
        if axis in ("x", "y", "z") and axis not in axes:
            position = _coordinate(store, group, name)
            if position is not None and not position.ndim and position.values.dtype.kind in "iuf":
                found[axis] = position
    return found


def _coordinate(store: Store, group: Node | None, name: str) -> Positions | None:
    node = None if group is None else Node.read(store, group.below(name))
    if node is None or not node.is_array:
        return None
    array = ZarrVoxels.of(store, node)
    if len(array.shape) > 1 or (array.shape and array.shape[0] > _MAX_COORDINATES):
        raise FormatError(
            f"{node.key} of {store.path} has the shape {array.shape}; expected one dimension of "
            f"at most {_MAX_COORDINATES} positions: repair the coordinate",
            code="NOT_UNIFORM",
            path=store.path,
        )
    decoding = Decoding.of(node, array.dtype, store.path)
    values = decoding.apply(array.read([range(n) for n in array.shape]))
    return Positions(node.dimension_names or (None,) * values.ndim, values, node.attributes)


def _world(store: Store, group: Node | None, axes: Iterable[Positions]) -> NDArray[np.float64]:
    node = None if group is None else Node.read(store, group.below(WORLD_NAME))
    # Other programs call their map projections spatial_ref, too.
    if node is not None and WORLD_KEY in node.attributes:
        return world_of(node.attributes)
    if all("step" in axis.attrs for axis in axes):  # others may state that of a single plane
        raise GridError(
            f"voxarray wrote these coordinates, but their coordinate {WORLD_NAME!r} was lost, so "
            "nothing says where the voxel axes point: save the image again with this coordinate, "
            "or read the store with xarray, and give vx.ScalarImage.from_xarray(array, "
            "affine=affine)",
            code="NO_SPATIAL_REF",
        )
    return np.eye(4)
