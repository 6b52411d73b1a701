"""Slope and intercept: whole numbers are applied once, others are kept, and nothing changes."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import xarray as xr
from archive_samples import same_bits, whole
from hypothesis import given, settings
from hypothesis import strategies as st

from voxarray.archive.convert import convert
from voxarray.archive.options import Options
from voxarray.archive.source import open_archive
from voxarray.archive.verify import compare, verify
from voxarray.formats.nifti.read import open_nifti
from voxarray.formats.registry import open_source

SHAPE = (9, 8, 7)


def scaled(path: Path, stored: np.ndarray, slope: float, intercept: float) -> Path:
    """A NIfTI file of these stored numbers with this scaling."""
    image = nib.Nifti1Image(stored, np.diag([1.0, 2, 3, 1]), dtype=stored.dtype)
    image.header.set_slope_inter(slope, intercept)
    image.header.set_xyzt_units("mm", "sec")
    # nibabel resets the scaling of arrays that it writes, so it goes into the bytes.
    nib.save(image, path)
    data = bytearray(path.read_bytes())
    data[112:120] = np.array([slope, intercept], "<f4").tobytes()
    path.write_bytes(data)
    return path


def every_value(dtype: str) -> np.ndarray:
    info = np.iinfo(dtype)
    values = np.linspace(info.min, info.max, int(np.prod(SHAPE)), dtype=np.float64)
    stored = np.clip(np.round(values), info.min, info.max)
    stored = np.array([int(v) for v in stored], dtype=object).clip(int(info.min), int(info.max))
    return stored.astype(dtype).reshape(SHAPE)


@pytest.mark.parametrize(
    ("dtype", "slope", "intercept", "baked"),
    [
        ("u1", 2, 0, "uint16"),
        ("u1", 1, -128, "int8"),
        ("u1", -1, 255, None),
        ("u1", 255, -32000, None),
        ("i2", 1, -1024, "int32"),
        ("i2", 2, 5, "int32"),
        ("i2", -3, 0, "int32"),
        ("i2", 0.5, 0, None),
        ("i2", 1, 0.25, None),
        ("u2", 1, 40000, "uint32"),
        ("u2", 1000, 0, None),
        ("i4", 3, 1, None),
        ("u4", 2, 0, None),
        ("i8", 2, 0, None),
        ("u8", 1, 1, None),
    ],
)
def test_scaled_images_come_back_as_the_source_presents_them(
    tmp_path, dtype, slope, intercept, baked
):
    file = scaled(tmp_path / "a.nii", every_value(dtype), slope, intercept)
    source = open_nifti(file)
    path = tmp_path / "a.ome.zarr"
    convert(source, path, options=Options(chunk=4))
    opened = open_archive(path)
    assert same_bits(whole(opened), whole(source))
    assert verify(path) == []
    assert compare(path, source) == []
    stored = json.loads((path / "scale0/image/zarr.json").read_bytes())
    if baked:
        assert stored["data_type"] == baked
        assert opened.scaling is None
    attributes = stored["attributes"]
    if opened.scaling is not None:
        assert (attributes["scale_factor"], attributes["add_offset"]) == (slope, intercept)
        assert same_bits(whole(opened.unscaled()), whole(source.unscaled()))
        assert stored["data_type"] == source.unscaled().dtype.name
    else:
        assert "scale_factor" not in attributes


def test_plain_xarray_applies_the_stored_scaling(tmp_path):
    source = open_nifti(scaled(tmp_path / "a.nii", every_value("i2"), 0.5, -3))
    convert(source, tmp_path / "a.ome.zarr")
    image = xr.open_zarr(tmp_path / "a.ome.zarr/scale0", consolidated=False)["image"]
    np.testing.assert_allclose(image.values.transpose(0, 3, 2, 1), whole(source), rtol=1e-6)


def test_numbers_that_are_equal_are_written_as_they_are(tmp_path):
    stored, said = every_value("int16"), []
    for intercept in (0.0, -0.0):
        source = open_nifti(scaled(tmp_path / f"{intercept}.nii", stored, 0.5, intercept))
        path = convert(source, tmp_path / f"{intercept}.ome.zarr").path
        document = json.loads(Path(path, "scale0/image/zarr.json").read_bytes())
        said.append(str(document["attributes"]["add_offset"]))
    assert said == ["0.0", "-0.0"]


def test_levels_of_scaled_images_are_scaled(tmp_path):
    source = open_nifti(scaled(tmp_path / "a.nii", every_value("i2"), 0.5, -3))
    convert(source, tmp_path / "a.ome.zarr", options=Options(levels=2))
    opened = open_archive(tmp_path / "a.ome.zarr")
    assert (opened.level(1).scaling, opened.level(1).dtype) == (opened.scaling, opened.dtype)
    z, y, x = opened.image.factors[0]
    means = whole(source)[:, : 9 // x * x, : 8 // y * y, : 7 // z * z]
    means = means.reshape(1, 9 // x, x, 8 // y, y, 7 // z, z).mean((2, 4, 6))
    np.testing.assert_allclose(whole(opened.level(1)), means, atol=0.5 * 0.5 + 1e-3)


@settings(deadline=None, max_examples=25)
@given(
    dtype=st.sampled_from(["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8"]),
    slope=st.one_of(st.integers(-300, 300), st.floats(-50, 50, width=32)).filter(
        lambda value: abs(value) > 1e-3
    ),
    intercept=st.one_of(st.integers(-70000, 70000), st.floats(-50, 50, width=32)),
)
def test_any_scaling(tmp_path_factory, dtype, slope, intercept):
    folder = tmp_path_factory.mktemp("scaled")
    source = open_source(scaled(folder / "a.nii", every_value(dtype), slope, intercept))
    convert(source, folder / "a.ozx", options=Options(levels=1))
    assert same_bits(whole(folder / "a.ozx"), whole(source))
    assert compare(folder / "a.ozx", source) == []
