"""MONAI's ``LoadImage`` with voxarray as its reader gives what MONAI's own readers give."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import voxarray as vx


@pytest.fixture
def scan(tmp_path):
    vx.testing.sample((20, 18, 16)).save(tmp_path / "t1.nii")
    return vx.ScalarImage(tmp_path / "t1.nii")


@pytest.mark.parametrize("suffix", [".nii", ".ome.zarr", ".nrrd"])
def test_monai_loads_with_it_what_it_loads_alone(scan, tmp_path, suffix):
    from monai.transforms import LoadImage

    scan.save(tmp_path / f"a{suffix}", overwrite=True)
    theirs = LoadImage(reader="NibabelReader", ensure_channel_first=True)(scan.path)
    load = LoadImage(reader=vx.MonaiReader(), ensure_channel_first=True)
    ours = load(tmp_path / f"a{suffix}")
    assert torch.equal(ours.as_tensor(), theirs.as_tensor())
    np.testing.assert_allclose(ours.affine, theirs.affine, atol=1e-5)


def test_monai_gets_channels_last_and_files_on_one_grid(scan, tmp_path):
    reader = vx.MonaiReader()
    stacked, meta = reader.get_data(reader.read([scan.path, scan.path]))
    assert (stacked.shape, meta["original_channel_dim"]) == ((20, 18, 16, 2), -1)
    scan[1:].save(tmp_path / "b.nii")
    with pytest.raises(vx.GridError) as error:
        reader.get_data(reader.read([scan.path, tmp_path / "b.nii"]))
    assert error.value.code == "GRIDS_DIFFER"
