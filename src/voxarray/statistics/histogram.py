"""How many voxels fall into each bin, and which bins show a distribution well."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voxarray.core.progress import Progress
from voxarray.source.base import Source
from voxarray.source.pieces import pieces, require_room
from voxarray.statistics.value_counts import Counts, count_values, is_small_integer

Bins = int | str | Sequence[float] | NDArray

_FINITE = 2
"""Bytes per voxel of a piece that say which are finite."""

_FINE_BINS = 1 << 16
"""Bins from which quartiles are read where values are too many to be counted one by one."""

_MAX_BINS = 4096
"""No screen shows more, and a few outliers would ask for millions."""


@dataclass(frozen=True, eq=False)
class Histogram:
    """Voxels per bin.

    Attributes:
        edges: (n + 1,) ascending; the last bin includes its right edge, as NumPy's does.
        counts: (n,) int64.
    """

    edges: NDArray[np.float64]
    counts: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Spread:
    """What a rule for the number of bins needs to know.

    Attributes:
        total: Number of values.
        lowest: Smallest value.
        highest: Largest value.
        quartiles: Width between the first and the third quartile.
    """

    total: int
    lowest: float
    highest: float
    quartiles: float


def histogram(
    source: Source,
    bins: Bins | None = None,
    limits: tuple[float, float] | None = None,
    report: Progress | None = None,
) -> Histogram:
    """Histogram of all voxels of a source, equal to ``numpy.histogram``'s, out of core.

    One pass for integers of up to 16 bits, scaled or not, and wherever edges or limits are given;
    otherwise one more for the limits, and one more where a rule needs quartiles. NaN and
    infinities are left out; of complex voxels the magnitudes are taken.

    Args:
        source: The voxels.
        bins: Number of bins, their edges, or a rule: ``"auto"``, ``"fd"`` (Freedman and
            Diaconis, the default), ``"rice"``, ``"sqrt"``, ``"sturges"``. A rule gives integers
            bins of whole width, so that no bin holds one value more than its neighbours.
        limits: Smallest and largest value to count; by default those of the voxels.
        report: Called with the bytes that are counted and in all, pass by pass.

    Raises:
        ValueError: For an unknown rule, fewer than one bin, or edges that do not ascend.
    """
    if is_small_integer(source.unscaled().dtype):
        return from_counts(count_values(source, report), bins, limits)
    if not (bins is None or isinstance(bins, (int, np.integer, str))):
        return _counted(source, _checked_edges(bins), report)
    low, high = limits or extremes(source, report)
    if bins is None or isinstance(bins, str):
        fine = _counted(source, _even_edges(low, high, _FINE_BINS), report)
        whole_numbers = source.dtype.kind in "iu"
        edges = _edges_by_rule(_spread_of(fine, low, high), bins, whole_numbers=whole_numbers)
        return _counted(source, edges, report)
    return _counted(source, _even_edges(low, high, int(bins)), report)


def extremes(source: Source, report: Progress | None = None) -> tuple[float, float]:
    """Smallest and largest finite value, of complex voxels by magnitude; (0, 0) if there is none.

    One pass; integers keep every digit that a float64 holds.
    """
    lows, highs = [], []
    require_room(source, _FINITE + source.dtype.itemsize, "finding the extremes")
    for _, voxels in pieces(source, report):
        finite = _finite(voxels)
        if finite.size:
            lows.append(finite.min())
            highs.append(finite.max())
        del voxels, finite  # or they would be held while the next piece is read
    return (float(min(lows)), float(max(highs))) if lows else (0.0, 0.0)


def from_counts(counts: Counts, bins: Bins | None, limits: tuple[float, float] | None) -> Histogram:
    """Histogram of voxels whose values were counted; arguments as `histogram`."""
    values = counts.values.astype(np.float64)
    finite = np.isfinite(values)
    counts = Counts(values[finite], counts.counts[finite])
    low, high = limits or (float(counts.values[0]), float(counts.values[-1]))
    if bins is None or isinstance(bins, str):
        in_limits = (counts.values >= low) & (counts.values <= high)
        counts = Counts(counts.values[in_limits], counts.counts[in_limits])
        quartiles = counts.percentiles([25, 75]) if counts.total else np.zeros(2)
        spread = Spread(counts.total, low, high, float(quartiles[1] - quartiles[0]))
        whole_numbers = bool(np.all(counts.values == counts.values.round()))
        edges = _edges_by_rule(spread, bins, whole_numbers=whole_numbers)
    elif isinstance(bins, (int, np.integer)):
        edges = _even_edges(low, high, int(bins))
    else:
        edges = _checked_edges(bins)
    return Histogram(edges, _into_bins(counts.values, edges, counts.counts))


def _counted(
    source: Source, edges: NDArray[np.float64], report: Progress | None = None
) -> Histogram:
    """Count piece by piece; NumPy needs no search where edges are evenly spaced."""
    number, (low, high) = len(edges) - 1, edges[[0, -1]]
    # Of edges that are all the same, numpy.histogram would make bins of its own.
    is_even = low < high and np.array_equal(edges, np.linspace(low, high, number + 1))
    total = np.zeros(number, np.int64)
    require_room(source, _FINITE + source.dtype.itemsize, "computing the histogram")
    for _, voxels in pieces(source, report):
        if is_even:
            total += np.histogram(_finite(voxels), number, (low, high))[0]
        else:
            total += np.histogram(_finite(voxels), edges)[0]
        del voxels  # or it would be held while the next one is read
    return Histogram(edges, total)


def _into_bins(
    values: NDArray, edges: NDArray[np.float64], counts: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Counts of sorted values, added up per bin without leaving integers."""
    cumulative = np.concatenate([[0], np.cumsum(counts)])
    positions = np.searchsorted(values, edges, side="left")
    positions[-1] = np.searchsorted(values, edges[-1], side="right")
    return np.diff(cumulative[positions])


def _finite(voxels: NDArray) -> NDArray:
    """Finite values in memory order; the voxels themselves where all are."""
    real = np.abs(voxels) if voxels.dtype.kind == "c" else voxels
    if real.dtype == np.float16:
        real = real.astype(np.float32)  # numpy.histogram would overflow in it
    if real.dtype.kind in "biu":
        return real
    finite = np.isfinite(real)
    return real if finite.all() else real[finite]


# --- Edges ----------------------------------------------------------------------------------------


def _even_edges(low: float, high: float, number: int) -> NDArray[np.float64]:
    if number < 1:
        raise ValueError(f"a histogram has at least one bin, not {number}")
    if not low <= high:
        raise ValueError(
            f"the limits of a histogram must be in ascending order, got ({low}, {high})"
        )
    if low == high:  # as numpy.histogram widens a range of nothing
        low, high = low - 0.5, high + 0.5
    return np.linspace(low, high, number + 1)


def _checked_edges(bins: Sequence[float] | NDArray) -> NDArray[np.float64]:
    edges = np.asarray(bins, np.float64)
    if edges.ndim != 1 or len(edges) < 2 or not np.all(np.diff(edges) >= 0):
        raise ValueError("the edges of bins are at least two numbers in ascending order")
    return edges


def _edges_by_rule(spread: Spread, rule: str | None, *, whole_numbers: bool) -> NDArray[np.float64]:
    """Edges over the whole spread; of whole numbers in halves, so that none lies on an edge."""
    if rule is not None and rule not in RULES:
        raise ValueError(f"unknown rule {rule!r} for bins: use a number, edges, or {list(RULES)}")
    extent = spread.highest - spread.lowest
    if extent == 0 or spread.total == 0:
        return _even_edges(spread.lowest, spread.highest, 1)
    width = max(_width(spread, rule), extent / _MAX_BINS)
    if not whole_numbers:
        return _even_edges(spread.lowest, spread.highest, max(1, math.ceil(extent / width)))
    width = max(1, math.ceil(width))
    number = int(extent // width) + 1
    edges: NDArray[np.float64] = spread.lowest - 0.5 + width * np.arange(number + 1, dtype=float)
    return edges


def _width(spread: Spread, rule: str | None) -> float:
    """Width of a bin, by one of the rules of ``numpy.histogram_bin_edges``."""
    return RULES[rule or "fd"](spread) or _sturges(spread)


def _diaconis(spread: Spread) -> float:
    """2 IQR / n^(1/3): D. Freedman and P. Diaconis (1981), doi:10.1007/BF01025868."""
    return float(2 * spread.quartiles / np.cbrt(spread.total))


def _sturges(spread: Spread) -> float:
    return (spread.highest - spread.lowest) / (math.log2(spread.total) + 1)


def _auto(spread: Spread) -> float:
    return min(_diaconis(spread) or math.inf, _sturges(spread))


def _rice(spread: Spread) -> float:
    return float((spread.highest - spread.lowest) / (2 * np.cbrt(spread.total)))


def _sqrt(spread: Spread) -> float:
    return (spread.highest - spread.lowest) / math.sqrt(spread.total)


RULES: dict[str, Callable[[Spread], float]] = {
    "auto": _auto,
    "fd": _diaconis,
    "rice": _rice,
    "sqrt": _sqrt,
    "sturges": _sturges,
}
"""Width of a bin by rule; 0 where a rule says nothing, as with quartiles that coincide."""


def _spread_of(fine: Histogram, low: float, high: float) -> Spread:
    """Spread of a fine histogram; its quartiles are right to one of its bins."""
    cumulative = np.cumsum(fine.counts)
    total = int(cumulative[-1])
    first, third = np.searchsorted(cumulative, [total / 4, 3 * total / 4])
    return Spread(total, low, high, float(fine.edges[third] - fine.edges[first]))
