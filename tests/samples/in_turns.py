"""Combinations of parameters, every other of which is left to the soak."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import pytest


def in_turns(*axes: Iterable[object]) -> list[object]:
    """All combinations; of two that differ by one step along one axis, one is slow.

    So each value of each axis is tried beside half of the values of the others, or beside all of
    them where there are three axes or more.
    """
    return [
        pytest.param(
            *(value for _, value in places),
            marks=pytest.mark.slow if sum(place for place, _ in places) % 2 else (),
        )
        for places in itertools.product(*map(enumerate, axes))
    ]
