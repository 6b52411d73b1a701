"""Interpolation at points that lie on no common axes: oblique grids, rotations, and votes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voxarray.ops.accelerated import sample_points
from voxarray.ops.kernels import SNAP, Kernel, Linear
from voxarray.ops.samples import as_stored, for_scipy, spline_coefficients

_POINTS = 1 << 17
"""Positions that are held at once: few enough to stay in the processor's cache."""

_VOTES = 1 << 20
"""Taps of all points that are counted at once."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Lookup:
    """Where the voxels of a result are in the base.

    Attributes:
        linear: (3, 3) from an index of the result to one of the base.
        shift: (3,) index in the base of the result's first voxel.
        size: (W, H, D) of the base.
        starts: First voxel of the base, along each axis, of the part that was read.
    """

    linear: Floats
    shift: Floats
    size: tuple[int, ...]
    starts: tuple[int, ...]

    def slabs(
        self, ranges: Sequence[range]
    ) -> Iterator[tuple[slice, tuple[Floats, Floats, Floats], NDArray[np.bool_]]]:
        """Slabs along D of some ranges: positions (W, H, d) in the base, and which are inside."""
        columns = [np.arange(r.start, r.stop, r.step, dtype=np.float64) for r in ranges]
        step = max(1, _POINTS // (len(ranges[0]) * len(ranges[1])))
        for start in range(0, len(ranges[2]), step):
            slab = slice(start, start + step)
            x, y, z = columns[0][:, None, None], columns[1][:, None], columns[2][slab]
            rows = zip(self.linear, self.shift, strict=True)
            # One order of operations for every part, or borders would show.
            a, b, c = ((m[0] * x + m[1] * y) + (m[2] * z + shift) for m, shift in rows)
            inside = np.ones(a.shape, bool)
            for positions, size in zip((a, b, c), self.size, strict=True):
                inside &= (positions >= -0.5 - SNAP) & (positions < size - 0.5 - SNAP)
            yield slab, (a, b, c), inside


def at_points(
    lookup: Lookup, ranges: Sequence[range], voxels: NDArray, kernel: Kernel, result: NDArray
) -> None:
    """Fill what lies inside the base.

    Args:
        lookup: Where to look.
        ranges: Ranges of the result along W, H and D.
        voxels: (C, W, H, D) part of the base that was read.
        kernel: How to interpolate.
        result: (C, W, H, D), holds the value outside already.
    """
    if sample_points(lookup, ranges, voxels, kernel, result):
        return
    sample = _mapped if isinstance(kernel, Linear) or kernel.margin else _weighed
    if sample is _mapped:
        voxels = for_scipy(voxels)
    if kernel.margin:
        for axis in (1, 2, 3):
            voxels = spline_coefficients(voxels, axis)
    for slab, positions, inside in lookup.slabs(ranges):
        if not inside.any():
            continue
        points = [p[inside] for p in positions]
        for channel, out in zip(voxels, result, strict=True):
            values = sample(lookup, channel, points, kernel)
            out[..., slab][inside] = as_stored(values, result.dtype)


def _mapped(lookup: Lookup, voxels: NDArray, points: list[Floats], kernel: Kernel) -> NDArray:
    """Straight lines and splines, as SciPy has them."""
    from scipy.ndimage import map_coordinates

    # To subtract a whole number from a larger one is exact: parts do not differ in rounding.
    local = [p - start for p, start in zip(points, lookup.starts, strict=True)]
    order, mode = (3, "mirror") if kernel.margin else (1, "nearest")
    values: NDArray = map_coordinates(
        voxels, local, np.float64, order=order, mode=mode, prefilter=False
    )
    return values


def _weighed(lookup: Lookup, voxels: NDArray, points: list[Floats], kernel: Kernel) -> NDArray:
    """Any kernel: tap by tap, in float64; single voxels keep their type."""
    indices, weights = _taps(lookup, voxels, points, kernel)
    if kernel.keeps_values:
        picked: NDArray = voxels[tuple(i[:, 0] for i in indices)]
        return picked
    total = np.zeros(len(points[0]))
    for i, j, k in itertools.product(*(range(w.shape[1]) for w in weights)):
        weight = weights[0][:, i] * weights[1][:, j] * weights[2][:, k]
        total += weight * voxels[indices[0][:, i], indices[1][:, j], indices[2][:, k]]
    return total


def _taps(
    lookup: Lookup, voxels: NDArray, points: list[Floats], kernel: Kernel
) -> tuple[list[NDArray[np.intp]], list[Floats]]:
    """Indices into the part that was read, and weights, for each axis."""
    taps = [kernel.taps(p, size) for p, size in zip(points, lookup.size, strict=True)]
    # Taps without weight may lie outside of what was read.
    indices = [
        (i - start).clip(0, length - 1)
        for (i, _), start, length in zip(taps, lookup.starts, voxels.shape, strict=True)
    ]
    return indices, [w for _, w in taps]


def votes(
    lookup: Lookup, ranges: Sequence[range], voxels: NDArray, kernel: Kernel, result: NDArray
) -> None:
    """The label with the greatest weight at each point; arguments as of `at_points`."""
    for slab, positions, inside in lookup.slabs(ranges):
        if not inside.any():
            continue
        points = [p[inside] for p in positions]
        for channel, out in zip(voxels, result, strict=True):
            out[..., slab][inside] = _elected(lookup, channel, points, kernel)


def _elected(lookup: Lookup, voxels: NDArray, points: list[Floats], kernel: Kernel) -> NDArray:
    first_taps, _ = kernel.taps(points[0][:1], lookup.size[0])
    step = max(1, _VOTES // first_taps.shape[1] ** 3)
    best = np.empty(len(points[0]), voxels.dtype)
    for start in range(0, len(best), step):
        run = slice(start, start + step)
        best[run] = _counted(*_taps(lookup, voxels, [p[run] for p in points], kernel), voxels)
    return best


def _counted(indices: list[NDArray[np.intp]], weights: list[Floats], voxels: NDArray) -> NDArray:
    """The winners of some points; most have one label all around them."""
    counts = [range(w.shape[1]) for w in weights]
    shape = math.prod(len(c) for c in counts), len(weights[0])
    labels = np.empty(shape, voxels.dtype)
    for n, (i, j, k) in enumerate(itertools.product(*counts)):
        labels[n] = voxels[indices[0][:, i], indices[1][:, j], indices[2][:, k]]
    best: NDArray = labels[0].copy()
    (disputed,) = np.nonzero((labels != labels[0]).any(axis=0))
    labels = labels[:, disputed]
    x, y, z = (w[disputed] for w in weights)
    taps = itertools.product(*counts)
    tap_weights = [x[:, i] * y[:, j] * z[:, k] for i, j, k in taps]
    largest = np.full(len(disputed), -1.0)
    for candidate in labels:
        # One by one, so that a sum never depends on how many points are counted at once.
        sums = np.zeros(len(disputed))
        for label, weight in zip(labels, tap_weights, strict=True):
            sums += np.where(label == candidate, weight, 0)
        better = sums > largest
        best[disputed[better]], largest[better] = candidate[better], sums[better]
    return best
