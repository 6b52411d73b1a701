"""The viewer in a notebook gets the level that fits, as NIfTI, and nothing else is read."""

from __future__ import annotations

import sys

import dask
import nibabel as nib
import numpy as np
import pytest

import voxarray as vx
from voxarray.core.label_colours import palette
from voxarray.testing.counting import count_reads

VOXELS = np.random.default_rng(0).integers(0, 999, (1, 130, 70, 40)).astype(np.int16)
AFFINE = np.array([[0, 0, 1.5, 9], [-1, 0, 0, 8], [0, -2, 0, 7], [0, 0, 0, 1]], float)

_FAR = np.array([[0, 0, 0, 1e4], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])


def shown(widget) -> nib.Nifti1Image:
    (volume,) = widget.volumes
    return nib.Nifti1Image.from_bytes(volume.data)


@pytest.fixture
def archive(tmp_path):
    vx.ScalarImage(tensor=VOXELS, affine=AFFINE).save(tmp_path / "scan.ome.zarr")
    return vx.ScalarImage(tmp_path / "scan.ome.zarr")


def test_whole_image(archive):
    widget = archive.view(height=321)
    np.testing.assert_array_equal(np.asarray(shown(widget).dataobj), VOXELS[0])
    np.testing.assert_allclose(shown(widget).affine, AFFINE, atol=1e-6)
    assert (widget.height, widget.volumes[0].name) == (321, "scan.nii")
    assert "data" not in archive


def test_the_level_that_fits(archive):
    small = archive.level(1)
    with count_reads() as reads:
        widget = archive.view(limit=VOXELS.nbytes - 1)
    assert np.prod(small.shape) <= reads.voxels < VOXELS.size / 10
    assert widget.volumes[0].name == "scan, level 1.nii"
    np.testing.assert_array_equal(np.asarray(shown(widget).dataobj), small.numpy()[0])
    np.testing.assert_allclose(shown(widget).affine, small.affine, atol=1e-6)


def test_no_level_fits(archive):
    widget = archive.view(limit="1 KiB")
    small = shown(widget)
    assert np.prod(small.shape) * 2 <= 1024
    assert widget.volumes[0].name == "scan, 1 of 4 x 4 x 2 voxels of level 1.nii"
    near = np.round(np.linalg.inv(archive.level(1).affine) @ small.affine, 6)
    np.testing.assert_array_equal(near[:3, 3], 0)
    np.testing.assert_array_equal(
        np.asarray(small.dataobj), archive.level(1).numpy()[0][::4, ::4, ::2]
    )


def test_labels_have_the_colours_of_plot():
    labels = vx.LabelMap(tensor=(VOXELS % 400).astype(np.int16))
    table = labels.view().volumes[0].colormap_label
    rgba = np.reshape(table.lut, (-1, 4))
    assert (table.min, table.max, len(rgba)) == (0, 399, 400)
    assert rgba[0, 3] == 0
    assert (rgba[1:, 3] == 255).all()
    np.testing.assert_array_equal(rgba[2:256, :3], palette()[2:])
    assert rgba[1].tolist() == [255, 119, 0, 255]  # white would be lost over a scan
    two = vx.ScalarImage(tensor=VOXELS).view({"one": labels, "two": labels}).volumes[1:]
    tables = [np.reshape(volume.colormap_label.lut, (-1, 4)) for volume in two]
    np.testing.assert_array_equal(tables[0], rgba)
    assert (tables[1][1:256, :3] != rgba[1:256, :3]).any(1).all()


@pytest.mark.parametrize(
    ("largest", "dtype", "sent"),
    [
        (3, np.int32, np.uint8),
        (3, np.float32, np.uint8),
        (255, np.int16, np.uint8),
        (300, np.uint16, np.int16),
        (40_000, np.int64, np.uint16),
        (70_000, np.int32, np.int32),
    ],
)
def test_labels_are_sent_as_what_the_viewer_takes_for_labels(largest, dtype, sent):
    """Seen in a browser: without the intent, or in other types, all labels had one colour."""
    voxels = np.zeros((1, 6, 5, 4), dtype)
    voxels[0, 1:4] = largest
    nifti = shown(vx.LabelMap(tensor=voxels, affine=AFFINE).view())
    assert nifti.header["intent_code"] == 1002
    assert nifti.get_data_dtype() == sent
    np.testing.assert_array_equal(np.asarray(nifti.dataobj), voxels[0])
    np.testing.assert_allclose(nifti.affine, AFFINE, atol=1e-6)


def test_intensities_are_not_sent_as_labels(archive):
    assert shown(archive.view()).header["intent_code"] == 0


def test_what_nifti_has_no_type_for_is_refused():
    with pytest.raises(vx.UnsupportedError):
        vx.ScalarImage(tensor=VOXELS.astype(np.float16)).view()


def test_not_installed(archive, monkeypatch):
    monkeypatch.setitem(sys.modules, "ipyniivue", None)
    with (
        count_reads() as reads,
        pytest.raises(vx.MissingPackageError, match=r"pip install 'voxarray\[notebook\]'") as error,
    ):
        archive.view()
    assert error.value.code == "NOT_INSTALLED"
    assert reads.voxels == 0


def test_the_viewer_has_the_convention_of_pictures():
    image = vx.ScalarImage(tensor=np.zeros((1, 8, 8, 8), np.int16))
    assert image.view().opts.is_radiological_convention
    assert not image.view(is_radiological_convention=False).opts.is_radiological_convention
    # In a browser letters had 8 pixels, and a line of one coarse voxel hid what it pointed at.
    assert image.view().opts.font_min_px >= 20
    assert image.view().opts.crosshair_width_unit == "percent"


def test_a_large_volume_without_levels_opens_at_once():
    image = vx.ScalarImage(tensor=np.zeros((1, 64, 64, 32), np.int16), affine=np.diag([1, 1, 2, 1]))
    widget = image.view(limit="8 KiB")
    assert shown(widget).shape == (16, 16, 16)
    np.testing.assert_allclose(shown(widget).affine, np.diag([4, 4, 4, 1]))
    assert widget.volumes[0].name == "image, 1 of 4 x 4 x 2 voxels.nii"


def test_a_stream_that_is_too_large_says_what_to_do(tmp_path):
    vx.ScalarImage(tensor=VOXELS).save(tmp_path / "a.nii.gz")
    image = vx.ScalarImage(tmp_path / "a.nii.gz")
    with (
        dask.config.set({"voxarray.gzip-whole-limit": 1000}),
        count_reads() as reads,
        pytest.raises(vx.MemoryBudgetError, match=r"vx\.convert") as error,
    ):
        image.view(limit="100 KiB")
    assert (error.value.code, error.value.path) == ("ONE_PIECE", str(tmp_path / "a.nii.gz"))
    assert reads.voxels == 0
    assert shown(image.view(limit="100 KiB")).shape[0] < 130


def test_the_window_is_that_of_plot(archive):
    volume = archive.view(percentiles=(2, 98)).volumes[0]
    middle = [VOXELS[0].take(n // 2, axis).ravel() for axis, n in enumerate(VOXELS.shape[1:])]
    expected = np.percentile(np.concatenate(middle), (2, 98))
    np.testing.assert_allclose((volume.cal_min, volume.cal_max), expected)


def test_labels_over_a_scan(archive):
    labels = vx.LabelMap(tensor=(VOXELS > 900).astype(np.uint8), affine=AFFINE)
    scan, over = archive.view(labels, opacity=0.3).volumes
    assert (scan.name, over.name, over.opacity) == ("scan.nii", "labels.nii", 0.3)
    assert over.colormap_label is not None
    assert len(archive.view({"a": labels, "b": labels}).volumes) == 3
    with pytest.raises(vx.GridError) as error:
        archive.view(vx.LabelMap(tensor=labels.data, affine=np.diag([1, 1, 1, 1]) * 1.0 + _FAR))
    assert error.value.code == "NO_OVERLAP"


def test_viewers_of_a_subject_are_linked(archive):
    labels = vx.LabelMap(tensor=(VOXELS > 900).astype(np.uint8), affine=AFFINE)
    assert len(vx.Subject(t1=archive, seg=labels).view().volumes) == 2
    box = vx.Subject(t1=archive, t2=archive, seg=labels).view()
    first, second = (child.children[1] for child in box.children)
    assert [child.children[0].value for child in box.children] == ["t1", "t2"]
    assert (first.other_nv, second.other_nv) == ([second], [first])
    assert [volume.name for volume in second.volumes] == ["scan.nii", "seg.nii"]
