"""Label maps over planes lie where the patient has them."""

from __future__ import annotations

import numpy as np
import pytest

import voxarray as vx
from rendering.conftest import AFFINES
from voxarray.rendering.overlays import labels_at
from voxarray.rendering.planes import View, orthogonal

VOXELS = np.random.default_rng(0).integers(0, 99, (1, 12, 14, 10)).astype(np.uint8)


@pytest.mark.parametrize("name", AFFINES)
@pytest.mark.parametrize("radiological", [True, False])
def test_on_the_same_grid_it_is_the_plane_itself(name, radiological):
    image = vx.LabelMap(tensor=VOXELS, affine=AFFINES[name])
    for plane in orthogonal(image.source, View(radiological=radiological)):
        found = labels_at(plane, image.source, range(1))
        np.testing.assert_array_equal(found, plane.pixels[..., 0])


@pytest.mark.parametrize("name", AFFINES)
def test_on_another_grid_it_is_nearest(name):
    scan = vx.ScalarImage(tensor=np.zeros((1, 20, 18, 16), np.int16), affine=np.eye(4))
    labels = vx.LabelMap(tensor=VOXELS, affine=AFFINES[name])
    for plane in orthogonal(scan.source):
        found = labels_at(plane, labels.source, range(1))
        for row, column in ((0, 0), (5, 3), (plane.pixels.shape[0] - 1, 2)):
            world = (plane.pixel_affine @ (column, row, 1))[:3]
            index = np.floor(labels.grid.to_index(world) + 0.5 + 1e-6).astype(int)
            is_inside = np.all((index >= 0) & (index < labels.spatial_shape))
            expected = VOXELS[0][tuple(index)] if is_inside else 0
            assert found[row, column] == expected


def test_levels_of_a_pyramid_lie_where_the_base_does(tmp_path):
    voxels = np.zeros((1, 300, 260, 64), np.uint8)
    voxels[0, 200:, 100:140] = 5
    vx.LabelMap(tensor=voxels).save(tmp_path / "a.ome.zarr", levels=3)
    labels = vx.LabelMap(tmp_path / "a.ome.zarr")
    scan = vx.ScalarImage(tensor=np.zeros((1, 75, 65, 64), np.uint8), affine=np.diag([4, 4, 1, 1]))
    sagittal, coronal, axial = orthogonal(scan.source)
    found = labels_at(axial, labels.source, range(1))
    assert set(np.unique(found)) == {0, 5}
    # R is on the left: the labels, at high x, fill the left third.
    assert found[30, 10] == 5
    assert found[30, -10] == 0
    assert labels_at(coronal, labels.source, range(1)).any()
    assert not labels_at(sagittal, labels.source, range(1)).any()


def test_plot_paints_labels_over_the_scan():
    scan = vx.ScalarImage(tensor=np.zeros((1, 12, 14, 10), np.int16))
    seg = np.zeros((1, 12, 14, 10), np.uint8)
    seg[0, 8:, 10:] = 2
    figure = scan.plot(return_fig=True, show=False, opacity=0.4, labels=vx.LabelMap(tensor=seg))
    under, over = figure.axes[2].images
    assert under.get_extent() == over.get_extent()
    pixels = np.asarray(over.get_array())
    assert pixels.shape == (14, 12, 4)
    assert (pixels[:4, :4, 3] == 102).all()  # anterior right: top left
    assert (pixels[4:, :, 3] == 0).all()
    assert (pixels[:, 4:, 3] == 0).all()


@pytest.mark.parametrize("draw", ["plot", "lightbox", "subject"])
def test_of_two_label_maps_over_a_scan_each_has_colours_of_its_own(draw):
    """Of the same labels, which lie side by side: 1 to 4 in each half."""
    scan = vx.ScalarImage(tensor=np.ones((1, 12, 14, 10), np.int16))
    first, second = np.zeros((2, 1, 12, 14, 10), np.uint8)
    for label in range(1, 5):
        first[:, :6, 3 * label - 3 : 3 * label] = label
        second[:, 6:, 3 * label - 3 : 3 * label] = label
    maps = {"one": vx.LabelMap(tensor=first), "two": vx.LabelMap(tensor=second)}
    if draw == "subject":
        subject = vx.Subject(t1=scan, **maps)
        axes = subject.plot(overlay=True, return_fig=True, show=False).axes[2]
    else:
        options = {} if draw == "plot" else {"slices": 1, "columns": 1}
        drawn = getattr(scan, draw)(labels=maps, return_fig=True, show=False, **options)
        axes = drawn.axes[2 if draw == "plot" else 0]
    seen = []
    for shown in axes.images[1:]:
        pixels = np.asarray(shown.get_array()).reshape(-1, 4)
        seen.append({tuple(colour) for colour in pixels[pixels[:, 3] > 0, :3].tolist()})
    assert [len(colours) for colours in seen] == [4, 4]
    assert not seen[0] & seen[1]
    (alone,) = scan.plot(labels=maps["one"], return_fig=True, show=False).axes[2].images[1:]
    pixels = np.asarray(alone.get_array()).reshape(-1, 4)
    assert seen[0] == {tuple(colour) for colour in pixels[pixels[:, 3] > 0, :3].tolist()}


def test_a_label_map_elsewhere_is_refused():
    scan = vx.ScalarImage(tensor=np.zeros((1, 12, 14, 10), np.int16))
    far = np.eye(4)
    far[0, 3] = 12
    labels = vx.LabelMap(tensor=VOXELS, affine=far)
    for draw in (scan.plot, scan.lightbox):
        with pytest.raises(vx.GridError, match="lies elsewhere") as error:
            draw(labels=labels, show=False)
        assert error.value.code == "NO_OVERLAP"


def test_subject_draws_labels_over_its_scans():
    scan = vx.ScalarImage(tensor=VOXELS.astype(np.int16))
    subject = vx.Subject(t1=scan, seg=vx.LabelMap(tensor=VOXELS))
    apart = subject.plot(return_fig=True, show=False)
    over = subject.plot(return_fig=True, show=False, overlay=True)
    assert [len(axis.images) for axis in apart.axes] == [1] * 6
    assert [len(axis.images) for axis in over.axes] == [2] * 3


def test_flat_planes_leave_no_bands():
    flat = vx.ScalarImage(tensor=np.zeros((1, 200, 200, 10), np.int16))
    subject = vx.Subject(a=flat, b=flat)
    width, height = subject.plot(return_fig=True, show=False).get_size_inches()
    # The axial plane is square, and the others as wide: a third of the width, and letters.
    assert height < 2 * (width / 3 + 1)


@pytest.mark.parametrize(
    "wrong", ["seg.nii.gz", {"seg": "seg.nii.gz"}, np.zeros(3)], ids=["path", "paths", "array"]
)
def test_labels_that_are_none_are_named(wrong):
    scan = vx.ScalarImage(tensor=VOXELS)
    with pytest.raises(TypeError, match=r"vx\.LabelMap\(path\)"):
        scan.plot(labels=wrong, show=False)
