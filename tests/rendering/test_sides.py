"""Pictures, NiiVue, napari and Neuroglancer have the patient's right, front and head on one side.

One phantom whose right anterior superior corner is bright, in every orientation. What NiiVue and
Neuroglancer do with what they are given was looked at in a browser, napari in a window.
"""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

import voxarray as vx
from rendering.conftest import AFFINES
from voxarray.rendering import neuroglancer as served
from voxarray.rendering.napari_reader import placement, read_layers
from voxarray.rendering.planes import orthogonal


@pytest.fixture(params=[name for name in AFFINES if name != "oblique"] + ["oblique"])
def phantom(request):
    affine = AFFINES[request.param]
    voxels = np.zeros((12, 14, 10), np.int16)
    grid = vx.Grid(voxels.shape, affine)
    indices = np.stack(np.meshgrid(*map(np.arange, voxels.shape), indexing="ij"), -1)
    world = grid.to_world(indices) - grid.centre
    reach = np.abs(world).reshape(-1, 3).max(0)
    voxels[np.all(world > -0.1 * reach, -1)] = 100
    return vx.ScalarImage(tensor=voxels[None], affine=affine)


def is_top_left(picture: np.ndarray) -> bool:
    """Whether what is bright is nearer to the top and left than to the others."""
    rows, columns = np.nonzero(picture)
    height, width = picture.shape
    return rows.mean() < (height - 1) / 2 and columns.mean() < (width - 1) / 2


def test_pictures(phantom):
    for plane in orthogonal(phantom.source):  # sagittal: anterior is on the left
        assert is_top_left(plane.pixels[..., 0])


def test_niivue_is_told_the_place_and_the_convention(phantom):
    widget = phantom.view()
    sent = nib.Nifti1Image.from_bytes(widget.volumes[0].data)
    np.testing.assert_allclose(sent.affine, phantom.affine, atol=1e-5)
    np.testing.assert_array_equal(np.asarray(sent.dataobj), phantom.numpy()[0])
    assert widget.opts.is_radiological_convention
    assert widget.opts.sagittal_nose_left
    assert widget.opts.show_all_orientation_markers


def on_screen(world_of, shape, voxels):
    """The middle of what is bright, along the screen's axes, from the middle of the volume."""
    bright = world_of(np.argwhere(voxels).mean(0))
    return bright - world_of((np.array(shape) - 1) / 2)


def test_napari(phantom, tmp_path):
    phantom.save(tmp_path / "a.nii")
    ((data, meta, kind),) = read_layers(str(tmp_path / "a.nii"))
    assert (kind, meta["axis_labels"], meta["units"]) == ("image", ("I", "P", "L"), ("mm",) * 3)
    voxels = np.asarray(data)
    np.testing.assert_array_equal(voxels, phantom.numpy()[0].T)
    affine = meta["affine"]
    moved = on_screen(lambda i: affine[:3, :3] @ i + affine[:3, 3], voxels.shape, voxels)
    slices, rows, columns = moved
    assert slices < 0  # up, where slices are rows: superior
    assert rows < 0  # up: anterior
    assert columns < 0  # left: the patient's right
    # In three dimensions napari draws a frame of (towards, down, right), a right-handed one if
    # the axes are taken in this order: so must be the patient's, or he is mirrored.
    towards, down, right = (
        {"I": (0, 0, -1), "P": (0, -1, 0), "L": (-1, 0, 0)}[axis] for axis in meta["axis_labels"]
    )
    assert np.dot(np.cross(towards, down), right) == 1


def test_neuroglancer(phantom):
    voxels = phantom.numpy()[0]
    matrix, spacing = served.placement(phantom.source), np.array(phantom.spacing)
    moved = on_screen(
        lambda i: matrix[:, :3] @ ((i + 0.5) * spacing) + matrix[:, 3], voxels.shape, voxels
    )
    assert (moved < 0).all()  # left, up and up: right, anterior and superior


def test_viewers_place_the_first_voxel_alike(phantom):
    first = phantom.affine[:3, 3]
    np.testing.assert_allclose(placement(phantom.source)[:3, 3][::-1], -first)
    corner = served.placement(phantom.source) @ [*(0.5 * np.array(phantom.spacing)), 1]
    np.testing.assert_allclose(corner, -first, atol=1e-12)
