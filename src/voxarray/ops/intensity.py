"""Intensities: clamped, rescaled, normalised, converted; each voxel by itself."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voxarray.core.errors import UnsupportedError
from voxarray.ops.pointwise import Pointwise

SINGLE = np.dtype(np.float32)

_NOTHING = 1e-7
"""Part of a deviation that float32 does not hold."""


def working_dtype(dtype: np.dtype) -> np.dtype:
    """Type in which voxels are subtracted and divided before they become float32.

    It holds every value of ``dtype``. In float32, numbers that differ by less than 1e-7 of their
    magnitude would be equal before a mean is subtracted from them.
    """
    return SINGLE if np.can_cast(dtype, SINGLE) else np.dtype(np.float64)


def working_for(dtype: np.dtype, bounds: tuple[float, float]) -> np.dtype:
    """As `working_dtype`, if that holds these bounds too; float64 otherwise."""
    working = working_dtype(dtype)
    largest = max(map(abs, bounds))
    return working if largest <= float(np.finfo(working).max) else np.dtype(np.float64)


def _huge(dtype: np.dtype) -> float:
    """Below it, a number added to any other of the type is not beyond the type.

    Above it, halves are exact where they matter.
    """
    limits = np.finfo(dtype)
    return float(limits.max) * float(limits.eps) / 4


def require_order(dtype: np.dtype) -> None:
    """Refuse complex voxels, of which none is smaller than another.

    Raises:
        UnsupportedError: ``UNSUPPORTED_DTYPE``.
    """
    if dtype.kind == "c":
        raise UnsupportedError(
            f"voxels of type {dtype} have no order, hence no bounds: take their magnitude or real "
            "part first, for example abs(image.array)",
            code="UNSUPPORTED_DTYPE",
        )


@dataclass(frozen=True, eq=False)
class Floating(Pointwise):
    """A function whose results are float32, as TorchIO's are."""

    @property
    def dtype(self) -> np.dtype:
        return SINGLE


@dataclass(frozen=True, eq=False)
class Clamped(Pointwise):
    """Values below ``low`` become it, and those above ``high`` that.

    Attributes:
        low: Smallest value of the result; None for no bound.
        high: Largest value of the result; None for no bound.
        stored: Type of the result; holds both bounds.
    """

    low: float | None
    high: float | None
    stored: np.dtype

    @property
    def dtype(self) -> np.dtype:
        return self.stored

    @property
    def keeps_intensities(self) -> bool:
        return True

    def function(self, values: NDArray) -> NDArray:
        bounds = (None if n is None else self.stored.type(n) for n in (self.low, self.high))
        clipped: NDArray = np.clip(values.astype(self.stored, copy=False), *bounds)
        return clipped


@dataclass(frozen=True, eq=False)
class Rescaled(Floating):
    """A range of values becomes another, linearly.

    Attributes:
        cut: Bounds to which values are clamped first; None for none.
        before: The range that becomes ``after``.
        after: Its new bounds.
    """

    cut: tuple[float, float] | None
    before: tuple[float, float]
    after: tuple[float, float]

    def line(self, low: float, high: float) -> tuple[float, float] | None:
        if self.cut is not None and (low < self.cut[0] or high > self.cut[1]):
            return None
        slope = (self.after[1] - self.after[0]) / (self.before[1] - self.before[0])
        return slope, self.after[0] - slope * self.before[0]

    def function(self, values: NDArray) -> NDArray:
        working = working_for(values.dtype, self.before)
        result = values.astype(working)
        if self.cut is not None:
            np.clip(result, *map(working.type, self.cut), out=result)
        low, high = map(working.type, self.before)
        if max(abs(low), abs(high)) > _huge(working):  # a difference may be beyond the type
            result *= 0.5
            low, high = low * working.type(0.5), high * working.type(0.5)
        result -= low
        result /= high - low
        first, last = self.after
        is_halved = max(abs(first), abs(last)) > _huge(working)
        if is_halved:
            first, last = first / 2, last / 2
        result *= last - first
        result += first
        if is_halved:
            result *= 2
        return result.astype(SINGLE, copy=False)


@dataclass(frozen=True, eq=False)
class Normalised(Floating):
    """Values less a mean, divided by a deviation.

    Attributes:
        mean: Becomes 0.
        deviation: Becomes 1; positive.
    """

    mean: float
    deviation: float

    def line(self, low: float, high: float) -> tuple[float, float] | None:
        return 1 / self.deviation, -self.mean / self.deviation

    def function(self, values: NDArray) -> NDArray:
        working = working_dtype(values.dtype)
        result = values.astype(working)
        mean = working.type(self.mean)
        result -= mean
        rest = working.type(self.mean - float(mean))
        if abs(rest) > _NOTHING * self.deviation:  # of a mean that is far from 0
            result -= rest
        result /= working.type(self.deviation)
        return result.astype(SINGLE, copy=False)


@dataclass(frozen=True, eq=False)
class Standardised(Floating):
    """Values moved so that some become others, and those between in proportion.

    Attributes:
        landmarks: (n,) ascending values.
        standard: (n,) ascending values that they become; beyond the ends the last slope goes on.
    """

    landmarks: tuple[float, ...]
    standard: tuple[float, ...]

    def function(self, values: NDArray) -> NDArray:
        landmarks, standard = np.array(self.landmarks), np.array(self.standard)
        gaps = np.diff(landmarks)
        gaps[gaps < 1e-5] = np.inf  # landmarks that coincide: what lies there becomes the first
        slopes = np.diff(standard) / gaps
        starts = standard[:-1] - slopes * landmarks[:-1]
        wide = values.astype(working_dtype(values.dtype))
        where = np.digitize(wide, landmarks[1:-1])
        result = slopes[where] * wide + starts[where]
        rounded: NDArray = result.astype(SINGLE)
        return rounded


@dataclass(frozen=True, eq=False)
class Cast(Pointwise):
    """The same values in another type; fractions are cut off where it has none.

    Attributes:
        stored: The type.
    """

    stored: np.dtype

    @property
    def dtype(self) -> np.dtype:
        return self.stored

    @property
    def keeps_intensities(self) -> bool:
        return True

    def function(self, values: NDArray) -> NDArray:
        if self.stored.kind in "iu" and not np.can_cast(values.dtype, self.stored):
            self._require_within(values)
        with np.errstate(over="ignore"):  # float16 has infinities for what is beyond it
            return values.astype(self.stored)

    def _require_within(self, values: NDArray) -> None:
        """Refuse what an integer type cannot hold; NaN is within nothing."""
        ends = values.min(), values.max()
        limits = np.iinfo(self.stored)
        # Of Python's numbers, none is rounded to be compared.
        finite = all(math.isfinite(end) for end in ends)
        if not finite or not limits.min <= int(ends[0]) <= int(ends[1]) <= limits.max:
            raise UnsupportedError(
                f"values from {ends[0]} to {ends[1]} do not fit into {self.stored}, which holds "
                f"whole numbers from {limits.min} to {limits.max}: clamp or rescale them first",
                code="OUT_OF_TYPE",
            )
