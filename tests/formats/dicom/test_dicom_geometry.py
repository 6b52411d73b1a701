"""Where the slices of a series are: orientation, spacing, gaps and tilt, also by SimpleITK."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dicom_samples as samples
import voxarray as vx
from voxarray.core.errors import FormatError, VoxarrayError
from voxarray.formats.registry import open_source
from voxarray.geometry.selection import Selection


def everything(source):
    return source.read(Selection.whole(source.shape))


def as_image(voxels):
    """(D, H, W) as (1, W, H, D)."""
    return voxels.transpose(2, 1, 0)[None]


def refused(code, path, match):
    with pytest.raises(VoxarrayError, match=match) as caught:
        vx.DicomReader().open(path)
    assert caught.value.code == code
    assert isinstance(caught.value, FormatError)
    assert caught.value.path is not None


def direction(*angles):
    """Row and column directions, rotated about x, y and z."""
    rotation = np.eye(3)
    for axis, angle in enumerate(angles):
        a, b = [n for n in range(3) if n != axis]
        turn = np.eye(3)
        turn[[a, a, b, b], [a, b, a, b]] = (
            np.cos(angle),
            -np.sin(angle),
            np.sin(angle),
            np.cos(angle),
        )
        rotation = turn @ rotation
    return rotation


def test_rows_columns_and_slices(tmp_path):
    voxels = samples.volume()
    samples.series(tmp_path, voxels)
    source = open_source(tmp_path)
    assert source.shape == (1, 4, 5, 6)
    assert source.dtype == np.int16
    assert source.path == str(tmp_path)
    # Pixel Spacing [0.5, 0.75] is between rows (y), then columns (x); LPS becomes RAS.
    expected = [[-0.75, 0, 0, 10], [0, -0.5, 0, 20], [0, 0, 2, 30], [0, 0, 0, 1]]
    np.testing.assert_allclose(source.affine, expected)
    assert np.array_equal(everything(source), as_image(voxels))


@settings(max_examples=25, deadline=None)
@given(
    angles=st.tuples(*[st.floats(-3, 3)] * 3),
    spacing=st.tuples(*[st.floats(0.2, 5)] * 3),
    descending=st.booleans(),
)
def test_any_orientation_as_simpleitk_has_it(tmp_path_factory, angles, spacing, descending):
    folder = tmp_path_factory.mktemp("series")
    axes = direction(*angles)
    voxels = samples.volume(4, 3, 5)
    step = axes[:, 2] * spacing[2] * (-1 if descending else 1)
    samples.series(
        folder,
        voxels,
        step=step,
        PixelSpacing=[float(f"{n:.8g}") for n in spacing[:2]],
        ImageOrientationPatient=[float(f"{n:.8g}") for n in axes[:, :2].T.ravel()],
    )
    source = open_source(folder)
    array, affine = samples.by_sitk(folder)
    np.testing.assert_allclose(source.affine, affine, atol=1e-4)
    assert np.array_equal(everything(source), as_image(array))


def test_single_slice_is_as_thick_as_it_says(tmp_path):
    for elements, thickness in [
        ({"SpacingBetweenSlices": 3.5}, 3.5),
        ({}, 2.0),
        ({"SliceThickness": None}, 1.0),
    ]:
        path = samples.save(
            samples.placed(samples.volume()[0], (0, 0, 0), **elements), tmp_path / "a.dcm"
        )
        assert open_source(path).grid.spacing == pytest.approx((0.75, 0.5, thickness))


def test_thickness_is_not_spacing(tmp_path):
    samples.series(tmp_path, step=(0, 0, 5), SliceThickness=3, SpacingBetweenSlices=1)
    assert open_source(tmp_path).grid.spacing[2] == pytest.approx(5)


def test_a_radiograph_has_the_affine_of_a_picture(tmp_path):
    dataset = samples.plane(samples.volume()[0], Modality="CR", ImagerPixelSpacing=[0.2, 0.3])
    source = open_source(samples.save(dataset, tmp_path / "a.dcm"))
    np.testing.assert_allclose(source.affine, np.diag([-0.3, -0.2, 1, 1]))


def test_a_missing_slice(tmp_path):
    samples.series(tmp_path)[2].unlink()
    refused("MISSING_SLICE", tmp_path, r"1 of 6 slices is missing: 4 mm between slices 1 and 2")


@pytest.mark.parametrize("numbered", [True, False])
def test_a_position_twice(tmp_path, numbered):
    samples.series(tmp_path)
    again = samples.placed(samples.volume()[0], (-10, -20, 34), 99 if numbered else 1)
    samples.save(again, tmp_path / "again.dcm")
    refused(
        "DUPLICATE_POSITION", tmp_path, r"2 planes at the position of slice 2 \(counted from 0\)"
    )


def test_three_slices_at_slightly_different_distances_miss_none(tmp_path):
    paths = samples.series(
        tmp_path,
        each=lambda z: {"ImagePositionPatient": [-10, -20, 30 + (0, 2, 4.16, 6, 8, 10)[z]]},
    )
    for path in paths[3:]:
        path.unlink()
    refused("NON_UNIFORM_SPACING", tmp_path, r"slices are 2 to 2.16 mm apart")


@pytest.mark.parametrize(("shift", "ok"), [(0.015, True), (0.03, False), (0.5, False)])
def test_uneven_spacing(tmp_path, shift, ok):
    def each(z):
        return {"ImagePositionPatient": [-10, -20, 30 + 2.0 * z + (shift if z == 3 else 0)]}

    samples.series(tmp_path, each=each)
    if ok:
        assert open_source(tmp_path).shape == (1, 4, 5, 6)
    else:
        refused("NON_UNIFORM_SPACING", tmp_path, "expected")


def test_spacing_that_grows(tmp_path):
    """No gap differs by a percent from the next, and yet the middle would be off by slices."""
    heights = np.cumsum(1 + np.arange(60) * 5e-3)
    samples.series(
        tmp_path,
        samples.volume(60),
        each=lambda z: {"ImagePositionPatient": [0, 0, round(float(heights[z]), 6)]},
    )
    refused("NON_UNIFORM_SPACING", tmp_path, "mm")


def test_a_plane_beside_the_others(tmp_path):
    samples.series(
        tmp_path,
        each=lambda z: {"ImagePositionPatient": [-10 + (z == 2), -20, 30 + 2.0 * z]},
    )
    refused("NON_UNIFORM_SPACING", tmp_path, r"slice 2 .* has a plane that is 1 mm away")


def test_mixed_orientation(tmp_path):
    samples.series(
        tmp_path, each=lambda z: {"ImageOrientationPatient": [0, 1, 0, 0, 0, -1]} if z == 5 else {}
    )
    refused("MIXED_ORIENTATION", tmp_path, "6 planes have 2 orientations")


def test_gantry_tilt(tmp_path):
    samples.series(tmp_path, step=(0, 0.5, 2))
    refused("GANTRY_TILT", tmp_path, r"14\.04 degrees")


def test_mixed_spacing(tmp_path):
    samples.series(tmp_path, each=lambda z: {"PixelSpacing": [1, 1]} if z == 3 else {})
    refused("MIXED_SPACING", tmp_path, "0.5 to 1 mm")


def test_no_spacing(tmp_path):
    samples.series(tmp_path, PixelSpacing=None)
    refused("NO_SPACING", tmp_path, "pixel spacing")
