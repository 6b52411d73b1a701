"""Transforms of voxels of half precision, and of other types that filters of others do not know."""

from __future__ import annotations

import numpy as np
import pytest

import voxarray as vx

VOXELS = (np.arange(2 * 9 * 9 * 9) % 50).astype("float32").reshape(2, 9, 9, 9)


def oblique():
    affine = np.eye(4)
    affine[:2, :2] = np.array([[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]])
    return vx.ScalarImage(tensor=np.zeros((1, 9, 9, 9), "float32"), affine=affine)


KERNELS = ["nearest", "linear", "bspline", "gaussian", "lanczos", "cubic", "label_gaussian"]
PAD_VALUES = ["minimum", "mean", "otsu", 3]
MODES = ["edge", "wrap", "reflect", "symmetric", "linear_ramp", "constant", "median", "mean"]

TRANSFORMS = [
    *[vx.Resample(oblique(), image_interpolation=kernel) for kernel in KERNELS],
    *[vx.Resample(1.7, image_interpolation=kernel) for kernel in KERNELS],
    vx.Resample(2, antialias=True),
    *[vx.Affine(1.1, 5, 2, default_pad_value=value) for value in PAD_VALUES],
    vx.Blur(2),
    *[vx.Pad(2, mode) for mode in MODES],
    vx.ZNormalization(),
    vx.RescaleIntensity((0, 1), (5, 95)),
]


@pytest.mark.parametrize("transform", TRANSFORMS, ids=repr)
def test_half_precision_is_transformed_as_single_precision_is(transform):
    half = transform(vx.ScalarImage(tensor=VOXELS.astype("float16"))).numpy()
    single = transform(vx.ScalarImage(tensor=VOXELS)).numpy()
    np.testing.assert_allclose(half.astype(float), single, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("dtype", ["bool", "uint16", "uint64", ">i2", ">f4", "float64"])
@pytest.mark.parametrize("value", PAD_VALUES)
def test_pad_values_of_affine_are_found_for_every_type(dtype, value):
    image = vx.ScalarImage(tensor=VOXELS.astype(dtype))
    assert np.isfinite(vx.Affine(1.1, 5, 2, default_pad_value=value)(image).numpy()).all()


@pytest.mark.parametrize("value", PAD_VALUES)
def test_affine_refuses_complex_voxels_by_code(value):
    image = vx.ScalarImage(tensor=VOXELS.astype("complex64"))
    with pytest.raises(vx.UnsupportedError) as error:
        vx.Affine(1.1, 5, 2, default_pad_value=value)(image)
    assert error.value.code == "UNSUPPORTED_DTYPE"
