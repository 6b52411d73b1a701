"""Nothing that was given changes: not by a transform, and not by what is done to its result."""

from __future__ import annotations

import copy
import re

import numpy as np
import pytest
import torch
import torchio as tio

import voxarray as vx

SHAPE = 1, 4, 5, 6


class Plus(vx.Transform):
    def apply_transform(self, subject):
        for image in subject.get_images(intensity_only=False):
            image.set_data(image.data + 1)
        return subject


class PlusInPlace(vx.Transform):
    def apply_transform(self, subject):
        for image in subject.get_images(intensity_only=False):
            image.data.add_(1)
        return subject


class NewPlace(vx.Transform):
    def apply_transform(self, subject):
        for image in subject.get_images(intensity_only=False):
            image.affine = np.diag([2, 2, 2, 1])
            image["seen"] = True
            image["list"].append(1)
        subject["visits"].append(1)
        subject["more"] = True
        return subject


def double(subject):
    for image in subject.get_images(intensity_only=False):
        image.set_data(image.data * 2)
    return subject


def loaded(tmp_path):
    return vx.ScalarImage(tensor=torch.ones(SHAPE), list=[])


def of_numpy(tmp_path):
    return vx.ScalarImage(tensor=np.ones(SHAPE, np.float32), list=[])


def of_file(tmp_path):
    vx.ScalarImage(tensor=torch.ones(SHAPE)).save(tmp_path / "a.nii.gz")
    return vx.ScalarImage(tmp_path / "a.nii.gz", list=[])


def of_loaded_file(tmp_path):
    image = of_file(tmp_path)
    image.load()
    return image


def of_archive(tmp_path):
    vx.ScalarImage(tensor=torch.ones(SHAPE)).save(tmp_path / "a.ome.zarr")
    return vx.ScalarImage(tmp_path / "a.ome.zarr", list=[])


def of_dask(tmp_path):
    return vx.ScalarImage(tensor=of_numpy(tmp_path).dask, list=[])


STATES = [loaded, of_numpy, of_file, of_loaded_file, of_archive, of_dask]

CHANGERS = [
    Plus(),
    PlusInPlace(),
    NewPlace(),
    vx.Compose([double]),
    vx.Compose([vx.ToCanonical(), PlusInPlace(), double]),
    vx.Compose([vx.Compose([PlusInPlace()], exclude=["t1"]), PlusInPlace()]),
]


def name_of(transform: object) -> str:
    """The same in every process: the repr of a function holds its address."""
    return re.sub(r"<function (\S+) at 0x[0-9a-f]+>", r"\1", repr(transform))


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("transform", CHANGERS, ids=name_of)
@pytest.mark.parametrize("epochs", [1, 3])
def test_a_transform_of_ones_own_leaves_its_input_as_it_was(tmp_path, state, transform, epochs):
    subject = vx.Subject(t1=state(tmp_path), visits=[])
    image = subject.t1
    was_loaded = "data" in image
    for _ in range(epochs):
        transform(subject).t1.data.mul_(3)
    assert ("data" in image) == was_loaded
    assert image.spacing == (1, 1, 1)
    assert "seen" not in image
    assert image["list"] == subject["visits"] == []
    assert "more" not in subject
    assert subject.t1 is image
    assert (image.data == 1).all()
    assert image.history == vx.Subject(t1=image).t1.history


@pytest.mark.parametrize("state", [one for one in STATES if one is not of_dask])
def test_a_function_may_edit_its_blocks_in_place(tmp_path, state):
    # Of blocks of the user's own graph dask forbids it.
    image = state(tmp_path)
    doubled = vx.Lambda(lambda x: x.map_blocks(lambda block: np.multiply(block, 2, out=block)))
    for _ in range(2):
        assert (doubled(image).data == 2).all()
    assert (image.data == 1).all()


UNCHANGING = [
    vx.ToCanonical(),
    vx.CropOrPad(SHAPE[1:]),
    vx.Crop(1),
    vx.Crop(0),
    vx.Pad(0),
    vx.Flip(0),
    vx.Transpose(),
    vx.Clamp(0, 1),
    vx.Resample(1),
    vx.Lambda(lambda x: x),
    vx.Lambda(lambda x: x[::1]),
    vx.RemapLabels({5: 6}),
    vx.Compose([]),
    vx.Compose([lambda subject: subject]),
]


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("transform", UNCHANGING, ids=name_of)
def test_a_result_never_shares_memory_with_its_input(tmp_path, state, transform):
    image = state(tmp_path)
    for result in (transform(image), transform(vx.Subject(t1=image)).t1):
        result.data.mul_(5)
        assert (image.data == 1).all()
        assert result is not image


@pytest.mark.parametrize("transform", UNCHANGING, ids=name_of)
@pytest.mark.parametrize("kind", ["numpy", "torch", "xarray", "dict"])
def test_a_result_of_arrays_never_shares_memory_either(transform, kind):
    voxels = np.ones(SHAPE, np.float32)
    if kind == "numpy":
        transform(voxels)[...] = 5
    elif kind == "torch":
        transform(torch.from_numpy(voxels)).mul_(5)
    elif kind == "xarray":
        from voxarray.xarray_index.attach import attach

        transform(attach(voxels, np.eye(4))).compute().values[...] = 5
    else:
        given = {"t1": voxels, "other": np.ones(3)}
        named = copy.copy(transform)
        named.include = ["t1"]
        result = named(given)
        result["t1"][...] = 5
        result["other"][...] = 5
        assert (given["other"] == 1).all()
    assert (voxels == 1).all()


@pytest.mark.parametrize("state", STATES)
def test_a_slice_never_shares_memory_with_its_image(tmp_path, state):
    image = state(tmp_path)
    for part in (image[1:3], image[::-1], image[...], image[:, ::2, -1], image.compute()):
        part.data.mul_(5)
        assert (image.data == 1).all()
    for part in (image.compute(), image[1:3], image[...]):
        part.to_tensor().mul_(5)
        part.array.compute().values[...] = 5
        assert (image.data == 1).all()


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("copies", [True, False])
@pytest.mark.parametrize("transform", [Plus, PlusInPlace])
def test_keep_holds_the_image_as_it_was(tmp_path, state, copies, transform):
    subject = vx.Subject(t1=state(tmp_path))
    for composed in (False, True):
        keeping = transform(keep={"t1": "before"}, copy=copies)
        result = (vx.Compose([keeping], copy=copies) if composed else keeping)(subject)
        before = float(result["before"].data.max())
        assert result.t1.data.max() == before + 1
        assert before == (1 if copies or not composed else 2)


def test_without_a_copy_the_input_changes():
    image = vx.ScalarImage(tensor=torch.ones(SHAPE))
    assert PlusInPlace(copy=False)(image) is image
    assert (image.data == 2).all()


def test_a_loaded_image_is_copied_on_its_own_device_and_in_its_own_type():
    image = vx.ScalarImage(tensor=torch.ones(SHAPE, dtype=torch.bfloat16))
    result = vx.Compose([])(image)
    assert result.data.dtype == torch.bfloat16
    assert result.data.data_ptr() != image.data.data_ptr()


@pytest.mark.parametrize("transform", ["ToCanonical", "CropOrPad", "Clamp", "Compose"])
def test_torchio_shares_nothing_either(transform):
    arguments = {"CropOrPad": [SHAPE[1:]], "Clamp": [0, 1], "Compose": [[lambda s: s]]}
    theirs = tio.Subject(t1=tio.ScalarImage(tensor=torch.ones(SHAPE)))
    getattr(tio, transform)(*arguments.get(transform, []))(theirs).t1.data.mul_(5)
    assert (theirs.t1.data == 1).all()
    theirs.t1[1:3].data.mul_(5)
    assert (theirs.t1.data == 1).all()


def test_a_transform_called_in_a_way_of_its_own_is_called_so_in_compose():
    class Never(vx.Transform):
        def __call__(self, data):
            return data

    image = vx.ScalarImage(tensor=torch.ones(SHAPE))
    assert (vx.Compose([Never()])(image).data == 1).all()
