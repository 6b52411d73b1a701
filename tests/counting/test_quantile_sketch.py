"""Sketches of distributions: every value in its bin, whatever the order and the parts."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis.extra import numpy as hnp

from voxarray.counting import magnitude_bins as bins
from voxarray.counting.moments import Moments
from voxarray.counting.quantile_sketch import Sketch


@st.composite
def values(draw):
    width = draw(st.sampled_from([32, 64]))
    floats = st.floats(allow_nan=False, allow_infinity=False, width=width)
    few = st.floats(-1000, 1000, width=width)
    whole = st.integers(-70000, 70000).map(float)
    kind = draw(st.sampled_from([floats, few, whole, st.sampled_from([0.0, -0.0, 1e-3])]))
    return draw(hnp.arrays(f"f{width // 8}", st.integers(1, 60), elements=kind))


def sketch_of(array):
    sketch = Sketch()
    sketch.add(array)
    return sketch


def same(one, other):
    assert one.exact == other.exact
    for found, expected in zip(one.intervals(), other.intervals(), strict=True):
        np.testing.assert_array_equal(found, expected)


@given(values())
@example(np.array([0.0, -0.0], "f4"))
@example(np.array([-0.0, -3.0], "f4"))
@example(np.array([1e-45, 3e38], "f4"))
@example(np.array([5e-324, -1.7e308]))
def test_every_value_lies_in_its_interval(array):
    sketch = sketch_of(array)
    low, high, counts = sketch.intervals()
    assert counts.sum() == array.size
    assert (counts > 0).all()
    assert (np.diff(low) >= 0).all()
    assert (high[:-1] <= low[1:]).all()
    assert (low <= high).all()
    where = np.searchsorted(np.cumsum(counts), np.arange(array.size), side="right")
    ordered = np.sort(array.astype(np.float64))
    assert (low[where] <= ordered).all()
    assert (ordered <= high[where]).all()
    largest = max(np.abs(ordered).max(), 2.0**bins.SMALLEST_EXPONENT)
    smaller = np.minimum(np.abs(low), np.abs(high))
    coarse = np.minimum(bins.COARSE_WIDTH * smaller, bins.MEDIUM_WIDTH * largest)
    fine = np.maximum(bins.RELATIVE_WIDTH * smaller, bins.LINEAR_WIDTH * largest)
    assert (high - low <= np.maximum(coarse, fine)).all()
    if sketch.exact:
        np.testing.assert_array_equal(low, np.unique(ordered))


@given(values(), st.lists(st.integers(0, 60), max_size=3), st.randoms(use_true_random=False))
def test_parts_and_order_change_nothing(array, cuts, random):
    shuffled = array.copy()
    order = list(range(array.size))
    random.shuffle(order)
    merged = Sketch()
    for part in np.split(shuffled[order], sorted(min(cut, array.size) for cut in cuts)):
        sketch = Sketch()
        sketch.add(part)
        if random.random() < 0.5:
            sketch.shrink()
        merged.merge(sketch)
        if random.random() < 0.5:
            merged.shrink()
    same(merged, sketch_of(array))


def test_whole_numbers_are_exact():
    whole = np.arange(-(2**17), 2**17 + 1)
    for dtype in ("f4", "f8"):
        assert sketch_of(whole.astype(dtype)).exact
    assert not sketch_of(np.array([2**17 + 1], "f4")).exact
    # Exact alone, not beside something so much larger.
    assert sketch_of(np.array([1.5], "f4")).exact
    assert not sketch_of(np.array([1.5, 2.0**200])).exact
    both = sketch_of(np.array([1.5], "f4"))
    both.merge(sketch_of(np.array([2.0**200])))
    assert not both.exact


@pytest.mark.parametrize("outlier", [1e9, 1e20, -1e20, -1e30, -3.4028235e38, 3.4028235e38])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_one_outlier_leaves_the_others_in_narrow_bins(outlier, dtype):
    values = np.random.default_rng(0).normal(100, 30, 2000).astype(dtype)
    low, high, _ = sketch_of(np.append(values, values.dtype.type(outlier))).intervals()
    width = (high - low) / np.maximum(np.minimum(abs(low), abs(high)), 1e-300)
    assert width.max() <= 2.0**-10


def test_zeros_given_as_a_number():
    sketch = sketch_of(np.array([1, 2], "f4"))
    sketch.add_zeros(3)
    same(sketch, sketch_of(np.array([1, 2, 0, 0, 0], "f4")))


@given(values(), st.integers(0, 60))
def test_moments(array, cut):
    if max(map(abs, array.tolist())) > 1e100:
        return  # squares overflow
    merged = Moments.of(array[:cut]).merged(Moments.of(array[cut:]))
    wide = array.astype(np.longdouble)
    scale = float(np.abs(wide).max())
    assert merged.count == array.size
    assert (merged.minimum, merged.maximum) == (array.min(), array.max())
    assert merged.mean == pytest.approx(float(wide.mean()), rel=1e-12, abs=1e-12 * scale)
    assert merged.variance() == pytest.approx(float(wide.var()), rel=1e-9, abs=1e-14 * scale**2)
    distinct, counts = np.unique(array.astype(np.float64), return_counts=True)
    counted = Moments.of_counted(distinct, counts)
    assert counted.variance() == pytest.approx(float(wide.var()), rel=1e-9, abs=1e-14 * scale**2)


def test_moments_of_numbers_far_from_zero():
    array = np.random.default_rng(0).normal(1e9, 1e-2, 1 << 18)
    assert Moments.of(array).variance() == pytest.approx(array.var(), rel=1e-9)
    assert np.isnan(Moments.of(array[:1]).variance(ddof=1))
    assert np.isnan(Moments().mean)
