"""`Image.plot` with TorchIO's keyword arguments."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from matplotlib import pyplot as plt

import voxarray as vx
from rendering.conftest import AFFINES, pixels
from voxarray.archive.metadata import Label
from voxarray.core.errors import MissingPackageError
from voxarray.core.label_colours import paint, palette

SHAPE = (1, 9, 10, 11)


def scan(shape=SHAPE, dtype="int16", kind=vx.ScalarImage, **kwargs):
    values = np.random.default_rng(0).integers(0, 200, shape).astype(dtype)
    return kind(tensor=values, affine=AFFINES["RAS"], **kwargs)


def test_the_figure():
    image = scan()
    figure = image.plot(return_fig=True, show=False, title="T1", figsize=(9, 3))
    assert [axis.get_title() for axis in figure.axes] == ["Sagittal", "Coronal", "Axial"]
    assert [axis.get_xlabel() for axis in figure.axes] == ["A ↔ P", "R ↔ L", "R ↔ L"]
    assert [axis.get_ylabel() for axis in figure.axes] == ["I ↔ S", "I ↔ S", "P ↔ A"]
    assert [axis.get_aspect() for axis in figure.axes] == [1.5, 3, 2]
    assert figure.get_suptitle() == "T1"
    np.testing.assert_array_equal(figure.get_size_inches(), (9, 3))
    shown = figure.axes[0].images[0]
    assert (shown.norm.vmin, shown.norm.vmax) == (
        min(p.min() for p in pixels(figure)),
        max(p.max() for p in pixels(figure)),
    )
    assert not any(axis.get_xlabel() for axis in _plot(image, xlabels=False).axes)
    assert image.plot(show=False) is None


def _plot(image, **kwargs):
    return image.plot(return_fig=True, show=False, **kwargs)


def test_flat_images_leave_no_empty_band():
    width, most = plt.rcParams["figure.figsize"]
    flat = np.diag([1, 1, 0.1, 1.0])
    values = np.zeros(SHAPE, np.int16)
    figure = _plot(vx.ScalarImage(tensor=values, affine=flat))
    # Letters beside each; mm of the axial plane, and the widths of all three.
    high = (width - 3 * 0.6) * 10 / (10 + 9 + 9)
    np.testing.assert_allclose(figure.get_size_inches(), (width, high + 0.9))
    titled = _plot(vx.ScalarImage(tensor=values, affine=flat), title="T1")
    np.testing.assert_allclose(titled.get_size_inches(), (width, high + 1.3))
    tall = _plot(vx.ScalarImage(tensor=values, affine=np.diag([1, 1, 9, 1.0])))
    np.testing.assert_allclose(tall.get_size_inches(), (width, most))


def test_a_file_is_not_loaded(tmp_path):
    scan().save(tmp_path / "scan.nii")
    image = vx.ScalarImage(tmp_path / "scan.nii")
    _plot(image)
    assert "data" not in image


def test_keywords():
    image = scan()
    narrow = _plot(image, percentiles=(10, 90)).axes[0].images[0].norm
    wide = _plot(image).axes[0].images[0].norm
    assert wide.vmin < narrow.vmin < narrow.vmax < wide.vmax
    assert _plot(image, cmap="viridis").axes[0].images[0].get_cmap().name == "viridis"
    assert _plot(image, vmin=-5, vmax=5).axes[0].images[0].norm.vmin == -5
    assert _plot(image, alpha=0.5).axes[1].images[0].get_alpha() == 0.5
    at = _plot(image, indices=(1, 2, 3))
    np.testing.assert_array_equal(pixels(at)[0], image.numpy()[0, 1].T[::-1, ::-1])


def test_output_path(tmp_path):
    from PIL import Image

    scan().plot(
        show=False, output_path=tmp_path / "a.png", figsize=(6, 2), savefig_kwargs={"dpi": 50}
    )
    assert Image.open(tmp_path / "a.png").size == (300, 100)


def test_given_axes():
    _, axes = plt.subplots(1, 3)
    assert scan().plot(return_fig=True, show=False, axes=axes) is None
    assert all(axis.images for axis in axes)
    with pytest.raises(ValueError, match="axes= holds 2 axes: expected 3"):
        scan().plot(show=False, axes=axes[:2])


def test_channels():
    series = scan((4, 5, 6, 7))
    with pytest.warns(RuntimeWarning, match="Multiple channels found"):
        first = pixels(_plot(series))
    for other, expected in ((0, True), (2, False)):
        assert np.array_equal(first[0], pixels(_plot(series, channel=other))[0]) is expected
    np.testing.assert_array_equal(
        pixels(_plot(series, channel=-1))[0], pixels(_plot(series, channel=3))[0]
    )
    with pytest.raises(
        vx.OutOfRangeError, match="channel 4 does not exist: the image has 4 channels"
    ):
        _plot(series, channel=4)


def test_colours():
    photo = scan((3, 8, 9, 1), "uint8")
    (picture,) = pixels(_plot(photo))
    np.testing.assert_array_equal(picture, photo.numpy()[..., 0].transpose(2, 1, 0)[::-1, ::-1])
    stretched = pixels(_plot(scan((3, 8, 9, 4), "int16")))[0]
    assert stretched.dtype == np.uint8
    assert stretched.max() == 255
    with pytest.warns(RuntimeWarning, match="Multiple channels"):
        assert pixels(_plot(photo, rgb=False))[0].ndim == 2


@pytest.mark.parametrize("flat", [(0, "Sagittal"), (1, "Coronal"), (2, "Axial")])
def test_one_slice_is_one_picture(flat):
    axis, name = flat
    key = [slice(None)] * 3
    key[axis] = 4
    figure = _plot(scan()[tuple(key)])
    assert [a.get_title() for a in figure.axes] == [name]


def test_labels_in_distinct_colours():
    labels = scan(dtype="uint8", kind=vx.LabelMap)
    figure = _plot(labels)
    picture = pixels(figure)[0]
    expected = palette()[labels.numpy()[0, 4].T[::-1, ::-1]]
    np.testing.assert_array_equal(picture, expected)
    assert figure.axes[0].images[0].get_interpolation() == "none"
    assert palette()[0].tolist() == [0, 0, 0]
    assert len(np.unique(palette(), axis=0)) == 256


def test_named_colours():
    labels = scan(dtype="uint8", kind=vx.LabelMap)
    colours = {7: "red", 9: (1, 2, 3)}
    picture = pixels(_plot(labels, cmap=colours))[2]
    values = labels.numpy()[0, :, :, 5].T[::-1, ::-1]
    assert (picture[values == 7] == (255, 0, 0)).all()
    assert (picture[values == 9] == (1, 2, 3)).all()
    assert not picture[(values != 7) & (values != 9)].any()


def test_probabilities_are_grey():
    tissue = scan(dtype="float32", kind=vx.LabelMap)
    tissue.set_data(tissue.data / 200)
    figure = _plot(tissue)
    assert pixels(figure)[0].ndim == 2
    assert figure.axes[0].images[0].get_interpolation() == "none"


def test_colours_of_the_archive(tmp_path):
    from voxarray.archive.convert import convert

    labels = scan((1, 9, 10, 11), "uint8", vx.LabelMap)
    labels.set_data(labels.data % 4)
    table = (Label(2, "liver", (10, 20, 30, 255)), Label(3, "no colour"))
    convert(labels.source, tmp_path / "a.ome.zarr", kind="label", table=table)
    image = vx.LabelMap(tmp_path / "a.ome.zarr")
    assert image.label_colours == {2: (10, 20, 30)}
    for _ in range(2):  # also once it is loaded
        np.testing.assert_array_equal(
            pixels(_plot(image))[0],
            paint(labels.numpy()[0, 4].T[::-1, ::-1], {2: (10, 20, 30)}),
        )
        image.load()


def test_palette_goes_on_without_black():
    painted = paint(np.array([0, 255, 256, 511, -1, np.nan]), {})
    assert (painted.sum(-1) > 0).tolist() == [False, True, True, True, True, False]


def test_nans_and_complex():
    values = np.random.default_rng(0).random(SHAPE)
    values[0, 4, 5, 5] = np.nan
    norm = _plot(vx.ScalarImage(tensor=values)).axes[0].images[0].norm
    assert 0 <= norm.vmin < norm.vmax <= 1
    assert pixels(_plot(vx.ScalarImage(tensor=values * 1j)))[0].dtype == np.float64


def test_without_matplotlib(monkeypatch):
    for name in [n for n in sys.modules if n.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for draw in (scan().plot, scan().hist):
        with pytest.raises(MissingPackageError, match=r"pip install 'voxarray\[plot\]'") as caught:
            draw(show=False)
        assert isinstance(caught.value, ImportError)
    assert scan()._repr_html_() is None
