"""Operators on images: one answer that says what to write, whatever stands on the other side."""

from __future__ import annotations

import operator

import numpy as np
import pytest
import torch

import voxarray as vx

BINARY = [
    *("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and_", "xor"),
    *("lshift", "rshift", "lt", "le", "gt", "ge"),
]
OTHERS = {
    "int": 2,
    "float": 0.5,
    "numpy": np.float32(2),
    "array": np.ones(3),
    "image": vx.LabelMap(tensor=np.ones((1, 2, 2, 2), "uint8")),
}


@pytest.fixture
def image():
    return vx.ScalarImage(tensor=np.full((1, 2, 2, 2), 200, "uint8"))


@pytest.mark.parametrize("name", BINARY)
@pytest.mark.parametrize("other", OTHERS)
def test_both_sides_of_an_operator_are_answered(image, name, other):
    function = getattr(operator, name)
    for left, right in ((image, OTHERS[other]), (OTHERS[other], image)):
        with pytest.raises(vx.OperatorError, match=r"image\.array\.astype.*vx\.Lambda") as caught:
            function(left, right)
        assert caught.value.code == "NO_ARITHMETIC"
        assert isinstance(caught.value, TypeError)


@pytest.mark.parametrize("name", ["neg", "pos", "abs", "invert"])
def test_signs_are_answered(image, name):
    with pytest.raises(vx.OperatorError):
        getattr(operator, name)(image)


def test_what_the_message_says_works(image):
    doubled = vx.ScalarImage(tensor=image.array.astype("float32") * 2 + 1)
    assert doubled.data.unique().tolist() == [401]
    assert vx.Lambda(lambda x: x.astype("float32") * 2 + 1)(image).data.unique().tolist() == [401]


def test_functions_equality_and_dicts_are_as_before(image):
    np.testing.assert_array_equal(np.sqrt(image), np.sqrt(image.numpy()))
    assert torch.as_tensor(np.asarray(image)).shape == (1, 2, 2, 2)
    assert image == image.copy()
    assert (image | {"site": "B"})["site"] == "B"
