"""Numbers on their way from voxels of one grid to those of another."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from voxarray.core.errors import UnsupportedError
from voxarray.ops.kernels import Kernel, Linear

NUDGE = 1 + 1e-12
"""So that a whole number that noise has made a little smaller is not cut off to the one below."""

_BLOCK = 1 << 15
"""Numbers that are cut off at a time: few enough to stay in the processor's cache."""


def working_dtype(dtype: np.dtype, kernel: Kernel) -> np.dtype:
    """Type in which voxels are weighed: float64, but for single-precision ones on straight lines.

    Integers need it: results are cut off to whole numbers, and float32 would often miss those.
    """
    is_single = dtype.kind == "f" and dtype.itemsize <= 4
    return np.dtype(np.float32 if is_single and isinstance(kernel, Linear) else np.float64)


def for_scipy(values: NDArray) -> NDArray:
    """Values in a type that SciPy's and ITK's filters know: of half precision, in single.

    Raises:
        UnsupportedError: For floating-point numbers of more than 64 bits (``UNSUPPORTED_DTYPE``).
    """
    if values.dtype == np.float16:
        return values.astype(np.float32)
    if values.dtype.kind == "f" and values.dtype.itemsize > 8:
        raise UnsupportedError(
            f"voxels of type {values.dtype} are not interpolated or averaged: convert them to "
            "float64 first",
            code="UNSUPPORTED_DTYPE",
        )
    return values


def spline_coefficients(values: NDArray, axis: int) -> NDArray[np.float64]:
    """Weights of the cubic B-splines through the values along an axis, mirrored at its ends."""
    from scipy.ndimage import spline_filter1d

    if values.shape[axis] == 1:
        return values.astype(np.float64)
    coefficients: NDArray[np.float64] = spline_filter1d(
        for_scipy(values), 3, axis=axis, output=np.float64, mode="mirror"
    )
    return coefficients


def limits(dtype: np.dtype) -> tuple[float, float]:
    """The smallest and the largest float64 that an integer type holds."""
    info = np.iinfo(dtype)
    return float(info.min), float(np.nextafter(float(info.max) + 1, 0))


def as_stored(values: NDArray, dtype: np.dtype, *, is_within: bool = False) -> NDArray:
    """Values as voxels of a type: integers are cut off towards zero, as ITK does, and clipped.

    Args:
        values: Floating-point numbers, or voxels of the type already.
        dtype: The result's.
        is_within: Whether all values are known to be numbers within the limits of the type.
    """
    if values.dtype == dtype or dtype.kind not in "iu" or values.dtype.kind not in "f":
        return values.astype(dtype, copy=False)
    if not np.shares_memory(values.ravel(order="K"), values):  # gaps, or lines in reverse
        values = np.ascontiguousarray(values)
    stored = np.empty_like(values, dtype)  # in the order of memory of the values
    source, target = values.ravel(order="K"), stored.ravel(order="K")
    lowest, highest = limits(dtype)
    for start in range(0, source.size, _BLOCK):
        block = source[start : start + _BLOCK]
        # Double precision: the largest 32-bit integer is no number of single precision.
        with np.errstate(over="ignore"):  # infinity is clipped like any other number
            numbers = np.multiply(block, NUDGE, dtype=np.float64)
        if is_within:
            target[start : start + _BLOCK] = numbers
            continue
        np.clip(numbers, lowest, highest, out=numbers)
        if np.isnan(numbers).any():
            np.nan_to_num(numbers, copy=False, nan=0.0)
        target[start : start + _BLOCK] = numbers
    return stored
