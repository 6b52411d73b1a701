"""Finding statistics: of voxels, of those in a mask, of those of each label."""

from __future__ import annotations

from functools import partial

import numpy as np

from voxarray.core.errors import UnsupportedError
from voxarray.core.progress import Progress
from voxarray.counting.tally import CentredMeasures, Measures, SmallMeasures
from voxarray.ops.pointwise import Pointwise
from voxarray.source.base import Source
from voxarray.source.sliced import SlicedSource
from voxarray.statistics import passes
from voxarray.statistics.cache import cached
from voxarray.statistics.summary import Statistics
from voxarray.statistics.value_counts import count_small, is_countable


def statistics_of(
    source: Source, mask: Source | None = None, report: Progress | None = None
) -> Statistics:
    """Statistics of the voxels of a source, of all its channels together.

    They take one pass; two if the values are far from 0 and differ little, or if some are less than
    2^-150 of others.

    They are remembered: asked again of the same voxels, of a file or computed from one, nothing is
    read. Of a function of single values that ascends they follow from those of its base.

    Args:
        source: The voxels.
        mask: Voxels other than 0 count, and no others; on the same grid, with one channel or as
            many as the source.
        report: Called with the bytes that are counted and in all.

    Raises:
        UnsupportedError: For complex voxels (``UNSUPPORTED_DTYPE``).
        GridError: If the mask is on another grid (``MASK_MISMATCH``).
        VoxarrayError: What reading finds wrong.
    """
    if source.dtype.kind == "c":
        raise UnsupportedError(
            f"voxels of type {source.dtype} have no order, hence no percentiles: take their "
            "magnitude or real part first, for example abs(image.array)",
            code="UNSUPPORTED_DTYPE",
        )
    if mask is not None:
        passes.require_mask(source, mask)
    sources = (source,) if mask is None else (source, mask)
    return cached("statistics", sources, lambda: _compute(source, mask, report))


def _compute(source: Source, mask: Source | None, report: Progress | None) -> Statistics:
    sliced = SlicedSource.of(source)
    if isinstance(sliced.base, Pointwise) and sliced.base.ascends:
        before = sliced.base.base
        # Under the affine of the slice, which may be another than selecting gives: as after Flip.
        chosen = SlicedSource.of(before).take(sliced.selection).with_affine(sliced.affine)
        base_statistics = statistics_of(chosen, mask, report)
        if base_statistics.count and not base_statistics.not_finite and base_statistics.is_fine:
            line = sliced.base.line(base_statistics.minimum, base_statistics.maximum)
            result = base_statistics.through(sliced.base.function, before.dtype, line)
            if np.isfinite([result.minimum, result.maximum]).all() and result.is_fine:
                return result
    if is_countable(source):
        return Statistics.of_counts(count_small(source, mask, report))
    measures = passes.count(source, Measures, mask, report)
    statistics = Statistics.of_sketch(measures.moments, measures.sketch, measures.not_finite)
    del measures  # a table that takes as much as that of another pass
    if not statistics.is_far:
        return _with_small(source, mask, statistics)
    # Intervals are as wide as their values are large, so all values may lie in one. The same source
    # again, and no function of it: that would need more memory than was found to be there.
    centred = passes.count(source, lambda: CentredMeasures(statistics.mean, statistics.std), mask)
    return statistics.from_the_mean(centred.sketch)


def _with_small(source: Source, mask: Source | None, statistics: Statistics) -> Statistics:
    """With values counted again that are far smaller than others: beside 10^300, they share a bin.

    Each pass sees a range of 2^150. There are 8 of them at most: those of values below 2^-100 would
    have no narrower bins.
    """
    largest = statistics.largest
    while limit := statistics.hidden_below(largest):
        small = passes.count(source, partial(SmallMeasures, limit), mask)
        statistics, largest = statistics.with_small(small.sketch, limit), small.largest
    return statistics
