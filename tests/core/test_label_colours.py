"""Colours as users give them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from voxarray.core.label_colours import rgba_of


@pytest.mark.parametrize(
    "colour",
    [
        (255, 136, 0),
        [255, 136, 0, 255],
        "#ff8800",
        "#FF8800ff",
        np.array([255, 136, 0], "u1"),
        torch.tensor([255, 136, 0]),
        (number for number in (255, 136, 0)),
    ],
)
def test_a_colour_may_be_given_in_several_ways(colour):
    assert rgba_of(colour) == (255, 136, 0, 255)


@pytest.mark.parametrize(
    "colour",
    [
        *("ff8800", "#ff880", "#ff88001", "#gg8800", "orange", ""),
        *((1, 2), (1, 2, 256), (1, 2, -1), (1, 2, 3, 4, 5), (1.0, 0.5, 0.0), (True, 1, 2)),
        *(None, 7, object(), ("1", "2", "3"), np.array(7)),
    ],
)
def test_what_is_no_colour(colour):
    assert rgba_of(colour) is None
