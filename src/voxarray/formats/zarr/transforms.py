"""Coordinate transformations of OME-Zarr as matrices.

The types are those of OME-Zarr 0.4 and 0.5 (``identity``, ``scale``, ``translation``) and the
linear ones of 0.6 (RFC-5). Parameters are in the order of the array's axes, and voxel centres are
at whole indices.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxarray.core.errors import FormatError, UnsupportedError

Matrix = NDArray[np.float64]

_MAX_DEPTH = 8


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
        raise _bad(f"coordinateTransformations is no list but {type(transforms).__name__}")
    return transforms


def _matrix(transform: Any, size: int, depth: int) -> Matrix:
    if not isinstance(transform, Mapping) or depth > _MAX_DEPTH:
        raise _bad(f"{transform!r} is no coordinate transformation, or is nested too deeply")
    kind = transform.get("type")
    if kind == "identity":
        return np.eye(size + 1)
    if kind == "sequence":
        return composed(transform.get("transformations"), size, depth + 1)
    if kind in ("scale", "translation", "rotation", "affine", "mapAxis"):
        if kind not in transform:
            raise UnsupportedError(
                f"the {kind} of this image is not in its JSON but in an array of its own: write it "
                "into the JSON",
                code="UNSUPPORTED_TRANSFORM",
            )
        return _linear(kind, _numbers(transform[kind], kind), size)
    raise UnsupportedError(
        f"coordinates are transformed by {kind!r}, and an affine image knows identity, scale, "
        "translation, rotation, affine, mapAxis and sequences of them: resample it first",
        code="UNSUPPORTED_TRANSFORM",
    )


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
            raise _bad(f"mapAxis {numbers.tolist()} is no order of {size} axes")
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
    return FormatError(message, code="BAD_METADATA")
