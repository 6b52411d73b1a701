"""Images in the workers of `torch.utils.data.DataLoader`, forked and spawned."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

import voxarray as vx

SHAPE = (6, 5, 8)
VOXELS = np.arange(np.prod(SHAPE)).reshape(SHAPE).astype("int16")


class Slices(Dataset):
    """Axial slices of one image, as tensors."""

    def __init__(self, image):
        self.image = image

    def __len__(self):
        return self.image.spatial_shape[2]

    def __getitem__(self, index):
        return self.image[..., index].data


class Images(Slices):
    """Axial slices of one image, as images that nobody has read."""

    def __getitem__(self, index):
        return self.image[..., index]


def itself(batch):
    return batch


@pytest.fixture(params=[".nii", ".nii.gz", ".ome.zarr", "memory"])
def image(request, tmp_path: Path):
    affine = np.diag([2, 3, 4, 1.0])
    nib.save(nib.Nifti1Image(VOXELS, affine), tmp_path / "a.nii")
    scan = vx.ScalarImage(tmp_path / "a.nii", age=7)
    if request.param == "memory":
        return vx.ScalarImage(tensor=torch.from_numpy(VOXELS)[None], affine=affine, age=7)
    if request.param != ".nii":
        scan.save(tmp_path / f"a{request.param}")
        scan = vx.ScalarImage(tmp_path / f"a{request.param}", age=7)
    scan[..., 0].load()  # so that caches and handles exist before workers are made
    return scan


@pytest.mark.parametrize("start", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_tensors_of_slices(image, start):
    check_tensors(image, start)


@pytest.mark.parametrize("start", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_images_themselves(image, start):
    check_images(image, start)


def test_spawned_workers(tmp_path):
    """Starting them takes seconds each, so once by default."""
    nib.save(nib.Nifti1Image(VOXELS, np.diag([2, 3, 4, 1.0])), tmp_path / "a.nii.gz")
    check_images(vx.ScalarImage(tmp_path / "a.nii.gz", age=7), "spawn", workers=1)


def check_tensors(image, start):
    loader = DataLoader(Slices(image), batch_size=3, num_workers=2, multiprocessing_context=start)
    batches = list(loader)
    assert [len(batch) for batch in batches] == [3, 3, 2]
    found = torch.cat(batches)[:, 0, :, :, 0].permute(1, 2, 0)
    np.testing.assert_array_equal(found, VOXELS)


def check_images(image, start, workers=2):
    loader = DataLoader(
        Images(image),
        batch_size=3,
        num_workers=workers,
        multiprocessing_context=start,
        collate_fn=itself,
    )
    found = [one for batch in loader for one in batch]
    assert len(found) == SHAPE[2]
    for index, one in enumerate(found):
        assert type(one) is vx.ScalarImage
        assert one["age"] == 7
        assert one == image[..., index] or image.path is None
        np.testing.assert_array_equal(one.affine, image[..., index].affine)
        np.testing.assert_array_equal(one.numpy()[0], VOXELS[..., index : index + 1])
