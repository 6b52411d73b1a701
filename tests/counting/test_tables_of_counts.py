"""Rows of counts, given in any order and several times, make the table that numpy makes."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from voxarray.counting.cells import COLUMNS, as_table

_ROW = st.tuples(
    st.integers(0, 3),
    st.integers(0, 5),
    st.one_of(st.integers(-3, 3), st.integers(-(2**63), 2**63 - 1)),
    st.integers(1, 2**40),
)


@settings(deadline=None)
@given(st.lists(st.lists(_ROW, max_size=8), max_size=8))
def test_rows_of_any_order_are_sorted_and_added(groups):
    given_rows = [np.array(group, np.int64).reshape(-1, len(COLUMNS)) for group in groups]
    table = as_table(given_rows)
    rows = np.array([row for group in groups for row in group], np.int64).reshape(-1, len(COLUMNS))
    keys, inverse = np.unique(rows[:, :3], axis=0, return_inverse=True)
    sums = np.zeros(len(keys), np.int64)
    np.add.at(sums, inverse.reshape(-1), rows[:, 3])
    assert table.dtype == np.int64
    np.testing.assert_array_equal(table, np.column_stack([keys, sums]))


def test_rows_are_not_sorted_as_structures(monkeypatch):
    """`np.unique` along an axis takes six times as long."""
    monkeypatch.setattr(np, "unique", None)
    rows = np.array([[0, 1, 5, 2], [0, 0, 7, 1], [0, 1, 5, 3]])
    np.testing.assert_array_equal(as_table([rows]), [[0, 0, 7, 1], [0, 1, 5, 5]])
