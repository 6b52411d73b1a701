"""Which values a NumPy type holds exactly, so that labels are compared and stored without rounding.

NumPy compares a uint64 with a list of int64 as float64, in which 2**53 and 2**53 + 1 are equal.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray


def holds(dtype: np.dtype, value: Any) -> bool:
    """Whether a type holds a number exactly."""
    value = value.item() if isinstance(value, np.generic) else value
    if dtype.kind == "b":
        return bool(value in (0, 1))
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return bool(limits.min <= value <= limits.max) and int(value) == value
    with np.errstate(over="ignore"):
        try:
            return bool(dtype.type(value).item() == value)
        except OverflowError:  # a whole number that is larger than any float
            return False


def held_by(dtype: np.dtype, values: Iterable[Any]) -> NDArray:
    """Those of some numbers that a type holds, in that type; no voxel can have the others."""
    return np.array([value for value in values if holds(dtype, value)], dtype)


def type_for_labels(dtype: np.dtype, labels: Iterable[Any]) -> np.dtype | None:
    """The type of voxels, or a larger one of its kind that also holds some labels; None if none.

    Fractions are rounded to floats, as always; whole numbers are not. Of a uint64 image to which
    labels below 0 come it is int64, which not all of its voxels may fit into.
    """
    needed = list(labels)
    if dtype.kind in "biu":
        larger = _integers_for(dtype, [int(label) for label in needed])
    else:
        larger = [dtype, *(np.dtype(name) for name in ("f4", "f8") if dtype.kind == "f")]
    for candidate in larger:
        if candidate.itemsize >= dtype.itemsize and all(
            _keeps(candidate, label) for label in needed
        ):
            return candidate
    return None


def _integers_for(dtype: np.dtype, labels: list[int]) -> list[np.dtype]:
    larger = dtype
    for label in labels:
        larger = np.promote_types(larger, np.min_scalar_type(label))
    original = [] if dtype.kind == "b" else [dtype]
    return (
        [*original, larger, np.dtype(np.int64)]
        if larger.kind in "biu"
        else [*original, np.dtype("i8")]
    )


def _keeps(dtype: np.dtype, label: Any) -> bool:
    if dtype.kind in "biu" or not math.isfinite(label) or float(label).is_integer():
        return holds(dtype, label) or not math.isfinite(label)
    with np.errstate(over="ignore"):
        return bool(np.isfinite(dtype.type(label)))
