"""Percentiles are for images with outliers: a few huge voxels must not move those of the rest."""

import numpy as np
import pytest

import voxarray as vx
from voxarray.archive.source import open_archive
from voxarray.counting.tally import CentredMeasures
from voxarray.source import pieces as module
from voxarray.statistics import passes

PERCENTS = [0, 0.5, 1, 10, 25, 50, 75, 90, 99, 99.5, 100]


@pytest.mark.parametrize(
    ("dtype", "outlier"),
    [
        ("float32", 1e9),
        ("float32", 1e22),
        ("float32", np.finfo("float32").max),
        ("float32", np.finfo("float32").min),
        ("float64", -1e20),
        ("float64", 1e40),
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


def test_a_background_of_the_largest_number_beside_fractions():
    rng = np.random.default_rng(0)
    voxels = rng.normal(0.5, 0.1, (1, 20, 20, 20)).astype("float32")
    voxels[:, :5] = np.finfo("float32").max
    voxels[:, 5:9] *= 1e-6
    found = vx.ScalarImage(tensor=voxels).statistics()
    percents = [1, 10, 20, 30, 50, 74]
    expected = np.percentile(voxels, percents)
    np.testing.assert_allclose(found.percentiles(percents), expected, rtol=2**-10)


# --- Values that are far from 0 and near one another ----------------------------------------------


@pytest.mark.parametrize("offset", [-123.2e6, 310.0, 123.2e6])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "int64"])
@pytest.mark.parametrize("masked", [False, True])
def test_values_far_from_zero(dtype, offset, masked):
    """Their percentiles are right relative to how far they lie apart, not to how large they are."""
    rng = np.random.default_rng(0)
    spread = 1e-3 if offset == 310.0 and dtype[0] == "f" else 100
    voxels = (offset + spread * rng.normal(size=(1, 20, 20, 20))).astype(dtype)
    mask = rng.random(voxels.shape) < 0.3
    chosen = (voxels[mask] if masked else voxels.ravel()).astype(float)
    label = vx.LabelMap(tensor=mask.astype("uint8")) if masked else None
    found = vx.ScalarImage(tensor=voxels).statistics(mask=label)
    within = max(2.0**-12 * chosen.std(), float(np.spacing(voxels.max())))
    np.testing.assert_allclose(
        found.percentiles(PERCENTS), np.percentile(chosen, PERCENTS), rtol=0, atol=within
    )
    counts, edges = np.histogram(chosen, 5)
    histogram = found.histogram(5)
    np.testing.assert_allclose(histogram.edges, edges)
    if dtype != "float32":  # whose values are so coarse here that edges of bins meet them
        assert np.abs(histogram.counts - counts).max() <= 0.01 * chosen.size
    assert histogram.counts.sum() == found.count == chosen.size


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32"])
def test_the_second_pass_needs_no_more_memory_than_the_first(dtype, monkeypatch):
    """Or it would be refused after all was read: of a projection everything is said before."""
    asked = []
    monkeypatch.setattr(module, "require", lambda needed, *_: asked.append(needed))
    voxels = (123.2e6 + np.random.default_rng(0).normal(0, 100, (1, 64, 64, 64))).astype(dtype)
    median = vx.ScalarImage(tensor=voxels).statistics().median
    assert median == pytest.approx(np.median(voxels), abs=1)
    first, second = asked
    assert second <= first


def test_background_of_an_archive_far_from_zero(tmp_path):
    """Chunks that are not stored are zeros, and count by their distance from the mean, too."""
    voxels = np.full((1, 128, 64, 64), 1000, "float16")
    voxels[0, :32] += 0.5
    voxels[0, 64:] = 0
    vx.ScalarImage(tensor=voxels).save(tmp_path / "a.ome.zarr", chunks=64)
    archive = open_archive(tmp_path / "a.ome.zarr")
    found = passes.count(archive, lambda: CentredMeasures(1000.0, 0.5))
    low, high, counts = found.sketch.intervals()
    assert counts.tolist() == [64**3, 64**3 // 2, 64**3 // 2]
    assert np.all((low <= [-2000, 0, 1]) & (high >= [-2000, 0, 1]))


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32"])
def test_labels_far_from_zero(dtype):
    """Each label has a mean of its own; what is near 0 is counted once."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, (1, 20, 20, 20)).astype("uint8")
    middles = np.array([0, 123.2e6, -5e5])
    voxels = (middles[labels] + 100 * rng.normal(size=labels.shape)).astype(dtype)
    if dtype[0] == "f":
        voxels[0, :2, 0, 0] = np.nan, np.inf
    image = vx.ScalarImage(tensor=voxels)
    found = image.statistics_by_label(vx.LabelMap(tensor=labels))
    assert list(found) == [0, 1, 2]
    for label, one in found.items():
        chosen = voxels[labels == label].astype(float)
        finite = chosen[np.isfinite(chosen)]
        within = max(
            2.0**-10 * finite.std(), float(np.spacing(np.abs(voxels[labels == label][-1])))
        )
        np.testing.assert_allclose(
            one.percentiles(PERCENTS), np.percentile(finite, PERCENTS), rtol=0, atol=within
        )
        assert (one.count, one.not_finite) == (finite.size, chosen.size - finite.size)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("outliers", [[1e300], [-1e300], [1e300, 1e200, 1e100], [1.5e-80, 1e250]])
def test_percentiles_beside_values_that_are_larger_by_hundreds_of_powers(outliers, sign):
    """No bins reach so far: small values are counted again, by themselves."""
    voxels = np.random.default_rng(0).uniform(0.001, 1, (1, 20, 20, 20)) * sign
    voxels[0, :2] = 0
    voxels[0, 3, 3, : len(outliers)] = outliers
    image = vx.ScalarImage(tensor=voxels)
    percents = [0, 1, 12, 25, 50, 75, 98, 100]
    expected = np.percentile(voxels, percents)
    np.testing.assert_allclose(image.statistics().percentiles(percents), expected, rtol=1e-3)
    mask = vx.LabelMap(tensor=np.ones((1, 20, 20, 20), np.uint8))
    for found in (image.statistics(mask=mask), image.statistics_by_label(mask)[1]):
        np.testing.assert_allclose(found.percentiles(percents), expected, rtol=1e-3)
        assert found.count == voxels.size


def test_tiny_values_of_float32_beside_its_largest():
    voxels = np.random.default_rng(0).uniform(1e-20, 1e-12, (1, 20, 20, 20)).astype(np.float32)
    voxels[0, 3, 3, 3] = np.finfo(np.float32).min
    percents = [1, 25, 50, 75, 99]
    found = vx.ScalarImage(tensor=voxels).statistics().percentiles(percents)
    np.testing.assert_allclose(found, np.percentile(voxels, percents), rtol=1e-3)
