"""Coordinate transformations of OME-Zarr as matrices.

The types are those of OME-Zarr 0.4 and 0.5 (``identity``, ``scale``, ``translation``) and the
linear ones of 0.6 (RFC-5), alone, in a sequence, per axis or as the forward half of a bijection.
Parameters are in the order of the array's axes, and voxel centres are at whole indices.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxarray.core.errors import FormatError, UnsupportedError

Matrix = NDArray[np.float64]

_MAX_DEPTH = 8
_REPAIR = "; repair the metadata of the image"


_SIZING = {"scale", "identity", "rotation", "affine", "mapAxis"}
"""Types that say how far voxels are apart, if only that it is one unit."""


def of_level(transforms: Any, size: int, level: str) -> Matrix:
    """Matrix of the transformations of a level, of which one must give its scale.

    Raises:
        FormatError: None does (``NO_SCALE``): the specification demands it, and 1 would be a
            guess. Or several do (``BAD_METADATA``).
    """
    matrix = composed(transforms, size)
    kinds = [kind for transform in _listed(transforms) for kind in _kinds(transform)]
    if not _SIZING & set(kinds):
        raise FormatError(
            f"level {level!r} has no scale among its coordinateTransformations, so nothing says "
            "how large its voxels are: add one",
            code="NO_SCALE",
        )
    if kinds.count("scale") > 1:
        raise _bad(f"level {level!r} has {kinds.count('scale')} scales: expected one")
    return matrix


def _kinds(transform: Any) -> Iterator[str]:
    """Types of a transformation and of those in it; of those per axis, as if there were one."""
    kind = transform["type"]
    if kind == "sequence":
        for item in _listed(transform.get("transformations")):
            yield from _kinds(item)
    elif kind == "bijection":
        yield from _kinds(transform["forward"])
    elif kind == "byDimension":
        inner = [_one_of(item) for item in _listed(transform.get("transformations"))]
        yield from {kind for item in inner for kind in _kinds(item)}
    else:
        yield kind


def composed(transforms: Any, size: int, depth: int = 0) -> Matrix:
    """Matrix (size + 1, size + 1) of transformations that are applied one after another.

    Raises:
        UnsupportedError: One of them is not linear, or its numbers are not in the JSON
            (``UNSUPPORTED_TRANSFORM``).
        FormatError: Its numbers are not what its type needs (``BAD_METADATA``).
    """
    matrix = np.eye(size + 1)
    for transform in _listed(transforms):
        matrix = _matrix(transform, size, depth) @ matrix
    return matrix


def _listed(transforms: Any) -> Sequence[Any]:
    if transforms is None:
        return ()
    if not isinstance(transforms, list):
        raise _bad(f"coordinateTransformations is not a list but {type(transforms).__name__}")
    return transforms


def _matrix(transform: Any, size: int, depth: int) -> Matrix:
    if not isinstance(transform, Mapping) or depth > _MAX_DEPTH:
        raise _bad(f"{transform!r} is not a coordinate transformation, or is nested too deeply")
    kind = transform.get("type")
    if kind == "identity":
        return np.eye(size + 1)
    if kind == "sequence":
        return composed(transform.get("transformations"), size, depth + 1)
    if kind == "bijection":
        return _matrix(transform.get("forward"), size, depth + 1)
    if kind == "byDimension":
        return _by_dimension(_listed(transform.get("transformations")), size, depth + 1)
    if kind in ("scale", "translation", "rotation", "affine", "mapAxis"):
        if kind not in transform:
            raise UnsupportedError(
                f"the {kind} of this image is not in its JSON but in an array of its own: write it "
                "into the JSON",
                code="UNSUPPORTED_TRANSFORM",
            )
        return _linear(kind, _numbers(transform[kind], kind), size)
    raise UnsupportedError(
        f"a transformation has the type {kind!r}, which voxarray cannot turn into an affine; "
        "voxarray reads identity, scale, translation, rotation, affine, mapAxis, and byDimension, "
        "bijection and sequence of these: resample the image first",
        code="UNSUPPORTED_TRANSFORM",
    )


def _by_dimension(parts: Sequence[Any], size: int, depth: int) -> Matrix:
    """Transformations of some axes each, which together make all of them.

    The specification has each beside its axes; drafts had both in one object.
    """
    matrix = np.zeros((size + 1, size + 1))
    matrix[size, size] = 1
    rows: list[int] = []
    for part in parts:
        inputs, outputs = (_axes(part, key, size) for key in ("inputAxes", "outputAxes"))
        if len(inputs) != len(outputs):
            raise UnsupportedError(
                f"a part of byDimension turns {len(inputs)} axes into {len(outputs)}, and an "
                "affine of an image keeps their number: resample the image first",
                code="UNSUPPORTED_TRANSFORM",
            )
        inner = _matrix(_one_of(part), len(inputs), depth)
        matrix[np.ix_(outputs, [*inputs, size])] = inner[:-1]
        rows.extend(outputs)
    if sorted(rows) != list(range(size)):
        raise _bad(
            f"byDimension makes the axes {rows}: expected each of the axes 0 to {size - 1} once"
        )
    return matrix


def _axes(part: Any, key: str, size: int) -> list[int]:
    axes = part.get(key) if isinstance(part, Mapping) else None
    if not isinstance(axes, list) or not axes or len(set(map(str, axes))) != len(axes):
        raise _bad(
            f"{key} of a part of byDimension is {axes!r}: expected a list of axes, such as [0, 1]"
        )
    if not all(type(axis) is int and 0 <= axis < size for axis in axes):
        raise _bad(f"{key} of a part of byDimension is {axes!r}: expected 0 to {size - 1}")
    return axes


def _one_of(part: Any) -> Any:
    """The transformation of a part of ``byDimension``."""
    return part.get("transformation", part) if isinstance(part, Mapping) else part


def _linear(kind: str, numbers: Matrix, size: int) -> Matrix:
    shapes = {"rotation": (size, size), "affine": (size, size + 1)}
    expected: tuple[int, ...] = shapes.get(kind, (size,))
    if numbers.shape != expected:
        raise _bad(f"a {kind} of {size} axes has {expected} numbers, this one {numbers.shape}")
    matrix = np.eye(size + 1)
    if kind == "scale":
        matrix[:size, :size] = np.diag(numbers)
    elif kind == "translation":
        matrix[:size, size] = numbers
    elif kind == "mapAxis":  # at i stands the input axis that becomes output axis i
        if sorted(numbers) != list(range(size)):
            raise _bad(f"mapAxis {numbers.tolist()} is not an order of {size} axes")
        matrix[:size, :size] = np.eye(size)[numbers.astype(int)]
    else:
        matrix[:size, : expected[-1]] = numbers
    return matrix


def _numbers(value: Any, kind: str) -> Matrix:
    try:
        numbers = np.array(value, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        raise _bad(f"the {kind} {value!r} is not made of numbers") from None
    if not np.isfinite(numbers).all():
        raise _bad(f"the {kind} {value!r} is not finite")
    return numbers


def _bad(message: str) -> FormatError:
    return FormatError(message + _REPAIR, code="BAD_METADATA")
