"""What the voxels of an image are, as numbers: mean, spread, percentiles, histogram."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from voxarray.core.errors import StateError
from voxarray.core.html_table import html_table
from voxarray.counting.magnitude_bins import linear_end
from voxarray.counting.moments import Moments
from voxarray.counting.quantile_sketch import Sketch
from voxarray.statistics.histogram import Bins, Histogram, from_counts
from voxarray.statistics.value_counts import Counts

_SHOWN = ("count", "mean", "std", "minimum", "median", "maximum", "not_finite", "exact")
_FINE = 2**-8
"""Largest mean width of an interval, in deviations, for other statistics to follow from these."""

Percents = float | Sequence[float] | NDArray


@dataclass(frozen=True, eq=False)
class Statistics:
    """Statistics of voxel values, from one pass over the voxels, seldom more.

    If each distinct value has a count of its own, all results are exact. This is so for integers of
    up to 16 bits (scaled or not), and for whole numbers below 2^17 in other types. Otherwise values
    are counted in intervals, and only mean, deviation and extremes are exact, up to rounding of
    float64; percentiles have errors. Let ``m`` be the largest magnitude of all values. A percentile
    of magnitude ``v`` has at most this error:

    * ``v * 2^-16`` if ``v`` is at least ``m * 2^-8``;
    * below that, the lesser of ``m * 2^-24`` and ``v * 2^-10``.

    If there are values below ``m * 2^-150`` other than 0, another pass counts them by themselves,
    with their largest one as ``m``. Values below ``2^-250`` (5e-76) have an error of up to
    ``2^-260`` all the same. If these errors would be more than about 1/256 of the standard
    deviation, a second pass counts the distances of the values from their mean. The errors are then
    relative to these distances.

    Voxels that are NaN or infinite are left out, and their number is in `not_finite`.

    Examples:
        >>> scan = vx.testing.sample()
        >>> values = scan.statistics()
        >>> values.count, values.exact
        (172032, True)
        >>> values.percentile(50) == values.median
        True

    Attributes:
        moments: Number, mean, sum of squared deviations from the mean, and extremes.
        low: (n,) lower ends of the intervals that contain values, ascending.
        high: (n,) upper ends.
        counts: (n,) int64, values in each interval.
        exact: Whether each distinct value has a count of its own; then the intervals are single
            values.
        not_finite: Number of voxels that are NaN or infinite.
    """

    moments: Moments
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    counts: NDArray[np.int64]
    exact: bool
    not_finite: int = 0

    @classmethod
    def of_counts(cls, counts: Counts) -> Statistics:
        """Statistics from the number of voxels of every value."""
        values = counts.values.astype(np.float64)
        finite = np.isfinite(values)
        number = counts.counts[finite]
        values = values[finite]
        left_out = counts.total - int(number.sum())
        return cls(Moments.of_counted(values, number), values, values, number, True, left_out)

    @classmethod
    def of_sketch(cls, moments: Moments, sketch: Sketch, not_finite: int) -> Statistics:
        """Statistics of voxels that were counted in intervals."""
        low, high, counts = sketch.intervals()
        return cls(moments, low, high, counts, sketch.exact, not_finite)

    def _repr_html_(self) -> str:
        """A table for notebooks."""
        facts = {name.replace("_", " "): _text(getattr(self, name)) for name in _SHOWN}
        return html_table("Statistics", facts)

    def __repr__(self) -> str:
        texts = (f"{name}: {_text(getattr(self, name))}" for name in _SHOWN)
        return f"Statistics({'; '.join(texts)})"

    @property
    def nbytes(self) -> int:
        """Memory of this object, in bytes."""
        return int(self.low.nbytes + self.high.nbytes + self.counts.nbytes)

    @property
    def count(self) -> int:
        """Number of voxels whose value is finite."""
        return self.moments.count

    @property
    def mean(self) -> float:
        """Mean; NaN if there are no voxels."""
        return self.moments.mean

    @property
    def std(self) -> float:
        """Standard deviation with divisor ``n``, as NumPy's; NaN if there are no voxels."""
        return float(np.sqrt(self.moments.variance()))

    @property
    def sample_std(self) -> float:
        """Standard deviation with divisor ``n - 1``, as in torch and TorchIO; NaN for one voxel."""
        return float(np.sqrt(self.moments.variance(ddof=1)))

    @property
    def minimum(self) -> float:
        """Smallest value; NaN if there are no voxels."""
        return self.moments.minimum

    @property
    def maximum(self) -> float:
        """Largest value; NaN if there are no voxels."""
        return self.moments.maximum

    @property
    def median(self) -> float:
        """The 50th percentile; NaN if there are no voxels."""
        return self.percentile(50)

    def percentile(self, percent: float) -> float:
        """A percentile as of ``numpy.percentile`` (method linear); NaN if there are no voxels.

        Args:
            percent: Between 0 and 100.
        """
        return float(self.percentiles(percent))

    def percentiles(self, percents: Percents) -> NDArray[np.float64]:
        """Several percentiles; see `percentile`.

        Raises:
            ValueError: If one is not between 0 and 100.
        """
        requested = np.asarray(percents, np.float64)
        if not np.all((requested >= 0) & (requested <= 100)):
            raise ValueError(f"percentiles must be between 0 and 100, not {percents}")
        if not self.count:
            return np.full(requested.shape, np.nan)
        positions = requested / 100 * (self.count - 1)
        below = np.floor(positions).astype(np.int64)
        low, high = self._at(below), self._at(np.minimum(below + 1, self.count - 1))
        share = positions - below
        with np.errstate(over="ignore", invalid="ignore"):
            result: NDArray[np.float64] = low + (high - low) * share
        is_beyond = ~np.isfinite(result)  # the difference is, of float64; the result never is
        return np.where(is_beyond, low * (1 - share) + high * share, result)

    def histogram(
        self, bins: Bins | None = None, limits: tuple[float, float] | None = None
    ) -> Histogram:
        """Number of voxels in each bin, as in ``numpy.histogram``.

        If the statistics are not `exact`, a value near an edge may be counted in the
        neighbouring bin. Near means: closer than the error of a percentile (see the class).

        Args:
            bins: Number of bins, their edges, or a rule, as `Image.hist` takes them.
            limits: Smallest and largest value to count; by default those of the voxels.
        """
        if limits is None and self.count:
            limits = self.minimum, self.maximum
        return from_counts(Counts(self._middle, self.counts), bins, limits)

    def as_dict(self) -> dict[int | float, int]:
        """Number of voxels for each value, ascending.

        Raises:
            StateError: If intervals are counted, not every value (``NOT_EXACT``).
        """
        if not self.exact:
            raise StateError(
                f"{len(self.counts):,} intervals of values were counted, not single values: use "
                "histogram()",
                code="NOT_EXACT",
            )
        return Counts(self.low, self.counts).as_dict()

    def through(
        self,
        function: Callable[[NDArray], NDArray],
        dtype: np.dtype,
        line: tuple[float, float] | None = None,
    ) -> Statistics:
        """Statistics of the voxels after applying a function that never decreases.

        If the statistics are `exact`, so is the result. Otherwise its percentiles have errors, and
        so have mean and deviation unless the function is linear.

        Args:
            function: Function of an array of any shape; finite for finite values.
            dtype: Type of the voxels that the function is given.
            line: Its slope and intercept if it is linear.
        """

        def of(values: NDArray[np.float64]) -> NDArray[np.float64]:
            return np.asarray(function(values.astype(dtype)), np.float64)

        if self.exact:
            values, inverse = np.unique(of(self.low), return_inverse=True)
            counts = np.zeros(len(values), np.int64)
            np.add.at(counts, inverse, self.counts)
            moments = Moments.of_counted(values, counts)
            return Statistics(moments, values, values, counts, True, self.not_finite)
        ends = of(np.array([self.minimum, self.maximum]))
        low, high = np.clip(of(self.low), *ends), np.clip(of(self.high), *ends)
        if line is None or not math.isfinite(self.moments.variance()):
            moments = Moments.of_counted((low + high) / 2, self.counts)
        else:
            moments = self.moments.on_line(*line)
        moments = replace(moments, minimum=float(ends[0]), maximum=float(ends[1]))
        return Statistics(moments, low, high, self.counts, False, self.not_finite)

    @property
    def is_fine(self) -> bool:
        """Whether intervals are narrow, compared with how far values lie from their mean.

        They are too wide if values are far from 0 and differ little from each other.
        """
        with np.errstate(over="ignore"):
            width = float(np.sum((self.high - self.low) * self.counts)) / max(self.count, 1)
        return self.exact or width <= self.std * _FINE

    @property
    def is_far(self) -> bool:
        """Whether values should be counted again, by their distances from the mean."""
        return not self.is_fine and 0 < self.std < math.inf

    def from_the_mean(self, sketch: Sketch) -> Statistics:
        """The same moments with intervals that were counted in a second pass.

        Args:
            sketch: Of the distances of the values from `mean`, divided by `std`.
        """
        low, high, counts = sketch.intervals()
        ends = [np.clip(n * self.std + self.mean, self.minimum, self.maximum) for n in (low, high)]
        return Statistics(self.moments, ends[0], ends[1], counts, False, self.not_finite)

    @property
    def largest(self) -> float:
        """Largest magnitude; NaN if there are no voxels."""
        return self.moments.largest

    def hidden_below(self, largest: float) -> float:
        """Magnitude below which values should be counted again; 0 if there is nothing to gain.

        Args:
            largest: Largest magnitude of those that were counted together last.
        """
        limit = linear_end(largest) if self.count and not self.exact else 0.0
        return limit if limit and self._hidden(limit).any() else 0.0

    def with_small(self, sketch: Sketch, limit: float) -> Statistics:
        """The same moments, with values other than 0 below a limit as a pass of their own has them.

        Args:
            sketch: Of these values.
            limit: As `hidden_below` gives it.
        """
        kept = ~self._hidden(limit)
        low, high, counts = (
            np.concatenate([ours[kept], small])
            for ours, small in zip(
                (self.low, self.high, self.counts), sketch.intervals(), strict=True
            )
        )
        order = np.argsort(low, kind="stable")
        return replace(self, low=low[order], high=high[order], counts=counts[order])

    def _hidden(self, limit: float) -> NDArray[np.bool_]:
        """Which intervals lie below a limit; that of 0 holds nothing else."""
        return (self.low >= -limit) & (self.high <= limit) & (self.low < self.high)

    def _at(self, ranks: NDArray[np.int64]) -> NDArray[np.float64]:
        """Values at positions in the sorted sequence, spread evenly over their interval."""
        where = np.searchsorted(self._cumulative, ranks, side="right")
        low = self.low[where]
        if self.exact:
            return low
        number = self.counts[where]
        share = (ranks - (self._cumulative[where] - number) + 0.5) / number
        values = low + (self.high[where] - low) * share
        # The ends are known better than their intervals are.
        values = np.where(ranks == 0, self.minimum, values)
        values = np.where(ranks == self.count - 1, self.maximum, values)
        return np.clip(values, self.minimum, self.maximum)

    @cached_property
    def _cumulative(self) -> NDArray[np.int64]:
        return np.cumsum(self.counts)

    @property
    def _middle(self) -> NDArray[np.float64]:
        if self.exact:
            return self.low
        return np.clip((self.low + self.high) / 2, self.minimum, self.maximum)


def _text(value: float) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
