"""Percentiles are for images with outliers: a few huge voxels must not move those of the rest."""

import numpy as np
import pytest

import voxarray as vx


@pytest.mark.parametrize(
    ("dtype", "outlier"),
    [
        ("float32", 1e9),
        ("float32", 1e22),
        ("float64", -1e20),
        ("int32", 2**31 - 1),
        ("int64", 2**62),
    ],
)
def test_percentiles_beside_one_outlier(dtype, outlier):
    voxels = np.random.default_rng(0).integers(50, 1000, (1, 20, 20, 20)).astype(dtype)
    voxels[0, 3, 3, 3] = outlier
    image = vx.ScalarImage(tensor=voxels)
    percents = [1, 25, 50, 75, 99]
    expected = np.percentile(voxels.astype(np.float64), percents)
    np.testing.assert_allclose(image.statistics().percentiles(percents), expected, rtol=1e-3)
    scaled = vx.RescaleIntensity((0, 1), percentiles=(1, 99))(image).numpy().ravel()
    low, high = expected[0], expected[-1]
    wanted = (np.clip(voxels.astype(np.float64), low, high) - low) / (high - low)
    np.testing.assert_allclose(scaled, wanted.ravel(), atol=2e-3)
