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


@pytest.mark.parametrize(
    "draw",
    [
        lambda image: image.plot(show=False),
        lambda image: image.lightbox(slices=4, columns=3, show=False),
        lambda image: vx.Subject(t1=image).plot(show=False),
    ],
    ids=["plot", "lightbox with empty cells", "subject"],
)
def test_a_picture_before_it_stays_as_it_is(draw):
    image = vx.ScalarImage(tensor=VOXELS[:1])
    plt.close("all")
    draw(image)
    picture = plt.gcf()
    drawn = [len(axes.patches) for axes in picture.axes]
    image.hist(bins=5, show=False)
    assert plt.gcf() is not picture
    assert [len(axes.patches) for axes in picture.axes] == drawn
    np.testing.assert_array_equal(heights(), np.histogram(VOXELS[:1], 5)[0])


def test_each_saved_file_has_one_histogram(tmp_path):
    plt.close("all")
    for n in range(2):
        vx.ScalarImage(tensor=VOXELS + n).hist(
            bins=5, show=False, output_path=tmp_path / f"{n}.png"
        )
        assert len(plt.gca().patches) == 5


def test_histograms_share_the_axes_that_a_user_has_chosen(tmp_path):
    _figure, (left, right) = plt.subplots(1, 2)
    left.imshow(VOXELS[0, 0])
    plt.sca(right)
    for n in range(2):
        vx.ScalarImage(tensor=VOXELS + n).hist(bins=5, show=False)
    assert len(right.patches) == 10
    assert not left.patches


def test_the_label_of_the_counts_is_in_the_picture():
    """Counts of hundreds of thousands are wide."""
    plt.close("all")
    vx.ScalarImage(tensor=np.zeros((1, 96, 80, 70), "i2")).hist(show=False)
    axes = plt.gca()
    axes.figure.canvas.draw()
    assert axes.yaxis.label.get_window_extent().x0 >= 0
