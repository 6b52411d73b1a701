"""Statistics of the voxels of every label at once."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sized

import numpy as np
from numpy.typing import NDArray

from voxarray.core.errors import UnsupportedError
from voxarray.core.memory import require
from voxarray.core.progress import Progress
from voxarray.counting.tally import CentredMeasures, Measures, SmallMeasures
from voxarray.geometry.selection import Selection
from voxarray.source.base import Source
from voxarray.source.pieces import pieces, require_room
from voxarray.source.sliced import SlicedSource
from voxarray.statistics.passes import TABLES, measuring_bytes, part_of_mask, require_mask
from voxarray.statistics.summary import Statistics
from voxarray.statistics.value_counts import is_countable

_RUN = 1 << 18
"""Voxels whose labels are sorted at once: places in order take far more than labels."""

_SORTING = 4 * np.dtype(np.float64).itemsize
"""Bytes per voxel of a run: places, as many again to sort them, sorted labels, sorted values."""

_OF_BIN, _OF_INTERVAL = 16, 24
"""Bytes of a bin that is counted, and of an interval of statistics, which has two ends."""

MAX_LABELS = 1 << 14
"""A distribution is held of each; measurements in the place of labels would ask for millions."""


def statistics_by_label(
    source: Source, labels: Source, report: Progress | None = None
) -> dict[int | float, Statistics]:
    """Statistics of the voxels of every label, ascending by label, in one pass over both, or two.

    A second pass counts the labels again whose values are far from 0 and differ little. A
    distribution is kept of each label. How large these are depends on the values, so if they exceed
    the budget, counting ends with an error as soon as they do.

    Args:
        source: The voxels.
        labels: On the same grid, with one channel or as many as the source.
        report: Called with the bytes that are counted and in all.

    Raises:
        GridError: If the labels are on another grid (``MASK_MISMATCH``).
        MemoryBudgetError: If the pieces, and what is kept of each label, exceed the budget.
        UnsupportedError: If there are more than `MAX_LABELS` labels, or voxels are complex (codes
            ``TOO_MANY_VALUES``, ``UNSUPPORTED_DTYPE``).
    """
    for item in (source, labels):
        if item.dtype.kind == "c":
            raise UnsupportedError(
                f"voxels of type {item.dtype} have no order: take their magnitude or real part "
                "first, for example abs(image.array)",
                code="UNSUPPORTED_DTYPE",
            )
    require_mask(source, labels)
    if source.scaling is not None and is_countable(source):
        scaling, stored = source.scaling, source.unscaled()
        results = statistics_by_label(stored, labels, report)
        return {n: item.through(scaling.apply, stored.dtype) for n, item in results.items()}
    measures: dict[int | float, Measures] = {}
    itemsizes = source.dtype.itemsize + labels.dtype.itemsize
    held_bytes = _block_bytes(labels)
    sorting = held_bytes + _SORTING * min(_RUN, math.prod(source.shape))
    what = "computing the statistics"
    require_room(source, 2 * itemsizes, what, sorting)  # while a piece is sorted
    # While it is counted.
    require_room(source, itemsizes, what, measuring_bytes(source) + held_bytes)
    for box, voxels in pieces(source, report):
        for label, values in _groups(voxels, labels, box):
            measure = measures.setdefault(label, Measures())
            measure.add(values)
            measure.sketch.shrink()  # one table at a time, however many labels there are
            del values
        del voxels  # or it would be held while the next one is read
        _require_few(measures, labels)
        # How many labels there are, and how many values each has, is known no sooner.
        _require_kept(source, itemsizes, measures.values(), len(measures), held_bytes)
    results = {}
    for label in sorted(measures):
        measure = measures.pop(label)  # a second pass needs the room
        results[label] = Statistics.of_sketch(measure.moments, measure.sketch, measure.not_finite)
    centred = _from_the_means(source, labels, results)
    return _with_small(source, labels, results | centred, [n for n in results if n not in centred])


def _block_bytes(labels: Source) -> int:
    """Bytes that reading a label map keeps: its decoded blocks; a plain file has none."""
    base = SlicedSource.of(labels).base
    nbytes = math.prod(base.shape) * base.dtype.itemsize
    is_plain = base.bytes_on_disk is not None and base.bytes_on_disk >= nbytes
    return 0 if is_plain else labels.reading_bytes


def _require_few(found: Sized, labels: Source) -> None:
    """Refuse measurements in the place of labels."""
    if len(found) > MAX_LABELS:
        raise UnsupportedError(
            f"more than {MAX_LABELS:,} different labels of type {labels.dtype}: these are "
            "measurements, not labels; give a label map",
            code="TOO_MANY_VALUES",
            path=labels.path,
        )


def _require_kept(
    source: Source, itemsizes: int, measures: Iterable[Measures], number: int, held_bytes: int
) -> None:
    """Refuse what is kept of so many labels, while pieces are counted and after the last one.

    Args:
        source: The voxels.
        itemsizes: Bytes of a voxel and its label.
        measures: Counts of labels.
        number: How many labels there are.
        held_bytes: Bytes of statistics that are complete, and of blocks of the label map.
    """
    counts = sum(measure.sketch.nbytes for measure in measures)
    what = f"keeping the statistics of {number:,} labels"
    excess = max(0, counts - TABLES)  # so much of them is in what counting takes
    require_room(source, itemsizes, what, measuring_bytes(source) + excess + held_bytes)
    require(
        held_bytes + counts * _OF_INTERVAL // _OF_BIN,
        lambda: what,
        "take a part or a coarser level(n), or raise the budget",
    )


def _from_the_means(
    source: Source, labels: Source, results: Mapping[int | float, Statistics]
) -> dict[int | float, Statistics]:
    """Those whose values are far from 0 and near one another, counted again in a second pass."""
    far = {n: CentredMeasures(item.mean, item.std) for n, item in results.items() if item.is_far}
    _count_again(source, labels, results, far)
    return {label: results[label].from_the_mean(far.pop(label).sketch) for label in sorted(far)}


def _with_small(
    source: Source,
    labels: Source,
    results: Mapping[int | float, Statistics],
    which: Iterable[int | float],
) -> dict[int | float, Statistics]:
    """All, with values of some labels counted again that are far smaller than others of theirs."""
    found = dict(results)
    largest = {n: found[n].largest for n in which}
    while limits := {
        n: limit for n, size in largest.items() if (limit := found[n].hidden_below(size))
    }:
        small = {n: SmallMeasures(limit) for n, limit in limits.items()}
        _count_again(source, labels, found, small)
        for n, limit in limits.items():
            found[n] = found[n].with_small(small[n].sketch, limit)
        largest = {n: measures.largest for n, measures in small.items()}
    return found


def _count_again(
    source: Source,
    labels: Source,
    results: Mapping[int | float, Statistics],
    measures: Mapping[int | float, Measures],
) -> None:
    """Give the voxels of some labels to other counters, in another pass; none if there are none."""
    if not measures:
        return
    held_bytes = _block_bytes(labels) + sum(item.nbytes for item in results.values())
    itemsizes = source.dtype.itemsize + labels.dtype.itemsize
    _require_kept(source, itemsizes, (), len(results), held_bytes)
    for box, voxels in pieces(source):
        for label, values in _groups(voxels, labels, box):
            if label in measures:
                measures[label].add(values)
                measures[label].sketch.shrink()
            del values
        del voxels
        _require_kept(source, itemsizes, measures.values(), len(results), held_bytes)


def _groups(
    voxels: NDArray, labels: Source, box: Selection
) -> Iterator[tuple[int | float, NDArray]]:
    """Each label of a piece with the values (n,) of its voxels; NaN is no label."""
    names = _in_disk_order(np.broadcast_to(part_of_mask(labels, box), voxels.shape))
    values = _in_disk_order(voxels)
    runs = [slice(n, n + _RUN) for n in range(0, len(names), _RUN)]
    found = [np.unique(names[run], return_counts=True) for run in runs]
    numbers: dict[int | float, int] = {}
    for some, counts in found:
        for name, number in _labels_of(some, counts):
            numbers[name] = numbers.get(name, 0) + number
        _require_few(numbers, labels)
    stops = np.cumsum([*numbers.values()]).tolist()
    place = {n: stop - number for (n, number), stop in zip(numbers.items(), stops, strict=True)}
    grouped = np.empty(sum(numbers.values()), values.dtype)
    for run, (some, counts) in zip(runs, found, strict=True):
        ascending = values[run][np.argsort(names[run], kind="stable")]
        start = 0
        for name, number in _labels_of(some, counts):
            first = place[name]
            grouped[first : first + number] = ascending[start : start + number]
            start, place[name] = start + number, first + number
    del names, values, ascending  # or they would be held while the values are counted
    for name in sorted(numbers):
        yield name, grouped[place[name] - numbers[name] : place[name]]


def _in_disk_order(voxels: NDArray) -> NDArray:
    """Voxels (n,) of a piece (C, W, H, D), without a copy where they lie in memory like this."""
    return voxels.transpose(0, 3, 2, 1).reshape(-1)


def _labels_of(names: NDArray, counts: NDArray) -> Iterator[tuple[int | float, int]]:
    """Distinct labels with how many voxels have them; NaN, the last one, is left out."""
    for name, number in zip(names.tolist(), counts.tolist(), strict=True):
        if name == name:
            yield (int(name) if float(name).is_integer() else name), number
