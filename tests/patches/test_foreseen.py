"""Recognising in which order patches are asked for."""

from __future__ import annotations

import numpy as np
import pytest

from voxarray.patches.foreseen import PATCHES_AHEAD, Order


def foreseen(*asked, total=100):
    """What is known after each of some questions."""
    order = Order()
    return [order.upcoming(total) if order.see(indices) else [] for indices in asked]


def test_one_after_another():
    assert foreseen([0], [1], [2], total=6) == [[], [2, 3, 4, 5], [3, 4, 5]]


def test_a_stride_counts_when_it_occurs_again():
    assert foreseen([0], [4], [8], total=20) == [[], [], [12, 16]]
    assert foreseen([9], [7], [5], total=20) == [[], [], [3, 1]]


def test_batches_one_after_another():
    assert foreseen([0, 1, 2], [3, 4, 5], total=8) == [[], [6, 7]]


def test_batches_of_a_worker_among_others():
    assert foreseen([2, 3], [6, 7], total=12) == [[], [10, 11]]


def test_no_more_than_are_looked_ahead():
    assert foreseen([0], [1])[1] == list(range(2, 2 + PATCHES_AHEAD))
    assert len(foreseen([0, 1, 2, 3, 4], [5, 6, 7, 8, 9])[1]) == PATCHES_AHEAD


def test_what_ends_the_order_is_noticed():
    assert foreseen([0], [1], [2], [50], [51], total=53) == [
        [],
        [*range(2, 18)],
        [*range(3, 19)],
        [],
        [52],
    ]


@pytest.mark.parametrize("size", [1, 4])
def test_shuffled_indices_have_no_order(size):
    shuffled = np.random.default_rng(3).permutation(4000).reshape(-1, size).tolist()
    known = [one for one in foreseen(*shuffled, total=4000) if one]
    assert len(known) <= 5  # by chance two are neighbours


@pytest.mark.parametrize("asked", [[[3], [3], [3]], [[0, 1], [2]], [[5, 2], [9, 4]], [[], []]])
def test_no_order(asked):
    assert not any(foreseen(*asked))
