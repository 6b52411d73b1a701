"""Counts of values, against NumPy."""

from __future__ import annotations

import dask
import dask.array as da
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra import numpy as hnp

import voxarray as vx
from voxarray.core.errors import UnsupportedError
from voxarray.source.array import ArraySource
from voxarray.statistics import value_counts as module
from voxarray.statistics.value_counts import count_nonzero, count_values
from voxarray.testing.counting import count_reads

TYPES = ["bool", "u1", "i1", "u2", "i2", "i4", "u4", "i8", "u8", "f2", "f4", "f8"]
SHAPES = st.tuples(*[st.integers(1, 5)] * 4)


def source_of(array):
    return ArraySource(array, np.eye(4))


@settings(max_examples=60, deadline=None)
@given(st.data(), st.sampled_from(TYPES))
def test_as_numpy_counts(data, dtype):
    array = data.draw(hnp.arrays(dtype, SHAPES))
    found = count_values(source_of(array))
    values, counts = np.unique(array, return_counts=True)
    np.testing.assert_array_equal(found.values, values)
    np.testing.assert_array_equal(found.counts, counts)
    assert found.values.dtype == array.dtype
    assert count_nonzero(source_of(array)) == np.count_nonzero(array)


@settings(max_examples=40, deadline=None)
@given(hnp.arrays("i2", SHAPES), st.lists(st.integers(0, 200).map(lambda n: n / 2), min_size=1))
def test_percentiles(array, wanted):
    # In int16 itself, numpy.percentile overflows: of -1 and 32767 it finds -328 at 1 %.
    found = count_values(source_of(array)).percentiles(wanted)
    np.testing.assert_allclose(
        found, np.percentile(array.astype(float), wanted), rtol=1e-12, atol=1e-9
    )


def test_label_maps(tmp_path):
    labels = np.random.default_rng(0).choice([0, 3, 70000, -2], (1, 9, 10, 11))
    expected = {-2: 0, 0: 0, 3: 0, 70000: 0} | {
        int(v): int(np.sum(labels == v)) for v in np.unique(labels)
    }
    for dtype in ("int32", "float32", "float64"):
        vx.LabelMap(tensor=labels.astype(dtype)).save(tmp_path / f"{dtype}.nii.gz")
        image = vx.LabelMap(tmp_path / f"{dtype}.nii.gz")
        found = image.count_labels()
        assert list(found.items()) == sorted(expected.items())
        assert all(type(key) is int for key in found)
        assert all(type(count) is int for count in found.values())
        assert image.count_nonzero() == np.count_nonzero(labels)
        assert "data" not in image


def test_probabilities_keep_their_values():
    image = vx.LabelMap(tensor=np.full((1, 2, 2, 2), 0.25))
    assert image.count_labels() == {0.25: 8}
    assert vx.LabelMap(tensor=np.full((1, 1, 1, 2), np.inf)).count_labels() == {np.inf: 2}


def test_scaled_voxels(tmp_path):
    import nibabel as nib

    stored = np.random.default_rng(0).integers(-5, 6, (4, 5, 6)).astype(np.int16)
    image = nib.Nifti1Image(stored, np.eye(4))
    image.header.set_slope_inter(0.5, 1)
    image.header["scl_slope"], image.header["scl_inter"] = 0.5, 1
    with open(tmp_path / "a.nii", "wb") as file:
        file.write(image.header.binaryblock + bytes(4) + stored.tobytes(order="F"))
    scan = vx.LabelMap(tmp_path / "a.nii")
    assert scan.source.scaling is not None
    values, counts = np.unique(scan.numpy(), return_counts=True)
    fresh = vx.LabelMap(tmp_path / "a.nii")
    assert fresh.count_labels() == dict(zip(values.tolist(), counts.tolist(), strict=True))
    assert fresh.count_nonzero() == np.count_nonzero(values.repeat(counts))


def test_one_pass(tmp_path):
    voxels = np.random.default_rng(0).integers(0, 9, (2, 30, 40, 50)).astype(np.uint8)
    for name in ("a.nii", "a.nii.gz", "a.ome.zarr"):
        vx.LabelMap(tensor=voxels).save(tmp_path / name)
        image = vx.LabelMap(tmp_path / name)
        with count_reads() as reads:
            image.count_labels()
        assert reads.voxels == voxels.size, name
        assert reads.passes == name.endswith(".gz")


def test_slices_and_lazy_arrays():
    voxels = np.random.default_rng(0).integers(0, 9, (2, 13, 14, 15)).astype(np.uint8)
    lazy = vx.LabelMap(tensor=da.from_array(voxels, chunks=4))
    for key in (slice(2, 9), (slice(None, None, -2), 3), (slice(1, 2), ..., slice(None), slice(9))):
        part = lazy[key]
        values, counts = np.unique(vx.LabelMap(tensor=voxels)[key].numpy(), return_counts=True)
        assert part.count_labels() == dict(zip(values.tolist(), counts.tolist(), strict=True))


def test_measurements_are_refused(monkeypatch):
    monkeypatch.setattr(module, "MAX_VALUES", 100)
    floats = vx.LabelMap(tensor=np.random.default_rng(0).random((1, 5, 5, 5)))
    with pytest.raises(UnsupportedError, match="measurements, not labels") as error:
        floats.count_labels()
    assert error.value.code == "TOO_MANY_VALUES"
    with pytest.raises(UnsupportedError, match="cannot be sorted, and so not be counted"):
        vx.LabelMap(tensor=np.zeros((1, 2, 2, 2), complex)).count_labels()


def test_damage_is_noticed(tmp_path):
    path = tmp_path / "a.nii.gz"
    vx.LabelMap(tensor=np.zeros((1, 9, 9, 9), np.uint8)).save(path)
    raw = bytearray(path.read_bytes())
    raw[-6] ^= 1  # of the CRC
    path.write_bytes(raw)
    with dask.config.set({"voxarray.gzip-whole-limit": 1}), pytest.raises(vx.ChecksumError):
        vx.LabelMap(path).count_labels()
