"""Statistics of images, against NumPy on the whole volume."""

from __future__ import annotations

import pickle

import dask
import dask.array as da
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as hnp

import voxarray as vx
from voxarray.archive.convert import convert
from voxarray.archive.options import Options
from voxarray.source.array import ArraySource
from voxarray.statistics import cache
from voxarray.statistics.measure import statistics_of
from voxarray.testing.counting import count_reads
from voxarray.testing.peak_memory import can_measure, peak_above_imports

PERCENTS = [0, 0.5, 1, 10, 25, 50, 75, 90, 99, 99.5, 100]
TYPES = ["bool", "u1", "i1", "u2", "i2", "i4", "u4", "i8", "u8", "f2", "f4", "f8"]
SHAPES = st.tuples(*[st.integers(1, 5)] * 4)


@pytest.fixture(autouse=True)
def _nothing_remembered():
    cache.forget()


def image_of(array, affine=None):
    return vx.ScalarImage(tensor=array, affine=affine)


def check(found, values):
    """Compare with NumPy; percentiles to what is promised of them."""
    wide = values.astype(np.float64).ravel()
    finite = wide[np.isfinite(wide)]
    assert (found.count, found.not_finite) == (finite.size, wide.size - finite.size)
    if not finite.size:
        assert np.isnan([found.mean, found.std, found.minimum, found.median]).all()
        return
    scale = np.abs(finite).max()
    assert (found.minimum, found.maximum) == (finite.min(), finite.max())
    np.testing.assert_allclose(found.mean, finite.mean(), rtol=1e-12, atol=1e-12 * scale)
    np.testing.assert_allclose(found.std, finite.std(), rtol=1e-9, atol=1e-8 * scale)
    if finite.size > 1:
        np.testing.assert_allclose(
            found.sample_std, finite.std(ddof=1), rtol=1e-9, atol=1e-8 * scale
        )
    expected = np.percentile(finite, PERCENTS)
    error = np.abs(found.percentiles(PERCENTS) - expected)
    # Between two values of the sorted sequence both ends may be wrong.
    low = np.percentile(finite, PERCENTS, method="lower")
    high = np.percentile(finite, PERCENTS, method="higher")
    size = np.maximum(np.abs(low), np.abs(high))
    approximate = np.maximum(2.0**-16 * size, 2.0**-23 * max(scale, 2.0**-100))
    assert (error <= (1e-12 * scale if found.exact else approximate)).all()


@given(st.data(), st.sampled_from(TYPES))
def test_any_numbers(data, dtype):
    small = st.floats(-(2.0**99), 2.0**99, width=32) if dtype in ("f4", "f8") else None
    array = data.draw(hnp.arrays(dtype, SHAPES, elements=small))
    with np.errstate(all="ignore"):
        check(statistics_of(ArraySource(array, np.eye(4))), array)


@pytest.mark.parametrize("dtype", ["i2", "u2", "i4", "f4", "f8"])
def test_scans(dtype):
    voxels = np.random.default_rng(0).normal(400, 300, (2, 64, 63, 62)).astype(dtype)
    found = image_of(voxels).statistics()
    check(found, voxels)
    assert found.exact == (dtype[0] != "f")
    # Far better than promised where values are many.
    expected = np.percentile(voxels.astype(float), PERCENTS)
    np.testing.assert_allclose(found.percentiles(PERCENTS), expected, rtol=1e-5)
    counts, edges = np.histogram(voxels, 7)
    histogram = found.histogram(7)
    np.testing.assert_allclose(histogram.edges, edges, rtol=1e-5)
    assert np.abs(histogram.counts - counts).max() <= (0 if found.exact else 10)


def test_values_that_are_no_numbers():
    voxels = np.array([np.nan, np.inf, -np.inf, 1, 2, 3, 6, 8], "f4").reshape(1, 2, 2, 2)
    found = image_of(voxels).statistics()
    check(found, voxels)
    assert found.as_dict() == {1: 1, 2: 1, 3: 1, 6: 1, 8: 1}
    check(image_of(np.full((1, 2, 2, 2), np.nan)).statistics(), np.full(8, np.nan))
    with pytest.raises(vx.UnsupportedError, match="no order"):
        image_of(np.zeros((1, 2, 2, 2), complex)).statistics()


def test_mistakes():
    found = image_of(np.random.default_rng(0).random((1, 3, 3, 3))).statistics()
    with pytest.raises(ValueError, match="between 0 and 100"):
        found.percentile(101)
    with pytest.raises(vx.StateError, match="intervals of values") as error:
        found.as_dict()
    assert error.value.code == "NOT_EXACT"


def test_text():
    text = repr(image_of(np.arange(8, dtype="i2").reshape(1, 2, 2, 2)).statistics())
    assert text.startswith("Statistics(count: 8; mean: 3.5; std: 2.29129; minimum: 0; median: 3.5")
    assert text.endswith("not_finite: 0; exact: True)")


# --- Masks and labels ---------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["i2", "f4"])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".ome.zarr"])
def test_masks(tmp_path, dtype, suffix):
    rng = np.random.default_rng(0)
    voxels = rng.normal(0, 300, (2, 20, 21, 22)).astype(dtype)
    for channels in (1, 2):
        inside = rng.integers(0, 3, (channels, 20, 21, 22)).astype("u1")
        image_of(voxels).save(tmp_path / f"a{channels}{suffix}")
        vx.LabelMap(tensor=inside).save(tmp_path / f"m{channels}{suffix}")
        image = vx.ScalarImage(tmp_path / f"a{channels}{suffix}")
        mask = vx.LabelMap(tmp_path / f"m{channels}{suffix}")
        whole = np.broadcast_to(inside, voxels.shape)
        check(image.statistics(mask), voxels[whole != 0])
        part = slice(None), slice(2, 9), slice(None, None, -2), slice(None)
        check(image[part].statistics(mask[part]), voxels[part][whole[part] != 0])
        by_label = image.statistics_by_label(mask)
        assert list(by_label) == [0, 1, 2]
        for label, found in by_label.items():
            check(found, voxels[whole == label])
        assert "data" not in image


@pytest.mark.parametrize("given", [np.ones((1, 8, 8, 8)), "seg.nii", {}, len])
def test_a_mask_that_is_no_image(given):
    image = vx.testing.sample((8, 8, 8))
    with pytest.raises(TypeError, match=r"^mask= takes an image, not .*vx\.LabelMap\("):
        image.statistics(mask=given)
    with pytest.raises(TypeError, match=r"^labels= takes an image, not .*vx\.LabelMap\("):
        image.statistics_by_label(given)


def test_masks_of_other_grids():
    image = image_of(np.zeros((3, 4, 4, 4)))
    for mask in (
        image_of(np.zeros((1, 4, 4, 5))),
        image_of(np.zeros((2, 4, 4, 4))),
        image_of(np.zeros((1, 4, 4, 4)), np.diag([1, 1, 2, 1.0])),
    ):
        for measure in (image.statistics, image.statistics_by_label):
            with pytest.raises(vx.GridError, match="the mask has") as error:
                measure(mask)
            assert error.value.code == "MASK_MISMATCH"
    empty = image.statistics(image_of(np.zeros((1, 4, 4, 4))))
    assert (empty.count, len(empty.counts)) == (0, 0)


def test_labels_of_any_type(monkeypatch):
    rng = np.random.default_rng(0)
    voxels = rng.random((1, 9, 8, 7))
    labels = rng.choice([-2, 0, 70000], voxels.shape)
    for dtype in ("i4", "f4", "f8"):
        found = image_of(voxels).statistics_by_label(vx.LabelMap(tensor=labels.astype(dtype)))
        assert [(type(k), k) for k in found] == [(int, -2), (int, 0), (int, 70000)]
        for label, one in found.items():
            check(one, voxels[labels == label])
    odd = np.resize([np.nan, np.inf, 0.5], voxels.shape)
    assert list(image_of(voxels).statistics_by_label(image_of(odd))) == [0.5, np.inf]
    monkeypatch.setattr("voxarray.statistics.statistics_by_label.MAX_LABELS", 100)
    with pytest.raises(vx.UnsupportedError, match="not labels"):
        image_of(voxels).statistics_by_label(image_of(rng.random(voxels.shape)))


# --- Files and archives -------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["i2", "u1", "f4"])
def test_archives(tmp_path, dtype):
    rng = np.random.default_rng(0)
    voxels = rng.integers(0, 200, (2, 50, 41, 37)).astype(dtype)
    voxels[:, :20] = 0  # chunks that are left out
    convert(ArraySource(voxels, np.eye(4)), tmp_path / "a.ome.zarr", options=Options(chunk=16))
    image = vx.ScalarImage(tmp_path / "a.ome.zarr")
    check(image.statistics(), voxels)
    key = (slice(1, None), slice(40, 3, -3), slice(5, 6), slice(None, None, 2))
    check(image[key].statistics(), voxels[key])
    with dask.config.set({"voxarray.threads": 1}):
        check(image[:, 1:].statistics(), voxels[:, :, 1:])


def test_scaled_archives(tmp_path):
    from nibabel import Nifti1Image, save

    stored = np.random.default_rng(0).integers(-99, 99, (40, 30, 20)).astype("i2")
    scan = Nifti1Image(stored, np.eye(4))
    scan.header.set_slope_inter(0.37, 2)
    save(scan, tmp_path / "a.nii")
    raw = bytearray((tmp_path / "a.nii").read_bytes())
    raw[112:120] = np.array([0.37, 2], "<f4").tobytes()
    (tmp_path / "a.nii").write_bytes(raw)
    image = vx.ScalarImage(tmp_path / "a.nii")
    assert image.source.scaling is not None
    image.save(tmp_path / "a.ome.zarr")
    archived = vx.ScalarImage(tmp_path / "a.ome.zarr")
    labels = vx.LabelMap(tensor=(stored[None] > 0).astype("u1"), affine=image.affine)
    for one in (image, archived):
        found = one.statistics()
        assert found.exact
        voxels = vx.ScalarImage(one.path).numpy()
        check(found, voxels)
        for label, part in one.statistics_by_label(labels).items():
            check(part, voxels[labels.numpy() == label])


def test_damage_is_noticed(tmp_path):
    voxels = np.random.default_rng(0).integers(0, 200, (1, 64, 64, 64)).astype("i2")
    image_of(voxels).save(tmp_path / "a.ome.zarr")
    shard = next((tmp_path / "a.ome.zarr" / "scale0" / "image" / "c").rglob("[0-9]"))
    shard = next(path for path in sorted(shard.parent.rglob("*")) if path.is_file())
    raw = bytearray(shard.read_bytes())
    raw[100] ^= 1
    shard.write_bytes(raw)
    with pytest.raises(vx.ChecksumError):
        vx.ScalarImage(tmp_path / "a.ome.zarr").statistics()


# --- One pass, remembered -----------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["i2", "f4"])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".ome.zarr"])
def test_one_pass_is_remembered(tmp_path, dtype, suffix):
    voxels = np.random.default_rng(0).normal(0, 300, (1, 20, 21, 22)).astype(dtype)
    image_of(voxels).save(tmp_path / f"a{suffix}")
    image = vx.ScalarImage(tmp_path / f"a{suffix}")
    with count_reads() as reads:
        image.statistics()
        assert reads.voxels == voxels.size
        image.copy().statistics().percentile(3)
        pickle.loads(pickle.dumps(image)).statistics()
        vx.ScalarImage(image.path).statistics()
        if dtype == "i2":
            image.hist(show=False)
            vx.LabelMap(image.path).count_labels()
        assert reads.voxels == voxels.size
        image[1:].statistics()
        assert reads.voxels > voxels.size


def test_a_file_that_changed_is_read_again(tmp_path):
    image_of(np.zeros((1, 4, 4, 4), "i2")).save(tmp_path / "a.nii")
    assert vx.ScalarImage(tmp_path / "a.nii").statistics().maximum == 0
    image_of(np.ones((1, 4, 4, 4), "i2")).save(tmp_path / "a.nii")
    assert vx.ScalarImage(tmp_path / "a.nii").statistics().maximum == 1


def test_arrays_that_change():
    voxels = np.zeros((1, 4, 4, 4), "f4")
    image = image_of(voxels)
    lazy = image_of(da.from_array(voxels, chunks=2))
    derived = vx.ScalarImage.from_xarray(image.array)
    both = vx.ScalarImage(tensor=image.array + 1)
    for one, expected in ((image, 0), (lazy, 0), (derived, 0), (both, 1)):
        assert one.statistics().maximum == expected
    voxels[...] = 7
    image.data[0, 0, 0, 0] = 9
    assert image.statistics().maximum == 9
    assert image.source[1:].base is not None
    assert derived.statistics().maximum == 9
    assert both.statistics().maximum == 10


def test_what_is_remembered_is_bounded(tmp_path, monkeypatch):
    image_of(np.arange(1000, dtype="i2").reshape(1, 10, 10, 10)).save(tmp_path / "a.nii")
    image = vx.ScalarImage(tmp_path / "a.nii")
    monkeypatch.setattr(cache, "LIMIT_BYTES", 60000)
    with count_reads() as reads:
        for start in range(8):
            image[start:].statistics()
        read = reads.voxels
        image[7:].statistics()
        assert reads.voxels == read
        image.statistics()
        assert reads.voxels > read
    assert sum(one.nbytes for one in cache._results.values()) <= 60000


@pytest.mark.parametrize("exact", [True, False])
def test_pickled(exact):
    voxels = np.arange(8.0).reshape(1, 2, 2, 2) * (1 if exact else 0.1)
    found = image_of(voxels).statistics()
    again = pickle.loads(pickle.dumps(found))
    assert again.exact is exact
    assert repr(again) == repr(found)


@given(
    hnp.arrays(st.sampled_from(["i2", "f4"]), st.integers(1, 60), elements=st.integers(-999, 999)),
    st.booleans(),
)
def test_through_a_function(array, scaled):
    array = array.astype("f4") / 7 if scaled and array.dtype.kind == "f" else array

    def function(values):
        return np.clip(values.astype("f4") * 0.3, -20, 55)

    source = ArraySource(array.reshape(1, 1, 1, -1), np.eye(4))
    found = statistics_of(source).through(function, array.dtype)
    expected = function(array).astype(float)
    check_mean = 1e-12 if found.exact else 2.0**-16
    np.testing.assert_allclose(found.mean, expected.mean(), atol=check_mean * 55)
    np.testing.assert_allclose(found.std, expected.std(), atol=max(check_mean, 1e-9) * 55)
    assert (found.minimum, found.maximum) == (expected.min(), expected.max())
    np.testing.assert_allclose(
        found.percentiles(PERCENTS), np.percentile(expected, PERCENTS), atol=2.0**-15 * 55
    )


# --- Memory ---------------------------------------------------------------------------------------

MIB = 1 << 20


@pytest.mark.skipif(not can_measure(), reason="peaks are read from Linux's /proc")
@pytest.mark.parametrize(
    ("dtype", "suffix"),
    [
        ("i2", ".nii"),
        pytest.param("f4", ".nii", marks=pytest.mark.slow),
        ("i2", ".ome.zarr"),
        pytest.param("f4", ".ome.zarr", marks=pytest.mark.slow),
        pytest.param("f8", ".nii", marks=pytest.mark.slow),
    ],
)
def test_peak(tmp_path, dtype, suffix):
    """A volume four times the budget, of noise over many powers of two."""
    budget = 96 * MIB
    plane = np.random.default_rng(0).normal(0, 999, (512, 512)).astype(dtype)
    depth = 4 * budget // plane.nbytes
    volume = np.broadcast_to(plane[None, :, :, None], (1, 512, 512, depth))
    image_of(volume).save(tmp_path / f"a{suffix}")
    image_of(volume[..., :1]).save(tmp_path / f"tiny{suffix}")
    paths = [str(tmp_path / f"{name}{suffix}") for name in ("tiny", "a")]
    setup = f"""
import voxarray as vx
tiny, image = map(vx.ScalarImage, {paths!r})
tiny.statistics()
"""
    environment = {"DASK_VOXARRAY__MEMORY_BUDGET": str(budget)}
    code = "result = image.statistics().percentile(50)"
    peak = peak_above_imports(setup, code, environment=environment)
    print(f"{dtype} {suffix}: {peak.bytes / MIB:.1f} MiB in {peak.seconds:.2f} s")
    assert peak.result == pytest.approx(np.median(plane), abs=2e-3)
    assert peak.bytes <= budget


def test_numbers_whose_squares_or_sums_are_beyond_all_have_a_mean():
    far = np.repeat([1e200, 0.0], 1 << 16).reshape(1, 32, 64, 64)  # in blocks that are merged
    found = vx.ScalarImage(tensor=far).statistics()
    assert (found.mean, found.std) == (5e199, np.inf)
    largest = np.repeat([1.7e308, -1.7e308, 1.7e308], 1 << 16).reshape(1, 48, 64, 64)
    assert vx.ScalarImage(tensor=largest).statistics().mean == pytest.approx(1.7e308 / 3)


@pytest.mark.filterwarnings("error")
def test_percentiles_between_values_farther_apart_than_the_largest_number():
    voxels = np.repeat([-1.7e308, 1.7e308], 4).reshape(1, 2, 2, 2)
    statistics = vx.ScalarImage(tensor=voxels).statistics()
    expected = [-1.7e308, 0, 1.7e308]
    np.testing.assert_allclose(
        statistics.percentiles([0, 50, 100]) / 1e308, np.array(expected) / 1e308
    )
    assert statistics.percentile(300 / 7) == pytest.approx(-1.7e308)
