"""A lightbox shows the slices that it names (unknown keywords: `test_imshow_options.py`)."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib import pyplot as plt

import voxarray as vx

VOXELS = np.random.default_rng(0).integers(0, 99, (1, 12, 14, 10)).astype(np.uint8)


def test_a_lightbox_shows_slices_from_inferior_to_superior():
    voxels = np.broadcast_to(np.arange(20, dtype=np.int16), (1, 8, 6, 20))
    scan = vx.ScalarImage(tensor=voxels.copy(), affine=np.diag([1, 1, -2, 1.0]))
    figure = scan.lightbox(return_fig=True, show=False, slices=4, columns=3)
    visible = [axis for axis in figure.axes if axis.get_visible()]
    assert len(figure.axes) == 6
    assert [np.asarray(axis.images[0].get_array())[0, 0] for axis in visible] == [17, 12, 7, 2]
    assert [axis.get_title() for axis in visible] == ["S -34 mm", "S -24 mm", "S -14 mm", "S -4 mm"]


def test_invalid_arguments_of_lightbox_are_refused():
    scan = vx.ScalarImage(tensor=VOXELS)
    for wrong in ({"plane": "oblique"}, {"slices": 0}, {"columns": 0}):
        with pytest.raises(ValueError, match="lightbox takes"):
            scan.lightbox(show=False, **wrong)
    assert not plt.get_fignums()
