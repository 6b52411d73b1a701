"""A number that voxels are set to, and whether their type can hold it."""

from __future__ import annotations

import math

import numpy as np

from voxarray.core.errors import UnsupportedError


def require_fill(value: float, dtype: np.dtype, *, cut: bool = False) -> None:
    """Refuse a number that voxels of a type cannot have, and that would become another one.

    Args:
        value: The number.
        dtype: Type of the voxels.
        cut: Whether whole numbers may lose a fraction, as where TorchIO pads.

    Raises:
        UnsupportedError: ``OUT_OF_TYPE``.
    """
    if _fits(math.trunc(value) if cut and math.isfinite(value) else value, dtype):
        return
    limits = ""
    if dtype.kind in "biu":
        low, high = _limits(dtype)
        limits = f", which hold whole numbers from {low} to {high}"
    raise UnsupportedError(
        f"{value} does not fit {dtype} voxels{limits}: take another value, convert the "
        "image first, for example with vx.To('float32'), or leave this image out with exclude=",
        code="OUT_OF_TYPE",
    )


def nearest_fill(value: float, dtype: np.dtype) -> int:
    """A finite number without its fraction, within what whole numbers of a type can be.

    In float64, the largest int64 is one more than int64 holds, and would become the smallest.
    """
    low, high = _limits(dtype)
    return min(max(int(value), low), high)


def _fits(value: float, dtype: np.dtype) -> bool:
    if dtype.kind in "biu":
        low, high = _limits(dtype)
        return math.isfinite(value) and int(value) == value and low <= value <= high
    return not math.isfinite(value) or abs(float(value)) <= float(np.finfo(dtype).max)


def _limits(dtype: np.dtype) -> tuple[int, int]:
    if dtype.kind == "b":
        return 0, 1
    limits = np.iinfo(dtype)
    return int(limits.min), int(limits.max)
