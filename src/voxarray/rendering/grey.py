"""Intensities as grey levels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def window(values: NDArray, percentiles: tuple[float, float]) -> tuple[float, float]:
    """Intensities that become black and white: percentiles of the finite ones.

    Returns:
        Both the same where all are equal; (0, 1) where none is finite.
    """
    finite = real(values)
    finite = finite[np.isfinite(finite)]
    if finite.size == 0:
        return 0.0, 1.0
    low, high = np.percentile(finite, percentiles)
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
