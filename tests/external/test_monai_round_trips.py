"""MONAI: images that it transforms say where they are, in every form in which they come back."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import voxarray as vx

monai = pytest.importorskip("monai.data")
transforms = pytest.importorskip("monai.transforms")

SHAPE = (12, 13, 14)
AFFINES = {
    "RAS": np.diag([1.0, 1, 1, 1]),
    "LPS": np.array([[-1.5, 0, 0, 20], [0, -2, 0, 30], [0, 0, 3, -9], [0, 0, 0, 1.0]]),
    "oblique": np.array([[0, 0.2, 2, 1], [-1.5, 0.1, 0, 7], [0.2, 1.2, 0.1, 3], [0, 0, 0, 1.0]]),
}
SPATIAL = {
    "Flip": transforms.Flip(1),
    "Rotate90": transforms.Rotate90(1, (0, 2)),
    "Orientation": transforms.Orientation("LPI", labels=None),
    "Spacing": transforms.Spacing((2.0, 1.7, 1.1), padding_mode="zeros"),
    "SpatialCrop": transforms.SpatialCrop(roi_start=(1, 2, 0), roi_end=(9, 10, 11)),
    "CenterSpatialCrop": transforms.CenterSpatialCrop((5, 6, 7)),
    "SpatialPad": transforms.SpatialPad((16, 15, 18)),
    "ResizeWithPadOrCrop": transforms.ResizeWithPadOrCrop((8, 16, 14)),
    "Rotate": transforms.Rotate((0.1, 0.2, -0.1), keep_size=False, padding_mode="zeros"),
    "Zoom": transforms.Zoom(1.5, mode="trilinear", keep_size=False),
    "Affine": transforms.Affine(
        rotate_params=(0.1, 0, 0), translate_params=(1, 2, 0), image_only=1
    ),
    "Resize": transforms.Resize((10, 20, 9), mode="trilinear"),
    "RandAffine": transforms.RandAffine(prob=1, rotate_range=0.3, padding_mode="zeros"),
    "RandFlip": transforms.RandFlip(prob=1, spatial_axis=0),
    "Transpose": transforms.Compose([transforms.Flip(0), transforms.Rotate90(3, (1, 2))]),
}


def field(affine):
    """World coordinates of every voxel, and a channel of ones where there is image."""
    index = np.indices(SHAPE).reshape(3, -1)
    world = (affine[:3, :3] @ index + affine[:3, 3:]).reshape(3, *SHAPE)
    voxels = np.concatenate([world, np.ones((1, *SHAPE))]).astype("float64")
    return vx.ScalarImage(tensor=voxels, affine=affine)


def require_true(image, affine, atol):
    index = np.indices(image.spatial_shape).reshape(3, -1)
    expected = image.affine[:3, :3] @ index + image.affine[:3, 3:]
    found = image.numpy().reshape(4, -1)
    # What MONAI filled, mixed with what it filled, or repeated at the border is left out.
    inverse = np.linalg.inv(affine)
    voxels = inverse[:3, :3] @ expected + inverse[:3, 3:]
    within = ((voxels.T > -1e-6) & (np.array(SHAPE) - 1 + 1e-6 > voxels.T)).all(1)
    inside = within & (found[3] > 1 - 1e-6)
    assert inside.sum() > 50
    np.testing.assert_allclose(found[:3, inside], expected[:, inside], atol=atol)


@pytest.mark.parametrize("affine", AFFINES)
@pytest.mark.parametrize("name", SPATIAL)
def test_spatial_transforms(name, affine):
    image = field(AFFINES[affine])
    result = SPATIAL[name](image.to_monai())
    for back in (vx.ScalarImage(tensor=result), vx.ScalarImage.from_monai(result)):
        require_true(back, AFFINES[affine], 2e-3)
    array = vx.ScalarImage(tensor=result).array
    require_true(vx.ScalarImage.from_xarray(array), AFFINES[affine], 2e-3)


@pytest.mark.parametrize("affine", AFFINES)
@pytest.mark.parametrize(
    "transform",
    [vx.ToCanonical(), vx.Resample(1.3), vx.CropOrPad((9, 16, 11)), vx.Flip((0, 2)), vx.Pad(2)],
    ids=lambda transform: type(transform).__name__,
)
def test_our_transforms_between_theirs(transform, affine):
    tensor = field(AFFINES[affine]).to_monai()
    for _ in range(2):
        tensor = transforms.Flip(1)(transform(transforms.Flip(1)(tensor)))
    assert isinstance(tensor, monai.MetaTensor)
    require_true(vx.ScalarImage(tensor=tensor), AFFINES[affine], 2e-3)


def test_files_written_by_monai(tmp_path):
    image = field(AFFINES["oblique"])
    transforms.SaveImage(
        tmp_path, output_postfix="", output_ext=".nii.gz", separate_folder=False, print_log=False
    )(image.to_monai().clone())
    (path,) = tmp_path.glob("*.nii.gz")
    back = vx.ScalarImage(path)
    np.testing.assert_allclose(back.affine, image.affine, atol=1e-5)
    np.testing.assert_allclose(back.numpy(), image.numpy(), rtol=1e-5)


def test_files_read_by_monai(tmp_path):
    image = vx.ScalarImage(tensor=torch.rand(1, *SHAPE), affine=AFFINES["oblique"])
    image.save(tmp_path / "a.nii.gz")
    reader = transforms.LoadImage(ensure_channel_first=True, image_only=True)
    back = vx.ScalarImage(tensor=reader(tmp_path / "a.nii.gz"))
    np.testing.assert_allclose(back.affine, image.affine, atol=1e-4)
    np.testing.assert_allclose(back.numpy(), image.numpy(), rtol=1e-6)
