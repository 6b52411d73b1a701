"""Number, mean and spread of values that come in parts, merged without loss."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_STEP = 1 << 16
"""Values widened to float64 at once: half a MiB, which stays in the processor's cache."""


@dataclass(frozen=True, slots=True)
class Moments:
    """What is known of a set of finite values; two such sets merge into one.

    Attributes:
        count: Number of values.
        mean: Their mean; NaN of none.
        squares: Sum of the squares of their distances from the mean.
        minimum: The smallest; NaN of none.
        maximum: The largest; NaN of none.
    """

    count: int = 0
    mean: float = math.nan
    squares: float = 0.0
    minimum: float = math.nan
    maximum: float = math.nan

    @classmethod
    def of(cls, values: NDArray) -> Moments:
        """Moments of finite real values (n,), computed in float64 whatever their type."""
        moments = cls()
        for start in range(0, values.size, _STEP):
            moments = moments.merged(cls._of_some(values[start : start + _STEP].astype(np.float64)))
        return moments

    @classmethod
    def of_counted(cls, values: NDArray[np.float64], counts: NDArray[np.int64]) -> Moments:
        """Moments of distinct ascending values that occur so many times each."""
        total = int(counts.sum())
        if total == 0:
            return cls()
        # Distances from a value in their midst are small, so that little is lost in their sums.
        centre = float(values[np.searchsorted(np.cumsum(counts), total // 2, side="right")])
        mean = centre + float(np.sum((values - centre) * counts)) / total
        squares = float(np.sum((values - mean) ** 2 * counts))
        return cls(total, mean, squares, float(values[0]), float(values[-1]))

    @property
    def largest(self) -> float:
        """Largest magnitude; NaN of none."""
        return max(abs(self.minimum), abs(self.maximum))

    def merged(self, other: Moments) -> Moments:
        """Moments of both sets together: Chan, Golub and LeVeque (1979), as Welford's rule."""
        if not self.count or not other.count:
            return self if self.count else other
        count = self.count + other.count
        apart, share = other.mean - self.mean, other.count / count
        mean = self.mean + apart * share
        if math.isinf(apart):
            mean = self.mean * (1 - share) + other.mean * share
        return Moments(
            count,
            mean,
            # No power: beyond the largest number, those of Python raise errors.
            self.squares + other.squares + apart * apart * (self.count * share),
            min(self.minimum, other.minimum),
            max(self.maximum, other.maximum),
        )

    def on_line(self, slope: float, intercept: float) -> Moments:
        """Moments of the same values, multiplied by a positive slope, plus an intercept."""
        mean, low, high = (
            value * slope + intercept for value in (self.mean, self.minimum, self.maximum)
        )
        return Moments(self.count, mean, self.squares * slope * slope, low, high)

    def variance(self, ddof: int = 0) -> float:
        """Mean square of the distances from the mean; NaN where there are too few values.

        Args:
            ddof: What is taken from the number of values before it divides.
        """
        return self.squares / (self.count - ddof) if self.count > ddof else math.nan

    @classmethod
    def _of_some(cls, wide: NDArray[np.float64]) -> Moments:
        low, high = float(wide.min()), float(wide.max())
        with np.errstate(over="ignore", invalid="ignore"):
            mean = float(wide.mean())
            if not math.isfinite(mean):  # the sum was beyond the largest number; the mean is not
                mean = float((wide / wide.size).sum())
            wide -= mean
            # No product of vectors: BLAS would wake its threads for each, which wait by spinning.
            squares = float(np.multiply(wide, wide, out=wide).sum())
        return cls(wide.size, mean, squares, low, high)
