"""The viewer in a notebook gets the level that fits, as NIfTI, and nothing else is read."""

from __future__ import annotations

import sys

import nibabel as nib
import numpy as np
import pytest

import voxarray as vx
from voxarray.core.label_colours import palette
from voxarray.testing.counting import count_reads

VOXELS = np.random.default_rng(0).integers(0, 999, (1, 130, 70, 40)).astype(np.int16)
AFFINE = np.array([[0, 0, 1.5, 9], [-1, 0, 0, 8], [0, -2, 0, 7], [0, 0, 0, 1]], float)


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
    assert reads.voxels == np.prod(small.shape)
    assert widget.volumes[0].name == "scan, level 1.nii"
    np.testing.assert_array_equal(np.asarray(shown(widget).dataobj), small.numpy()[0])
    np.testing.assert_allclose(shown(widget).affine, small.affine, atol=1e-6)


def test_no_level_fits(archive):
    with count_reads() as reads, pytest.raises(vx.MemoryBudgetError, match="view a slice"):
        archive.view(limit="1 KiB")
    assert reads.voxels == 0
    assert shown(archive[::8, ::8, ::8].view(limit="8 KiB")).shape == (17, 9, 5)


def test_labels_have_the_colours_of_plot():
    labels = vx.LabelMap(tensor=(VOXELS % 400).astype(np.int16))
    table = labels.view().volumes[0].colormap_label
    rgba = np.reshape(table.lut, (-1, 4))
    assert (table.min, table.max, len(rgba)) == (0, 399, 400)
    assert rgba[0, 3] == 0
    assert (rgba[1:, 3] == 255).all()
    np.testing.assert_array_equal(rgba[:256, :3], palette())


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


def test_advice_of_the_viewer_helps():
    image = vx.ScalarImage(tensor=np.zeros((1, 64, 64, 64), np.int16))
    with pytest.raises(vx.MemoryBudgetError) as error:
        image.view(limit=10_000)
    step = int(str(error.value).split("image[::")[1].split(",")[0])
    assert image[::step, ::step, ::step].view(limit=10_000)
    assert image.view(limit=str(error.value).split("limit='")[1].split("'")[0])
