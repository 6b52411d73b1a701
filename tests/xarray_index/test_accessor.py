"""``.vox``: its shortcuts for images, on DataArrays and on Datasets."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import voxarray as vx


@pytest.fixture
def scan(tmp_path):
    vx.testing.sample((20, 18, 16)).save(tmp_path / "t1.nii")
    return vx.ScalarImage(tmp_path / "t1.nii")


def test_shortcuts_of_the_accessor(scan, tmp_path):
    array = scan.array
    resampled = array.vox.resample(3)
    np.testing.assert_array_equal(resampled.values, scan.resample(3).numpy())
    array.vox.save(tmp_path / "b.ome.zarr", levels=1)
    np.testing.assert_array_equal(vx.ScalarImage(tmp_path / "b.ome.zarr").numpy(), scan.numpy())
    figure = array.vox.plot(return_fig=True, show=False)
    assert len(figure.axes) == 3
    assert array.to_dataset(name="t1").vox.view().volumes[0].name == "image.nii"
    labels = (array > 300).astype("uint8").vox.to_image(label=True)
    assert isinstance(labels, vx.LabelMap)


def test_a_dataset_of_several_is_no_image(scan):
    with pytest.raises(vx.UnsupportedError) as error:
        xr.Dataset({"t1": scan.array, "t2": scan.array}).vox.plot()
    assert error.value.code == "SEVERAL_VARIABLES"
