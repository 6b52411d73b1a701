"""TorchIO 1 images in both directions."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import voxarray as vx
from scans import voxels, write
from voxarray.testing.counting import count_reads


@pytest.mark.parametrize("kind", [vx.ScalarImage, vx.LabelMap])
def test_torchio(tmp_path, kind):
    tio = pytest.importorskip("torchio")
    path = write(tmp_path / "a.nii", voxels())
    image = kind(path, age=7)
    foreign = image[1:3].to_torchio()
    assert type(foreign) is getattr(tio, kind.__name__)
    assert foreign["age"] == 7
    assert "data" not in image
    np.testing.assert_array_equal(foreign.data, voxels()[:, 1:3])
    np.testing.assert_array_equal(foreign.affine, image[1:3].affine)
    image.load()
    assert image.to_torchio().data is image.data
    back = kind.from_torchio(foreign, site="B")
    assert back.data is foreign.data
    assert (back["age"], back["site"]) == (7, "B")
    np.testing.assert_array_equal(back.affine, foreign.affine)


def test_torchio_images_stay_unread(tmp_path):
    tio = pytest.importorskip("torchio")
    path = write(tmp_path / "a.nii.gz", voxels((1, 3, 4, 5)))
    foreign = tio.ScalarImage(path, check_nans=True, age=7)
    with count_reads() as reads:
        image = vx.ScalarImage.from_torchio(foreign)
        assert image.shape == (1, 3, 4, 5)
    assert reads.voxels == 0
    assert not foreign._loaded
    assert image.check_nans
    assert image["age"] == 7
    read = tio.ScalarImage(path, reader=lambda _path: (torch.zeros(2, 3, 4, 5), np.eye(4)))
    assert vx.ScalarImage.from_torchio(read).shape == (2, 3, 4, 5)


def test_torchio_types():
    tio = pytest.importorskip("torchio")
    label = tio.LabelMap(tensor=torch.zeros(1, 2, 2, 2))
    assert vx.Image.from_torchio(label).type == vx.LABEL
    with pytest.raises(ValueError, match="always 'intensity'"):
        vx.ScalarImage.from_torchio(label)
    with pytest.raises(TypeError, match="takes a TorchIO image, not Tensor"):
        vx.ScalarImage.from_torchio(torch.zeros(1, 2, 2, 2))
    with pytest.warns(FutureWarning):
        assert type(vx.Image(tensor=voxels()).to_torchio()) is tio.ScalarImage
    weights = vx.Image(tensor=voxels(), type=vx.SAMPLING_MAP)
    assert weights.to_torchio().type == tio.SAMPLING_MAP
