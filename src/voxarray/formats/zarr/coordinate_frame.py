"""From coordinates along named axes to the patient's world: units, and where axes point."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxarray.core.errors import FormatError
from voxarray.formats.zarr.axes import canonical
from voxarray.geometry.units import millimetres, unit_of

# RFC-4: the way along which coordinates increase, as a column in RAS+.
_DIRECTIONS = {
    "left-to-right": (1, 0, 0),
    "right-to-left": (-1, 0, 0),
    "posterior-to-anterior": (0, 1, 0),
    "anterior-to-posterior": (0, -1, 0),
    "inferior-to-superior": (0, 0, 1),
    "superior-to-inferior": (0, 0, -1),
}


def world_of(axes: Sequence[Mapping[str, Any]], path: str) -> NDArray[np.float64]:
    """Matrix (4, 4) from coordinates (x, y, z), in the units of the axes, to RAS+ mm.

    Axes without RFC-4 orientation are taken for R, A and S, in the order x, y, z. An axis z that
    is not there is in millimetres and goes where x and y leave it: to S, or along their normal.

    Raises:
        FormatError: Some axes are oriented and others not, two point along the same line, or one
            in no direction of a human's RAS+ (``BAD_ORIENTATION``).
    """
    spatial = {
        name: axis for axis in axes if (name := canonical(axis.get("name"))) in ("x", "y", "z")
    }
    matrix = np.eye(4)
    matrix[:3, :3] = _directions(spatial, path)
    for column, name in enumerate("xyz"):
        if name in spatial:
            matrix[:3, column] *= millimetres(unit_of(spatial[name]), name, path)
    return matrix


def _directions(spatial: Mapping[str, Mapping[str, Any]], path: str) -> NDArray[np.float64]:
    orientations = {
        name: axis["orientation"] for name, axis in spatial.items() if axis.get("orientation")
    }
    if not orientations:
        return np.eye(3)
    if orientations.keys() != spatial.keys():
        raise _ambiguous(f"only the axes {sorted(orientations)} are oriented", path)
    columns = {name: _direction(value, name, path) for name, value in orientations.items()}
    if "z" not in columns:
        columns["z"] = np.cross(columns["x"], columns["y"])
    directions = np.stack([columns[name] for name in "xyz"], axis=1)
    if abs(np.linalg.det(directions)) != 1:
        raise _ambiguous(f"axes point along the same line: {orientations}", path)
    return directions


def _direction(orientation: Any, name: str, path: str) -> NDArray[np.float64]:
    value = orientation.get("value") if isinstance(orientation, Mapping) else orientation
    if not isinstance(value, str) or value not in _DIRECTIONS:
        raise _ambiguous(
            f"axis {name} runs {value!r}, which is not one of {list(_DIRECTIONS)}", path
        )
    return np.array(_DIRECTIONS[value], float)


def _ambiguous(what: str, path: str) -> FormatError:
    return FormatError(
        f"nothing says where the voxels are in a patient, since {what}: repair the axes of {path}",
        code="BAD_ORIENTATION",
        path=path,
    )
