"""`Image.hist` draws what NumPy counts."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib import pyplot as plt

import voxarray as vx

VOXELS = np.random.default_rng(0).normal(100, 20, (2, 9, 10, 11))


def heights():
    return np.array([patch.get_height() for patch in plt.gca().patches])


@pytest.mark.parametrize("dtype", ["int16", "float32"])
@pytest.mark.parametrize("bins", [7, [0, 90, 100, 200]])
def test_bins(dtype, bins):
    voxels = VOXELS.astype(dtype)
    assert vx.ScalarImage(tensor=voxels).hist(bins=bins, show=False) is None
    np.testing.assert_array_equal(heights(), np.histogram(voxels, bins)[0])
    assert plt.gca().get_xlabel() == "Intensity"
    assert plt.gca().get_ylabel() == "Frequency"


def test_matplotlibs_keywords():
    image = vx.ScalarImage(tensor=VOXELS)
    image.hist(bins=5, range=(50, 150), density=True, color="red", show=False)
    expected = np.histogram(VOXELS, 5, (50, 150), density=True)[0]
    np.testing.assert_allclose(heights(), expected)
    assert plt.gca().patches[0].get_facecolor()[:3] == (1, 0, 0)
    assert plt.gca().get_ylabel() == "Density"


def test_it_is_saved_as_plots_are(tmp_path):
    image = vx.ScalarImage(tensor=VOXELS)
    path = tmp_path / "new/hist.png"
    image.hist(show=False, output_path=path, savefig_kwargs={"dpi": 50})
    assert plt.imread(path).shape[:2] == (240, 320)
    with pytest.raises(vx.UnsupportedError) as caught:
        image.hist(show=False, output_path="s3://bucket/hist.png")
    assert caught.value.code == "UNSUPPORTED_DESTINATION"


def test_default_bins_of_integers_hold_as_many_values_each():
    voxels = np.round(VOXELS * 10).astype(np.int16)
    vx.ScalarImage(tensor=voxels).hist(show=False)
    edges = {patch.get_x() % 1 for patch in plt.gca().patches}
    assert edges == {0.5}
    assert heights().sum() == voxels.size
