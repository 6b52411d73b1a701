"""What transforms say of arguments of other types than theirs: the argument, and what it may be."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import voxarray as vx
from voxarray.core.errors import GridError


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: vx.Pad(1.5), ValueError, "whole numbers of at least 0, not 1.5"),
        (lambda: vx.Pad(None), ValueError, "whole numbers of at least 0, not None"),
        (lambda: vx.Crop(1.5), ValueError, "whole numbers of at least 0, not 1.5"),
        (lambda: vx.RemoveLabels(1), TypeError, r"such as \[1, 2\], not 1"),
        (lambda: vx.RemoveLabels("12"), TypeError, r"such as \[1, 2\], not '12'"),
        (lambda: vx.RemapLabels(None), TypeError, r"such as {1: 7}, not None"),
        (lambda: vx.RemapLabels([(1, 2)]), TypeError, r"a dict from old labels to new ones"),
        (lambda: vx.Clamp("a"), ValueError, "a bound is a number or None, not 'a'"),
        (lambda: vx.Clamp("a", "b"), ValueError, "a bound is a number or None, not 'a'"),
        (lambda: vx.OneHot("a"), ValueError, "num_classes is positive and whole"),
        (lambda: vx.OneHot(2.5), ValueError, "num_classes is positive and whole"),
        (lambda: vx.OneHot(float("nan")), ValueError, "num_classes is positive and whole"),
        (lambda: vx.Compose(3), TypeError, r"a list or a dict, such as \[vx.ToCanonical"),
        (lambda: vx.Compose("Pad"), TypeError, r"a list or a dict, such as \[vx.ToCanonical"),
        (lambda: vx.Resize("a"), ValueError, "target_shape is one positive whole number"),
        (lambda: vx.Resize(float("inf")), ValueError, "target_shape is one positive whole number"),
        (lambda: vx.Resample((1, 2)), GridError, "a spacing is one number or three, in mm"),
        (
            lambda: vx.Resample(((10.7, 9, 8), np.eye(4))),
            GridError,
            "a grid must have whole numbers of voxels",
        ),
    ],
)
def test_what_is_wrong_is_said(make, error, text):
    with pytest.raises(error, match=text):
        make()


def test_whole_numbers_of_other_types_are_taken():
    assert vx.OneHot(np.int64(3)).num_classes == vx.OneHot(3.0).num_classes == 3
    assert vx.Pad(np.array([1, 2, 3])).bounds_parameters == (1, 1, 2, 2, 3, 3)
    assert vx.Resize(np.array([4.0, 5, -1])).target_shape == (4, 5, -1)
    assert vx.Resample(((10.0, 9, 8), np.eye(4))).target.shape == (10, 9, 8)


def test_a_target_shape_in_three_arguments_is_explained():
    with pytest.raises(ValueError, match=r"not 80: a target shape is one argument, CropOrPad\(\("):
        vx.CropOrPad(80, 96, 80)


@pytest.mark.parametrize("function", [lambda x: x.float(), lambda x: torch.log1p(x)])
def test_a_function_of_tensors_is_told_what_lambda_gives(function):
    with pytest.raises((AttributeError, TypeError)) as caught:
        vx.Lambda(function)(vx.testing.sample())
    (note,) = caught.value.__notes__
    assert "a lazy dask array (C, W, H, D), not a tensor: for x.float() write x.astype(" in note
