"""What numpy, torch, dipy, ANTs and nilearn do with an image, and what to install for others."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
import torchio as tio
from torch.utils.data import DataLoader

import voxarray as vx
from scans import AFFINE, voxels


@pytest.fixture
def scan(tmp_path):
    vx.testing.sample((20, 18, 16)).save(tmp_path / "t1.nii")
    return vx.ScalarImage(tmp_path / "t1.nii")


def test_torch_and_numpy_take_it_for_memory(scan):
    assert torch.equal(torch.as_tensor(scan), scan.data)
    shared = torch.from_dlpack(scan)
    assert shared.data_ptr() == scan.data.data_ptr()
    np.testing.assert_array_equal(np.from_dlpack(scan), scan.numpy())


@pytest.mark.skipif(tio.__version__ >= "2", reason="the loader of TorchIO 1")
def test_a_loader_gives_what_that_of_torchio_gives(scan):
    ours = [vx.Subject(t1=scan, seg=vx.LabelMap(scan.path), age=3, name="a") for _ in range(4)]
    theirs = [
        tio.Subject(t1=tio.ScalarImage(scan.path), seg=tio.LabelMap(scan.path), age=3, name="a")
        for _ in range(4)
    ]
    batch = next(iter(DataLoader(ours, batch_size=2)))
    oracle = next(iter(tio.SubjectsLoader(tio.SubjectsDataset(theirs), batch_size=2)))
    assert set(batch) == set(oracle)
    assert batch["name"] == oracle["name"]
    assert torch.equal(batch["age"], oracle["age"])
    for name in ("t1", "seg"):
        assert set(batch[name]) == set(oracle[name])
        assert torch.equal(batch[name]["data"], oracle[name]["data"])
        np.testing.assert_allclose(batch[name]["affine"], oracle[name]["affine"])
        assert batch[name]["stem"] == oracle[name]["stem"]


def test_dipy_resamples_it(scan):
    align = pytest.importorskip("dipy.align.reslice", reason="dipy is not installed")
    nifti = scan.to_nibabel()
    voxels, affine = align.reslice(np.asarray(nifti.dataobj), nifti.affine, scan.spacing, (3, 3, 3))
    again = vx.ScalarImage(tensor=voxels[None], affine=affine)
    np.testing.assert_allclose(again.spacing, 3)
    np.testing.assert_allclose(again.get_bounds(), scan.get_bounds(), atol=3)


def test_ants_takes_and_gives_it(scan):
    ants = pytest.importorskip("ants", reason="antspyx is not installed")
    theirs = ants.from_nibabel_nifti(scan.to_nibabel())
    again = vx.ScalarImage.from_nibabel(ants.to_nibabel_nifti(theirs))
    np.testing.assert_allclose(again.affine, scan.affine, atol=1e-4)
    np.testing.assert_array_equal(again.numpy(), scan.numpy())


def test_nilearn_takes_it_for_its_own(scan):
    from nilearn.image import mean_img, smooth_img

    smoothed = smooth_img(scan.to_nibabel(), 4)
    again = vx.ScalarImage.from_nibabel(smoothed)
    np.testing.assert_allclose(again.affine, scan.affine)
    assert mean_img([scan.to_nibabel()], copy_header=True).shape == scan.spatial_shape


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
