"""Operations of xarray on images whose voxels hold their own place in the world.

Three channels are the world coordinates x, y and z of each voxel. Whatever xarray does by
position, the affine that comes out has to say what the voxels say.
"""

from __future__ import annotations

import pickle
import subprocess
import sys

import numpy as np
import pytest
import xarray as xr
import zarr

import voxarray as vx
from voxarray.core.errors import GridError, PandasIndexError, VoxarrayWarning
from voxarray.xarray_index.attach import DIMS, affine_of, attach, reattach


def world(affine, shape):
    """(3, W, H, D) world coordinates."""
    index = np.indices(shape).reshape(3, -1)
    return (affine[:3, :3] @ index + affine[:3, 3:]).reshape(3, *shape)


def field(affine, shape=(6, 7, 8)):
    return attach(world(affine, shape), affine, name="image")


def require_true(array):
    """The affine says what the voxels say."""
    array = array.transpose("c", *DIMS)
    inside = np.isfinite(array.values).all(0)
    assert inside.any()
    expected = world(affine_of(array), array.shape[1:])
    np.testing.assert_allclose(array.values[:, inside], expected[:, inside], atol=1e-9)


# --- coarsen and interp ---------------------------------------------------------------------------

COARSER = {
    "one voxel": lambda a: a.coarsen(x=6).mean(),
    "trimmed to one voxel": lambda a: a.coarsen(x=4, boundary="trim").mean(),
    "trimmed at the left": lambda a: a.coarsen(z=3, boundary="trim", side="right").mean(),
    "two axes": lambda a: a.coarsen(x=3, z=4).mean(),
    "reversed": lambda a: a.isel(x=slice(None, None, -1)).coarsen(x=2).mean(),
    "an axis that an integer took": lambda a: a.isel(y=2).coarsen(x=6).mean(),
    "without attributes": lambda a: a.coarsen(x=6).mean(keep_attrs=False),
    "a function": lambda a: a.coarsen(x=6).reduce(np.mean),
    "a dataset": lambda a: a.to_dataset(name="image").coarsen(x=6).mean()["image"],
    "lazy": lambda a: a.chunk(x=2).coarsen(x=2).mean(),
    "transposed": lambda a: a.transpose("z", "c", "x", "y").coarsen(x=2).mean(),
    "finer": lambda a: a.interp(z=np.linspace(float(a.z[1]), float(a.z[4]), 7)),
    "finer, of one plane": lambda a: a.isel(x=[2]).interp(
        z=np.linspace(float(a.z[1]), float(a.z[4]), 7)
    ),
    "finer, of a plane that an integer took": lambda a: a.isel(y=2).interp(
        z=np.linspace(float(a.z[1]), float(a.z[4]), 7)
    ),
    "finer, of one row": lambda a: a.isel(x=[2], y=[3]).interp(
        z=np.linspace(float(a.z[1]), float(a.z[4]), 7)
    ),
    "finer, reversed": lambda a: a.interp(z=np.linspace(float(a.z[4]), float(a.z[1]), 7)),
}


@pytest.mark.parametrize("what", COARSER)
@pytest.mark.parametrize("detached", [False, True])
def test_new_voxels_know_where_and_how_thick_they_are(affine, what, detached):
    array = field(affine)
    made = COARSER[what](array.vox.detach() if detached else array)
    whole = made.vox.reattach()
    assert detached or affine_of(made) is not None
    if "y" not in whole.dims:
        whole = whole.expand_dims("y").vox.reattach()
    require_true(whole)
    spacing = np.array(whole.vox.spacing)
    for dim in DIMS:
        if dim in made.dims:  # planes are as thick as the voxels that they were taken from
            for plane in (made.isel({dim: [0]}), made.isel({dim: -1})):
                np.testing.assert_allclose(plane.vox.spacing, spacing, rtol=1e-9)
    ratio = spacing / array.vox.spacing
    factor = {"finer": 0.5, "finer, reversed": 0.5, "trimmed to one voxel": 4}.get(what)
    assert factor is None or np.isclose(ratio, factor).any()
    assert what != "one voxel" or np.allclose(ratio, (6, 1, 1))


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("window", [4, 5])
def test_a_padded_window_is_as_thick_as_the_others(affine, side, window):
    found = field(affine).coarsen(x=window, boundary="pad", side=side).mean()
    assert np.isclose(found.vox.spacing[0] / field(affine).vox.spacing[0], window)
    whole = found.isel(x=[0 if side == "left" else 1])
    require_true(whole)


@pytest.mark.parametrize("what", ["one voxel", "two axes", "a dataset", "lazy", "finer"])
def test_coarser_images_of_other_directions_are_not_added(affine, what):
    turned = affine @ np.diag([1.0, 1, 1, 1])
    turned[:2] *= -1
    one, other = (COARSER[what](field(matrix)) for matrix in (affine, turned))
    np.testing.assert_allclose(one.x, other.x)  # the same positions along other axes
    with pytest.raises(GridError, match="GRID_MISMATCH"):
        one + other
    channels = [field(matrix).coarsen(c=3).mean() for matrix in (affine, turned)]
    with pytest.raises(GridError, match="GRID_MISMATCH"):
        channels[0] + channels[1]


def test_coarsen_and_interp_of_others_are_xarrays_own():
    array = xr.DataArray(np.arange(6.0), {"x": np.arange(6.0)}, "x")
    windows = array.coarsen(x=2)
    assert type(windows) is type(xr.DataArray(np.zeros(2), dims="q").coarsen(q=2))
    np.testing.assert_array_equal(windows.mean().x, [0.5, 2.5, 4.5])
    np.testing.assert_array_equal(array.interp(x=[0.5, 1.5]).values, [0.5, 1.5])
    assert "oarsen" in xr.DataArray.coarsen.__doc__
    assert "windows->" in repr(field(np.eye(4)).coarsen(x=2))


# --- interp_like ----------------------------------------------------------------------------------


TARGETS = {
    "coarser": lambda a: a.isel(x=slice(0, None, 2)),
    "coarser along all": lambda a: a.isel(x=slice(0, None, 2), y=slice(1, None, 3), z=slice(2, 6)),
    "reversed": lambda a: a.isel(y=slice(None, None, -1)),
    "transposed": lambda a: a.transpose("z", "c", "y", "x")[::2],
    "plain": lambda a: a.isel(z=slice(1, None, 2)).vox.detach(),
    "as a Dataset": lambda a: a.isel(x=slice(0, None, 2)).to_dataset(),
    "of one channel": lambda a: a.isel(x=slice(0, None, 2), c=0, drop=True),
}


@pytest.mark.parametrize("what", TARGETS)
def test_interp_like_takes_the_places_of_the_other(affine, what):
    array = field(affine)
    target = TARGETS[what](array)
    found = array.interp_like(target)
    assert {d: found.sizes[d] for d in DIMS} == {d: target.sizes[d] for d in DIMS}
    np.testing.assert_allclose(affine_of(found), affine_of(target), atol=1e-9)
    require_true(found)
    require_true(found.isel(x=slice(1, None)))  # the index is whole again


def test_interp_like_a_finer_grid(affine):
    finer = affine @ np.diag([0.5, 0.5, 0.5, 1])
    target = attach(np.zeros((1, 11, 13, 15)), finer)
    found = field(affine).interp_like(target)
    assert found.shape == (3, 11, 13, 15)
    require_true(found)


def test_interp_like_beyond_the_image_has_no_numbers(affine):
    shifted = affine.copy()
    shifted[:3, 3] += affine[:3, 0] * 3.5
    found = field(affine).interp_like(attach(np.zeros((1, 6, 7, 8)), shifted))
    assert np.isnan(found.values[:, 3:]).all()
    require_true(found)


@pytest.mark.parametrize("kind", ["Dataset", "plain", "dask"])
def test_interp_like_of_other_kinds(affine, kind):
    array = field(affine)
    target = array.isel(x=slice(0, None, 2))
    if kind == "Dataset":
        found = array.to_dataset().interp_like(target).image
    elif kind == "plain":
        found = array.vox.detach().interp_like(target)
    else:
        found = array.chunk(x=2).interp_like(target)
        assert found.chunks is not None
    assert found.sizes["x"] == 3
    require_true(found)


def test_interp_like_of_an_axis_that_an_integer_took(affine):
    array = field(affine)
    found = array.interp_like(array.isel(x=slice(0, None, 2), z=3))
    assert dict(found.sizes) == {"c": 3, "x": 3, "y": 7, "z": 8}
    require_true(found)


def test_interp_like_along_other_axes_is_refused(affine):
    other = np.diag([2.0, 2, 2, 1])
    with pytest.raises(GridError, match=r"vx\.Resample") as error:
        field(affine).interp_like(field(other))
    assert error.value.code == "GRID_MISMATCH"
    with pytest.raises(GridError, match=r"vx\.Resample"):
        field(affine).vox.detach().interp_like(field(other).vox.detach().vox.reattach())


def test_interp_like_of_an_array_that_came_by_pickle(tmp_path):
    array = field(np.diag([2.0, 2, 2, 1]))
    (tmp_path / "array.pkl").write_bytes(pickle.dumps(array))
    child = (  # in which voxarray is imported before xarray
        "import pathlib, pickle, sys, voxarray\n"
        "array = pickle.loads(pathlib.Path(sys.argv[1]).read_bytes())\n"
        "coarse = array.interp_like(array.isel(x=slice(0, None, 2)))\n"
        "print(coarse.sizes['x'], coarse.vox.affine[0, 0])"
    )
    command = [sys.executable, "-c", child, tmp_path / "array.pkl"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["3", "4.0"]


def test_interp_like_of_others_is_xarrays_own():
    array = xr.DataArray(np.arange(8.0), {"x": np.arange(8.0)}, ("x",))
    found = array.interp_like(array[::2], method="nearest")
    assert found.identical(array[::2])
    assert "Interpolate this object" in xr.Dataset.interp_like.__doc__


# --- What wants an index for each coordinate ------------------------------------------------------


def halves(array):
    return [half.to_dataset() for half in (array.isel(x=slice(0, 4)), array.isel(x=slice(4, None)))]


WANTING = {
    "map_blocks": lambda a: xr.map_blocks(lambda part: part * 1, a.chunk(y=4)),
    "drop_isel": lambda a: a.drop_isel(x=[0]),
    "drop_sel": lambda a: a.drop_sel(x=[float(a.x[-1])]),
    "drop_duplicates": lambda a: a.drop_duplicates("x"),
    "interpolate_na": lambda a: a.interpolate_na("x"),
    "to_series": lambda a: a.drop_vars("spatial_ref").to_series(),
    "to_dataframe": lambda a: a.to_dataframe(),
    "indexes": lambda a: a.indexes["x"],
    "combine_by_coords": lambda a: xr.combine_by_coords(halves(a)).image,
    "get_index": lambda a: a.get_index("x"),
}
OF_XARRAY = {
    "reindex": lambda a: a.reindex(x=a.x.values[::2]),
    "groupby": lambda a: a.groupby("x").mean(),
}


@pytest.mark.parametrize("name", [*WANTING, *OF_XARRAY])
def test_what_wants_an_index_for_each_coordinate_takes_a_detached_array(affine, name):
    operation = (WANTING | OF_XARRAY)[name]
    array = field(affine)
    if name in WANTING:
        with pytest.raises(PandasIndexError, match=r"\.vox\.detach\(\)") as error:
            operation(array)
        assert error.value.code == "NO_PANDAS_INDEX"
    else:
        with pytest.raises(ValueError, match="x"):  # xarray asks no index, and says so itself
            operation(array)
    found = operation(array.vox.detach())
    if isinstance(found, xr.DataArray):
        require_true(found.vox.reattach())


def test_detach_and_reattach_are_inverse(affine):
    array = field(affine)
    for obj in (array, array.to_dataset(), array.isel(z=3), array.transpose("z", "c", "y", "x")):
        again = obj.vox.detach().vox.reattach()
        np.testing.assert_allclose(affine_of(again), affine_of(obj), atol=1e-12)
        xr.testing.assert_allclose(again, obj)
    assert array.vox.detach().sel(x=slice(None)).sizes["x"] == 6


def test_regions_of_zarr_take_a_detached_array(affine, tmp_path):
    path = tmp_path / "a.zarr"
    array = field(affine)
    array.to_dataset().to_zarr(path)
    part = (array * 2).isel(x=slice(2, 4)).to_dataset(name="image").drop_vars("spatial_ref")
    with pytest.raises(PandasIndexError):
        part.to_zarr(path, region="auto")
    part.vox.detach().drop_vars(["y", "z"]).to_zarr(path, region="auto")
    opened = xr.open_zarr(path).image.vox.reattach()
    np.testing.assert_array_equal(opened.values[:, 2:4], array.values[:, 2:4] * 2)
    np.testing.assert_allclose(affine_of(opened), affine)


def test_no_voxel_comes_before_or_after_a_position(affine):
    with pytest.raises(vx.SelectionError) as error:
        field(affine).sel(x=1.2, method="ffill")
    assert error.value.code == "UNKNOWN_METHOD"


# --- netCDF ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["netcdf4", "h5netcdf", "scipy"])
def test_netcdf_holds_the_affine(affine, tmp_path, engine):
    pytest.importorskip({"netcdf4": "netCDF4"}.get(engine, engine))
    array = field(affine)
    array.attrs["channel_kind"] = "channel"
    path = tmp_path / "a.nc"
    array.to_netcdf(path, engine=engine)
    with xr.open_dataset(path, engine=engine) as opened:
        require_true(opened.image.load())
        back = reattach(opened.image)
        np.testing.assert_allclose(affine_of(back), affine, atol=1e-12)
        image = vx.ScalarImage.from_xarray(back)
        np.testing.assert_allclose(image.affine, affine, atol=1e-12)


def test_w_as_four_rows_is_read(affine):
    """As archives and stores of version 0.1 have it."""
    array = field(affine).vox.detach()
    array.spatial_ref.attrs["intrinsic_to_world"] = np.reshape(
        array.spatial_ref.attrs["intrinsic_to_world"], (4, 4)
    ).tolist()
    np.testing.assert_allclose(affine_of(array), affine, atol=1e-12)
    array.spatial_ref.attrs["intrinsic_to_world"] = [1, 2, 3]
    with pytest.raises(GridError):
        affine_of(array)


# --- Coordinates of others ------------------------------------------------------------------------


def test_indices_are_no_millimetres(affine):
    array = field(affine)
    counted = array.assign_coords(x=range(6), y=range(7), z=range(8))
    with pytest.raises(GridError, match="indices of voxels") as error:
        vx.ScalarImage.from_xarray(counted)
    assert error.value.code == "INDEX_COORDINATES"
    with pytest.raises(GridError, match="indices of voxels"):
        counted.vox.reattach()
    meant = array.assign_coords({d: np.arange(array.sizes[d], dtype=float) for d in DIMS})
    assert vx.ScalarImage.from_xarray(meant).spacing == pytest.approx((1, 1, 1))


def foreign(**attrs):
    coords = {d: (d, 10 + 2.0 * np.arange(4), attrs) for d in DIMS}
    return xr.DataArray(np.zeros((1, 4, 4, 4)), coords, ("c", *DIMS), name="image")


def test_an_array_of_others_is_placed_as_their_store_is(tmp_path):
    array = foreign(units="mm")
    with pytest.warns(VoxarrayWarning, match="taken for R, A and S"):
        image = vx.ScalarImage.from_xarray(array)
    array.to_dataset().to_zarr(tmp_path / "a.zarr")
    np.testing.assert_array_equal(image.affine, vx.ScalarImage(tmp_path / "a.zarr").affine)


def test_an_array_that_does_not_say_where_it_is_takes_an_affine(affine):
    with pytest.raises(GridError, match=r"from_xarray\(array, affine=affine\)") as error:
        vx.ScalarImage.from_xarray(foreign())
    assert error.value.code == "NO_SPATIAL_REF"
    image = vx.ScalarImage.from_xarray(foreign(), affine=affine)
    np.testing.assert_array_equal(image.affine, affine)


@pytest.mark.parametrize("chunks", [None, {}])
def test_a_coarse_level_that_plain_xarray_opened_is_refused(affine, tmp_path, chunks):
    path = tmp_path / "a.ome.zarr"
    vx.ScalarImage(tensor=np.ones((1, 9, 8, 7), np.int16), affine=affine).save(path, levels=2)
    dataset = xr.open_dataset(
        path, engine="zarr", group="scale1", consolidated=False, chunks=chunks
    )
    array = dataset["image"]
    again = xr.open_datatree(path, engine="zarr", consolidated=False)["scale1/image"]
    for refused in (
        lambda: vx.ScalarImage.from_xarray(array),
        lambda: vx.ScalarImage(tensor=array),
        lambda: vx.LabelMap(tensor=array * 2),
        lambda: vx.ScalarImage(tensor=again[:, 1:]),
        lambda: array.vox.affine,
        lambda: array.vox.to_image(),
        lambda: array.vox.reattach(),
        lambda: dataset.vox.affine,
    ):
        with pytest.raises(GridError, match=r"take vx.ScalarImage\(archive\).level\(n\)") as caught:
            refused()
        assert caught.value.code == "NO_COORDINATES"
    with pytest.raises(TypeError):
        vx.ScalarImage(tensor=zarr.open_group(path, mode="r")["scale1/image"])
    base = xr.open_dataset(path, engine="zarr", group="scale0", consolidated=False)["image"]
    np.testing.assert_allclose(vx.ScalarImage(tensor=base).affine, affine, atol=1e-9)
