"""``xr.open_dataset`` with voxarray, and what xarray writes of its arrays and reads again."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import voxarray as vx
from voxarray.core.errors import UnsupportedError


@pytest.fixture
def scan(tmp_path):
    vx.testing.sample((20, 18, 16)).save(tmp_path / "t1.nii")
    return vx.ScalarImage(tmp_path / "t1.nii")


@pytest.mark.parametrize("suffix", [".ome.zarr", ".ozx", ".nii.gz", ".nrrd", ".mha", ".mgz"])
def test_xarray_finds_the_engine(scan, tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    scan.save(path)
    opened = xr.open_dataset(path)["image"]
    np.testing.assert_array_equal(opened.values, scan.numpy())
    np.testing.assert_allclose(opened.vox.affine, scan.affine, atol=1e-5)


@pytest.mark.parametrize("engine", ["netcdf4", "h5netcdf", "scipy"])
def test_every_engine_of_netcdf_holds_it(scan, tmp_path, engine):
    dataset = scan.array.to_dataset(name="image")
    dataset.to_netcdf(tmp_path / "a.nc", engine=engine)
    opened = xr.open_dataset(tmp_path / "a.nc", engine=engine)["image"].vox.reattach()
    np.testing.assert_array_equal(opened.values, scan.numpy())
    np.testing.assert_allclose(opened.vox.affine, scan.affine)


def test_what_takes_coordinates_one_by_one_names_the_way(scan, tmp_path):
    for operation in (
        lambda: xr.map_blocks(lambda part: part * 2, scan.array),
        lambda: scan.array.to_dataset(name="image").to_dataframe(),
        lambda: xr.open_mfdataset([scan.path, scan.path]),
    ):
        with pytest.raises(vx.PandasIndexError, match=r"vox\.detach\(\)"):
            operation()
    together = xr.open_mfdataset([scan.path, scan.path], combine="nested", concat_dim="subject")
    assert together["image"].dims[0] == "subject"
    np.testing.assert_allclose(together["image"].vox.affine, scan.affine)


def test_the_engine_takes_paths(tmp_path):
    for wrong in (b"bytes", (tmp_path / "a").open("wb")):
        with pytest.raises(UnsupportedError, match="opens paths and URLs") as error:
            xr.open_dataset(wrong, engine="voxarray")
        assert error.value.code == "NOT_A_PATH"


@pytest.fixture
def scaled(tmp_path):
    import nibabel as nib

    image = nib.Nifti1Image(np.arange(24, dtype=np.int16).reshape(2, 3, 4), np.eye(4))
    image.header.set_slope_inter(2, -10)
    image.to_filename(tmp_path / "a.nii")
    return tmp_path / "a.nii"


@pytest.mark.parametrize("option", [{"mask_and_scale": False}, {"decode_cf": False}])
def test_the_engine_gives_stored_numbers(scaled, option):
    opened = xr.open_dataset(scaled, engine="voxarray", **option).image
    assert opened.dtype == np.int16
    assert opened.values.ravel().max() == 23
    restored = opened * opened.attrs["scale_factor"] + opened.attrs["add_offset"]
    expected = xr.open_dataset(scaled, engine="voxarray", decode_times=False).image
    np.testing.assert_array_equal(restored, expected)


def test_the_engine_knows_its_options(scaled):
    with pytest.raises(TypeError, match="knows no option"):
        xr.open_dataset(scaled, engine="voxarray", grupo="a")


def test_levels_are_groups_of_a_tree(affine, tmp_path):
    path = tmp_path / "a.ome.zarr"
    voxels = np.random.default_rng(0).random((1, 80, 70, 90), np.float32)
    image = vx.ScalarImage(tensor=voxels, affine=affine)
    image.save(path)
    tree = xr.open_datatree(path, engine="voxarray", chunks={})
    levels = vx.ScalarImage(path).source.levels
    assert list(tree.children) == [f"scale{n}" for n in range(levels)]
    assert levels > 1
    np.testing.assert_array_equal(tree["scale0"].image, voxels)
    for n in range(levels):
        level = vx.ScalarImage(path).level(n)
        np.testing.assert_allclose(tree[f"scale{n}"].to_dataset().vox.affine, level.affine)
    groups = xr.open_groups(path, engine="voxarray")
    assert set(groups) == {"/", *(f"/scale{n}" for n in range(levels))}
    for name in ("scale1", "/scale1"):
        by_group = xr.open_dataset(path, group=name)
        assert by_group.identical(xr.open_dataset(path, engine="voxarray", level=1))
    for name, level in (("scale9", 0), ("labels", 0), ("scale1", 2), ("scale-1", 0)):
        with pytest.raises(vx.OutOfRangeError, match="Groups are scale0"):
            xr.open_dataset(path, group=name, level=level)
