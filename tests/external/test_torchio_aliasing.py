"""Side by side with TorchIO 1.2.1: what a transform leaves of its input, and what it shares.

TorchIO copies what a transform is given. So nothing that is done to a result, in either package,
may be seen in what it was made from; and what both make of the same input is of one shape.
"""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

import voxarray as vx

tio = pytest.importorskip("torchio", "1.2.1")

AFFINE = np.array([[-1.0, 0, 0, 20], [0, 0, 1.5, -8], [0, 2, 0, 5], [0, 0, 0, 1]])

PAIRS = {
    "ToCanonical": {},
    "Clamp": {"out_min": 0.2, "out_max": 0.8},
    "CropOrPad": {"target_shape": (7, 8, 9)},
    "CropOrPad to its size": {"target_shape": (8, 9, 10)},
    "Crop": {"cropping": (1, 0, 2, 0, 0, 3)},
    "Pad": {"padding": (1, 0, 2, 0, 0, 3)},
    "Resample": {"target": 1.0},
    "RescaleIntensity": {"out_min_max": (0, 1)},
    "ZNormalization": {},
    "EnsureShapeMultiple": {"target_multiple": 4},
    "OneHot": {"num_classes": 4},
    "RemapLabels": {"remapping": {1: 2}},
    "SequentialLabels": {},
    "KeepLargestComponent": {},
    "Mask": {"masking_method": "seg"},
}


def made(package):
    generator = torch.Generator().manual_seed(0)
    return package.Subject(
        t1=package.ScalarImage(
            tensor=torch.rand(1, 8, 9, 10, generator=generator), affine=AFFINE.copy(), site="A"
        ),
        seg=package.LabelMap(
            tensor=torch.randint(0, 4, (1, 8, 9, 10), generator=generator).short(),
            affine=AFFINE.copy(),
        ),
        age=40,
        scores=[1, 2],
    )


def state(subject):
    return {
        name: (image.data.clone(), np.array(image.affine), sorted(image))
        for name, image in subject.get_images_dict(intensity_only=False).items()
    } | {"keys": sorted(subject), "age": subject["age"], "scores": list(subject["scores"])}


def require_same(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        if isinstance(value, tuple):
            torch.testing.assert_close(found[name][0], value[0], rtol=0, atol=0)
            np.testing.assert_array_equal(found[name][1], value[1])
            assert found[name][2] == value[2]
        else:
            assert found[name] == value


def vandalised(subject):
    """Everything that a user may do to a result."""
    for image in subject.get_images(intensity_only=False):
        image.data.add_(1)
        image["seen"] = True
        image.affine = np.eye(4) * [5, 5, 5, 1]
    subject["age"] = 0
    subject["more"] = 1


@pytest.mark.parametrize("package", [tio, vx], ids=["torchio", "voxarray"])
@pytest.mark.parametrize("name", PAIRS)
def test_nothing_done_to_a_result_reaches_its_input(package, name):
    kind = getattr(package, name.split()[0], None)
    if kind is None:
        pytest.skip(f"{package.__name__} has no {name}")
    given = made(package)
    before = state(given)
    result = kind(**PAIRS[name])(given)
    require_same(state(given), before)
    vandalised(result)
    require_same(state(given), before)
    given.t1.data.zero_()  # and the other way round
    assert float(result.t1.data.abs().max()) > 0


@pytest.mark.parametrize("name", PAIRS)
def test_shapes_are_torchios(name):
    kinds = [getattr(package, name.split()[0], None) for package in (tio, vx)]
    if None in kinds:
        pytest.skip("not in both")
    theirs, ours = (
        kind(**PAIRS[name])(made(package)) for kind, package in zip(kinds, (tio, vx), strict=True)
    )
    for key in ("t1", "seg"):
        assert tuple(ours[key].shape) == tuple(theirs[key].shape)
        np.testing.assert_allclose(ours[key].affine, theirs[key].affine, atol=1e-6)


def own_transforms(package):
    class Changing(package.Transform):
        """A transform as users write them: it changes what it is handed."""

        def apply_transform(self, subject):
            for image in subject.get_images():
                image.set_data(image.data + 1)
                image["seen"] = True
            return subject

    def changing(subject):
        for image in subject.get_images():
            image.set_data(image.data * 2)
        return subject

    return {
        "class": Changing(),
        "function in Compose": package.Compose([changing]),
        "nested Compose": package.Compose([package.Compose([Changing()]), Changing()]),
        "Lambda": package.Lambda(lambda data: data * 2),
    }


@pytest.mark.parametrize("name", ["class", "function in Compose", "nested Compose", "Lambda"])
def test_transforms_of_ones_own(name):
    """They change what they are handed, and nobody else's; the results are TorchIO's."""
    results = []
    for package in (tio, vx):
        given = made(package)
        before = state(given)
        results.append(own_transforms(package)[name](given))
        require_same(state(given), before)
    torch.testing.assert_close(results[1].t1.data, results[0].t1.data)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_copies(copied):
    """A copy of an image or a subject is as independent as TorchIO's."""
    for package in (tio, vx):
        given = made(package)
        before = state(given)
        vandalised(copied(given)) if copied is copy.deepcopy else copied(given).update(age=1)
        require_same(state(given), before)
        image = copied(given.t1)
        image["seen"] = True
        image.affine = np.eye(4)
        require_same(state(given), before)
