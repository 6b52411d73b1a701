"""Votes among labels: the same ones, however many points are counted at once, in little memory."""

from __future__ import annotations

import itertools
import tracemalloc

import numpy as np
import pytest

from voxarray.ops import points
from voxarray.ops.kernels import kernel
from voxarray.ops.points import Lookup, votes

KERNEL = kernel("label_gaussian")
LINEAR = np.array([[1.7, 0.01, 0], [0, 1.3, 0.2], [0, 0, 1.1]])


def lookup(size: int) -> Lookup:
    return Lookup(LINEAR, np.array([0.3, 0.2, 0.1]), (size,) * 3, (0, 0, 0))


def elected(voxels: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    result = np.zeros((1, *shape), voxels.dtype)
    votes(lookup(voxels.shape[1]), [range(n) for n in shape], voxels, KERNEL, result)
    return result


def by_definition(voxels: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """The label whose weights add up to the most, the first of several."""
    result = np.zeros((1, *shape), voxels.dtype)
    for place in itertools.product(*map(range, shape)):
        at = LINEAR @ place + (0.3, 0.2, 0.1)
        taps = [KERNEL.taps(np.array([x]), voxels.shape[1]) for x in at]
        sums: dict[float, float] = {}
        for i, j, k in itertools.product(*(range(w.shape[1]) for _, w in taps)):
            label = voxels[0, taps[0][0][0, i], taps[1][0][0, j], taps[2][0][0, k]]
            weight = taps[0][1][0, i] * taps[1][1][0, j] * taps[2][1][0, k]
            sums[label] = sums.get(label, 0.0) + weight
        result[(0, *place)] = max(sums, key=sums.__getitem__)
    return result


@pytest.fixture
def labels() -> np.ndarray:
    voxels = np.random.default_rng(0).integers(0, 4, (1, 12, 12, 12)).astype("u1")
    voxels[:, 5:, 5:] = 2
    return voxels


def test_the_label_of_most_weight_wins(labels):
    assert np.array_equal(elected(labels, (5, 5, 6)), by_definition(labels, (5, 5, 6)))


@pytest.mark.parametrize("at_once", [1, 500, 2000])
def test_winners_do_not_depend_on_how_many_points_are_counted_at_once(labels, monkeypatch, at_once):
    shape = (3, 4, 5) if at_once == 1 else (5, 5, 6)
    expected = elected(labels, shape)
    monkeypatch.setattr(points, "_VOTES", at_once)
    assert np.array_equal(elected(labels, shape), expected)


def test_votes_take_little_memory():
    voxels = np.random.default_rng(0).integers(0, 3, (1, 60, 60, 60)).astype("u1")
    tracemalloc.start()
    try:
        elected(voxels, (34, 44, 52))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak <= 32 << 20  # of 78,000 points; it was 108 MiB
