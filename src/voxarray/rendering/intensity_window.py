"""Which intensities become black and white, and voxels as grey levels between them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

FULL_RANGE: tuple[float, float] = (0, 100)
"""Percentiles from the least to the greatest intensity: what is drawn unless others are given."""

WITHOUT_OUTLIERS: tuple[float, float] = (0.5, 99.5)
"""Percentiles of pictures that nobody gives any for, such as thumbnails and HTML."""


def intensity_window(
    arrays: Sequence[NDArray], percentiles: tuple[float, float]
) -> tuple[float, float]:
    """Intensities that become black and white: percentiles of the finite ones of all arrays.

    Returns:
        Both the same where all are equal; (0, 1) where none is finite.
    """
    values = np.empty(sum(array.size for array in arrays))
    start = 0
    for array in arrays:
        # Written where they are sorted: joining them first would hold two copies more.
        part = values[start : start + array.size].reshape(array.shape)
        part[...] = np.abs(array) if array.dtype.kind == "c" else array
        start += array.size
    if any(array.dtype.kind not in "biu" for array in arrays):
        finite = np.isfinite(values)
        values = values if finite.all() else values[finite]
    if values.size == 0:
        return 0.0, 1.0
    # The memory is ours: a percentile may sort it, rather than a copy of it.
    low, high = np.percentile(values, percentiles, overwrite_input=True)
    return float(low), float(high)


def to_grey(values: NDArray, low: float, high: float) -> NDArray[np.uint8]:
    """Grey levels, 0 at ``low`` and 255 at ``high``; beyond them clipped, NaN black."""
    extent = max(high - low, float(np.finfo(np.float32).tiny))
    scaled = np.clip((real(values) - low) * (255 / extent), 0, 255)
    grey: NDArray[np.uint8] = np.nan_to_num(scaled, copy=False).astype(np.uint8)
    return grey


def real(values: NDArray) -> NDArray[np.float64]:
    """Values as real numbers: of complex ones the magnitude."""
    return (np.abs(values) if values.dtype.kind == "c" else values).astype(np.float64)
