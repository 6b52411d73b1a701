"""Histograms out of core, against numpy.histogram."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis.extra import numpy as hnp

from voxarray.source import pieces
from voxarray.source.array import ArraySource
from voxarray.statistics.histogram import RULES, extremes, histogram
from voxarray.testing.counting import count_reads

FLOATS = st.floats(-1e6, 1e6, width=32)


def source_of(array):
    return ArraySource(array, np.eye(4))


@settings(max_examples=60, deadline=None)
@given(
    st.one_of(
        hnp.arrays("f4", st.tuples(*[st.integers(1, 5)] * 4), elements=FLOATS),
        hnp.arrays(st.sampled_from(["u1", "i2", "i4"]), st.tuples(*[st.integers(1, 5)] * 4)),
    ),
    st.integers(1, 20),
)
def test_numbers_of_bins(array, bins):
    found = histogram(source_of(array), bins)
    counts, edges = np.histogram(array.astype(float), bins)
    np.testing.assert_allclose(found.edges, edges, rtol=1e-12)
    assert found.counts.sum() == array.size
    # A value on an edge may go either way where float32 and float64 round it differently.
    assert (
        abs(np.cumsum(found.counts) - np.cumsum(counts)).max()
        <= np.isin(array.astype("f4"), edges.astype("f4")).sum()
    )


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays("i2", st.tuples(*[st.integers(1, 5)] * 4)),
    st.lists(st.integers(-40000, 40000), min_size=2, max_size=9).map(sorted),
)
@example(np.zeros((1, 1, 1, 1), "i2"), [0, 0, 0, 0])
def test_edges(array, edges):
    expected = np.histogram(array, edges)[0]
    np.testing.assert_array_equal(histogram(source_of(array), edges).counts, expected)
    wide = histogram(source_of(array.astype("f8")), edges)
    np.testing.assert_array_equal(wide.counts, expected)


def test_limits_and_what_is_no_number():
    values = np.array([np.nan, np.inf, -np.inf, 0, 1, 2, 3]).reshape(1, 7, 1, 1)
    assert extremes(source_of(values)) == (0, 3)
    assert histogram(source_of(values), 3).counts.tolist() == [1, 1, 2]
    assert histogram(source_of(values), 2, (0, 2)).counts.tolist() == [1, 2]
    nothing = np.full((1, 2, 2, 2), np.nan)
    assert extremes(source_of(nothing)) == (0, 0)
    assert histogram(source_of(nothing)).counts.sum() == 0
    assert histogram(source_of(values[:, 3:] * 1j), 3).counts.tolist() == [1, 1, 2]


@pytest.mark.parametrize("rule", [None, *RULES])
@pytest.mark.parametrize("dtype", ["int16", "int32", "float32", "float64"])
def test_rules(rule, dtype):
    """About as many bins as NumPy's; of integers, each of the same whole width."""
    array = np.random.default_rng(0).normal(0, 300, (1, 20, 20, 20)).astype(dtype)
    found = histogram(source_of(array), rule)
    assert found.counts.sum() == array.size
    widths = np.diff(found.edges)
    np.testing.assert_allclose(widths, widths[0])
    expected = np.diff(np.histogram_bin_edges(array.astype(float), rule or "fd"))[0]
    if dtype.startswith("int"):
        assert widths[0] == round(widths[0])
        assert expected <= widths[0] < expected + 1.1
        np.testing.assert_array_equal(found.edges % 1, 0.5)
    else:
        np.testing.assert_allclose(widths[0], expected, rtol=0.02)


def test_one_value_and_many_outliers():
    constant = histogram(source_of(np.full((1, 3, 3, 3), 7, np.int16)))
    assert constant.counts.tolist() == [27]
    assert (constant.edges[0], constant.edges[-1]) == (6.5, 7.5)
    spiky = np.zeros((1, 20, 20, 20))
    spiky[0, 0, 0, :5] = 1e9, 1, 2, 3, 4
    assert len(histogram(source_of(spiky)).counts) <= 4096


def test_passes():
    """One of small integers, two where only the limits are unknown, three where quartiles are."""
    array = np.random.default_rng(0).integers(0, 99, (1, 9, 9, 9))
    for dtype, bins, limits, passes in (
        ("int16", None, None, 1),
        ("float32", [0, 50, 99], None, 1),
        ("float32", 10, (0, 99), 1),
        ("float32", 10, None, 2),
        ("float32", None, None, 3),
    ):
        with count_reads() as reads:
            histogram(source_of(array.astype(dtype)), bins, limits)
        assert reads.voxels == passes * array.size


def test_mistakes():
    source = source_of(np.zeros((1, 2, 2, 2)))
    with pytest.raises(ValueError, match="unknown rule 'best'"):
        histogram(source, "best")
    with pytest.raises(ValueError, match="at least one bin"):
        histogram(source, 0)
    with pytest.raises(ValueError, match="ascend"):
        histogram(source, [2, 1])
    with pytest.raises(ValueError, match="ascend"):
        histogram(source, 5, (2, 1))


def test_pieces_show_every_voxel_once(monkeypatch):
    monkeypatch.setattr(pieces, "PIECE_BYTES", 40)
    array = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    found = np.full(array.shape, -1)
    for where, voxels in pieces.pieces(source_of(array)):
        assert (found[where.slices()] == -1).all()
        found[where.slices()] = voxels
    np.testing.assert_array_equal(found, array)
