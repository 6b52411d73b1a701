"""Pillow, TorchIO and MONAI: what they are given, and what is said where they are not installed."""

from __future__ import annotations

import sys

import nibabel as nib
import numpy as np
import pytest
import torch

import voxarray as vx
from scans import AFFINE, voxels, write
from voxarray.testing.counting import count_reads


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_pillow(channels):
    array = np.linspace(-50, 300, channels * 12).reshape(channels, 3, 4, 1).astype("float32")
    image = vx.ScalarImage(tensor=array)
    upright, lying = image.as_pil(), image.as_pil(transpose=False)
    assert (upright.size, lying.size) == ((3, 4), (4, 3))
    assert upright.mode == ("RGBA" if channels == 4 else "RGB")
    expected = np.clip(array, 0, 255).astype("uint8")[..., 0]
    expected = expected.repeat(3, axis=0) if channels == 1 else expected
    np.testing.assert_array_equal(np.asarray(upright), expected.transpose(2, 1, 0))
    np.testing.assert_array_equal(np.asarray(lying), expected.transpose(1, 2, 0))


def test_pillow_of_a_slice_reads_the_slice(tmp_path):
    path = write(tmp_path / "a.nii", voxels((1, 5, 6, 7)))
    image = vx.ScalarImage(path)
    with count_reads() as reads:
        image[..., 3].as_pil()
    assert reads.voxels == 5 * 6
    with pytest.raises(RuntimeError, match="not 2D"):
        image.as_pil()
    with pytest.raises(vx.UnsupportedError, match="this image has 2 of type"):
        vx.ScalarImage(tensor=voxels((2, 5, 6, 1))).as_pil()
    holes = np.array([[np.nan, 7.0]], "float32")[None, ..., None]
    assert np.asarray(vx.ScalarImage(tensor=holes).as_pil())[:, 0, 0].tolist() == [0, 7]


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


@pytest.mark.filterwarnings("ignore")
def test_monai(tmp_path):
    monai = pytest.importorskip("monai.data")
    transforms = pytest.importorskip("monai.transforms")
    path = write(tmp_path / "a.nii", voxels((1, 3, 4, 5)))
    image = vx.ScalarImage(path, age=7)
    tensor = image.to_monai()
    assert isinstance(tensor, monai.MetaTensor)
    theirs = transforms.LoadImage(image_only=True, ensure_channel_first=True, dtype=None)(path)
    np.testing.assert_array_equal(tensor, theirs)
    np.testing.assert_array_equal(tensor.affine, theirs.affine)
    for key in ("space", "filename_or_obj"):
        assert tensor.meta[key] == theirs.meta[key]
    np.testing.assert_array_equal(tensor.meta["original_affine"], theirs.meta["original_affine"])
    assert tensor.meta["age"] == 7
    turned = transforms.Orientation("RAS", labels=None)(tensor)
    canonical = nib.as_closest_canonical(nib.load(path))
    np.testing.assert_array_equal(turned[0], canonical.dataobj)
    np.testing.assert_allclose(turned.affine, canonical.affine)
    np.testing.assert_array_equal(image.affine, nib.load(path).affine)


@pytest.mark.parametrize(
    ("package", "member", "command"),
    [
        ("torchio", "to_torchio", "pip install 'torchio>=1,<2'"),
        ("monai", "to_monai", "pip install 'monai'"),
        ("PIL", "as_pil", r"pip install 'voxarray\[plot\]'"),
    ],
)
def test_what_is_not_installed(monkeypatch, package, member, command):
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Missing(package), *sys.meta_path])
    image = vx.ScalarImage(tensor=voxels((1, 3, 4, 1)), affine=AFFINE)
    with pytest.raises(vx.MissingPackageError, match=command):
        getattr(image, member)()


class Missing:
    """A finder that says that a package is not there."""

    def __init__(self, package):
        self.package = package

    def find_spec(self, name, *_):
        if name.split(".")[0] == self.package:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
