"""MONAI's tensors: an affine that is never lost, in either direction and in transforms."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import torch

import voxarray as vx
from scans import AFFINE, voxels, write

monai = pytest.importorskip("monai.data")
transforms = pytest.importorskip("monai.transforms")

LPS = np.diag([-1.0, -1, 1, 1])


def image(**fields):
    return vx.ScalarImage(tensor=voxels((2, 5, 6, 7), "float32"), affine=AFFINE, **fields)


@pytest.mark.parametrize("make", [lambda t: vx.ScalarImage(tensor=t), vx.ScalarImage.from_monai])
def test_affine_of_a_meta_tensor(make):
    tensor = image().to_monai()
    back = make(tensor)
    np.testing.assert_array_equal(back.affine, AFFINE)
    assert type(back.data) is torch.Tensor
    assert back.data.data_ptr() == tensor.data_ptr()  # shared, not copied


def test_an_affine_that_is_given_wins():
    given = vx.ScalarImage(tensor=image().to_monai(), affine=np.eye(4))
    np.testing.assert_array_equal(given.affine, np.eye(4))


def test_a_meta_tensor_without_affine_is_at_the_origin():
    tensor = monai.MetaTensor(torch.rand(1, 2, 3, 4))
    np.testing.assert_array_equal(vx.ScalarImage(tensor=tensor).affine, np.eye(4))


def test_meta_tensors_in_lps():
    tensor = monai.MetaTensor(torch.rand(1, 2, 3, 4), affine=LPS @ AFFINE, meta={"space": "LPS"})
    np.testing.assert_allclose(vx.ScalarImage(tensor=tensor).affine, AFFINE, atol=1e-12)
    flipped = vx.Flip(0)(tensor)
    expected = vx.Flip(0)(vx.ScalarImage(tensor=tensor))
    np.testing.assert_allclose(LPS @ np.asarray(flipped.affine), expected.affine, atol=1e-9)


def test_meta_tensors_in_another_space():
    tensor = monai.MetaTensor(torch.rand(1, 2, 3, 4), affine=AFFINE, meta={"space": "MNI"})
    with pytest.raises(vx.GridError, match="'RAS' or 'LPS'") as error:
        vx.ScalarImage(tensor=tensor)
    assert error.value.code == "UNKNOWN_SPACE"


def test_from_monai_takes_meta_tensors():
    with pytest.raises(TypeError, match="MetaTensor"):
        vx.ScalarImage.from_monai(torch.rand(1, 2, 3, 4))


TRANSFORMS = {
    "Flip": vx.Flip(0),
    "Crop": vx.Crop((1, 0, 2, 0, 0, 3)),
    "Resample": vx.Resample(2),
    "ToCanonical": vx.ToCanonical(),
    "RescaleIntensity": vx.RescaleIntensity(),
    "Compose": vx.Compose([vx.CropOrPad(4), vx.Flip(1)]),
}


@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize("within", ["alone", "dict"])
def test_transforms_of_meta_tensors(name, within):
    """As of images; the metadata goes along."""
    transform, tensor = TRANSFORMS[name], image(age=7).to_monai()
    before = tensor.clone()
    expected = transform(image())
    if within == "dict":
        transform = type(transform)(**vars_of(name), include=["t1"])
        found = transform({"t1": tensor})["t1"]
    else:
        found = transform(tensor)
    assert isinstance(found, monai.MetaTensor)
    np.testing.assert_array_equal(found.affine.numpy(), expected.affine)
    np.testing.assert_array_equal(found.as_tensor().numpy(), expected.numpy())
    assert found.meta["age"] == 7
    assert tuple(found.meta["spatial_shape"]) == expected.spatial_shape
    torch.testing.assert_close(tensor, before, rtol=0, atol=0)
    np.testing.assert_array_equal(tensor.affine.numpy(), AFFINE)


def vars_of(name):
    return {
        "Flip": {"axes": 0},
        "Crop": {"cropping": (1, 0, 2, 0, 0, 3)},
        "Resample": {"target": 2},
        "RescaleIntensity": {},
        "ToCanonical": {},
        "Compose": {"transforms": [vx.CropOrPad(4), vx.Flip(1)]},
    }[name]


def test_voxels_that_say_they_are_elsewhere_are_refused():
    given = image()
    moved = transforms.Flip(0)(given.to_monai())
    with pytest.raises(vx.GridError, match="another affine") as error:
        given.set_data(moved)
    assert error.value.code == "GRID_MISMATCH"
    given.set_data(moved.as_tensor())
    given.set_data(given.to_monai() * 2)  # where it was
    given.set_data(monai.MetaTensor(torch.rand(2, 5, 6, 7)))  # says nothing
    np.testing.assert_array_equal(given.affine, AFFINE)


@pytest.mark.parametrize(
    "transform",
    [
        transforms.Flip(0),
        transforms.Rotate90(1, (0, 2)),
        transforms.Orientation("LPI", labels=None),
        transforms.Spacing((2.0, 1.5, 1.0)),
        transforms.SpatialCrop(roi_start=(1, 2, 0), roi_end=(4, 5, 6)),
        transforms.SpatialPad((8, 9, 10)),
        transforms.CenterSpatialCrop((3, 3, 3)),
    ],
    ids=lambda transform: type(transform).__name__,
)
def test_round_trip_through_spatial_transforms(transform):
    """A field of world coordinates: what comes back says where it is."""
    index = np.indices((5, 6, 7)).reshape(3, -1)
    world = (AFFINE[:3, :3] @ index + AFFINE[:3, 3:]).reshape(3, 5, 6, 7)
    field = vx.ScalarImage(tensor=world, affine=AFFINE)
    back = vx.ScalarImage(tensor=transform(field.to_monai()))
    index = np.indices(back.spatial_shape).reshape(3, -1)
    expected = (back.affine[:3, :3] @ index + back.affine[:3, 3:]).reshape(3, -1)
    found = back.numpy().reshape(3, -1)
    low, high = world.min((1, 2, 3)) + 1e-3, world.max((1, 2, 3)) - 1e-3
    inside = ((low < expected.T) & (high > expected.T)).all(1) & (found != 0).all(0)
    if type(transform).__name__ == "Spacing":  # rounds, and repeats the border
        source = np.linalg.inv(AFFINE)
        voxel = source[:3, :3] @ expected + source[:3, 3:]
        inside &= ((voxel.T >= 0) & (voxel.T <= [4, 5, 6])).all(1)
    assert inside.sum() > 20
    np.testing.assert_allclose(found[:, inside], expected[:, inside], atol=1e-3)


def test_lazy_transforms_that_wait_are_not_forgotten():
    tensor = vx.testing.sample((6, 7, 8)).to_monai().float()
    waiting = transforms.Flip(0, lazy=True)(tensor)
    for make in (vx.ScalarImage.from_monai, vx.ToCanonical()):
        with pytest.raises(vx.StateError, match="apply_pending") as caught:
            make(waiting)
        assert caught.value.code == "PENDING_TRANSFORMS"
    applied, _ = transforms.lazy.functional.apply_pending(waiting)
    flipped = vx.ScalarImage.from_monai(applied)
    np.testing.assert_allclose(flipped.numpy(), tensor.numpy()[:, ::-1])


@pytest.mark.filterwarnings("ignore")
def test_an_image_as_monai_loads_it(tmp_path):
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
