"""Affines onto arrays and off again, also where the index is gone."""

import dask.array as da
import numpy as np
import pytest
import xarray as xr

import voxarray as vx
from voxarray.core.errors import FormatError, GridError, VoxarrayWarning
from voxarray.xarray_index import accessor
from voxarray.xarray_index.affine_index import index_of
from voxarray.xarray_index.attach import DIMS, affine_of, attach, grid_of, plain_affine, reattach


def test_spatial_ref_says_all_that_coordinates_do_not(array, affine):
    ref = array.spatial_ref
    assert ref.attrs["world"] == "RAS+"
    assert ref.attrs["unit"] == "millimeter"
    assert len(ref.attrs["intrinsic_to_world"]) == 16  # netCDF knows no matrices
    W = np.reshape(ref.attrs["intrinsic_to_world"], (4, 4))
    assert np.allclose(np.linalg.norm(W[:3, :3], axis=0), 1)
    assert np.allclose(W @ [array.x[2], array.y[3], array.z[4], 1], affine @ [2, 3, 4, 1])
    assert "spatial_ref" not in array.xindexes


def test_only_four_dimensions_and_valid_affines():
    with pytest.raises(GridError, match=r"\(C, W, H, D\), got \(3, 3, 3\)") as error:
        attach(np.ones((3, 3, 3)), np.eye(4))
    assert error.value.code == "BAD_DIMS"
    with pytest.raises(GridError, match="singular"):
        attach(np.ones((1, 3, 3, 3)), np.diag([1, 1, 0, 1]))


def test_data_are_neither_copied_nor_computed(affine):
    data = np.ones((1, 3, 3, 3))
    assert np.shares_memory(attach(data, affine).data, data)
    lazy = da.ones((1, 3, 3, 3))
    assert attach(lazy, affine).data is lazy


class TestAfterForeignOperations:
    """What xarray does without asking the index."""

    @pytest.mark.parametrize("dim", DIMS)
    def test_interp(self, array, dim):
        positions = np.linspace(float(array[dim][1]), float(array[dim][4]), 7)
        finer = array.interp({dim: positions})
        # xarray leaves our index on the two others, where it would be wrong about this one.
        assert index_of(finer).placement.shape == finer.shape[1:]
        np.testing.assert_allclose(finer[dim], positions, atol=1e-9)
        scale = np.eye(4)
        scale[DIMS.index(dim), [DIMS.index(dim), 3]] = 0.5, 1
        other = "y" if dim == "x" else "x"
        assert np.allclose(affine_of(finer), affine_of(array) @ scale)
        assert np.allclose(
            affine_of(finer.isel({other: 2})), affine_of(array.isel({other: 2})) @ scale
        )
        assert np.allclose(affine_of(reattach(finer)), affine_of(finer))

    def test_coarsen(self, array):
        coarse = array.coarsen(x=2, y=2, z=2, boundary="trim").mean()
        want = grid_of(array).coarsen((2, 2, 2))
        assert grid_of(coarse).isclose(want)

    @pytest.mark.parametrize("mode", ["constant", "edge"])
    def test_pad(self, array, mode):
        with pytest.raises(GridError) as error:
            affine_of(array.pad(x=1, mode=mode))
        assert error.value.code == "NOT_UNIFORM"

    def test_reductions_along_an_axis(self, array):
        with pytest.raises(GridError, match="no coordinate 'x'") as error:
            affine_of(array.mean("x"))
        assert error.value.code == "NO_COORDINATES"

    def test_quantile_loses_spatial_ref_and_reattach_brings_it_back(self, array):
        median = array.quantile(0.5, "c")
        assert np.array_equal(affine_of(median), affine_of(array))
        with pytest.raises(GridError, match="no coordinate 'spatial_ref'") as error:
            plain_affine(median)
        assert error.value.code == "NO_SPATIAL_REF"
        assert np.allclose(plain_affine(reattach(median)), affine_of(array))

    def test_thickness_that_nobody_states(self, array):
        plane = array.drop_indexes(["x", "y", "z"]).isel(z=0)
        del plane.z.attrs["step"]
        with pytest.raises(GridError, match="how thick") as error:
            affine_of(plane)
        assert error.value.code == "UNKNOWN_SPACING"

    def test_a_bare_array(self):
        with pytest.raises(GridError, match="no coordinate 'x'"):
            affine_of(xr.DataArray(np.ones((2, 2)), dims=("x", "y")))


class TestFiles:
    @pytest.mark.parametrize(
        "key",
        [
            {},
            {"x": slice(None, None, -2)},
            {"z": 3},
            {"x": slice(2, 3), "y": slice(4, None), "z": slice(None, None, -1)},
            {"x": 1, "y": 2, "z": 3},
        ],
    )
    def test_through_zarr_and_plain_xarray(self, array, tmp_path, key):
        part = array.isel(key)
        part.to_zarr(tmp_path / "a.zarr", consolidated=False)
        plain = xr.open_zarr(tmp_path / "a.zarr", consolidated=False)
        assert np.allclose(plain_affine(plain), affine_of(part), rtol=0, atol=1e-12)
        for back in (reattach(plain).image, plain.image.vox.reattach(), plain.vox.reattach().image):
            assert index_of(back) is not None
            assert np.allclose(affine_of(back), affine_of(part), rtol=0, atol=1e-12)
            assert np.allclose(affine_of(back.isel(c=0)), affine_of(part), rtol=0, atol=1e-12)
            assert np.array_equal(back, part)
            assert (back + part).sizes == part.sizes

    def test_single_precision_coordinates(self, array):
        rounded = array.drop_indexes(["x", "y", "z"]).assign_coords(
            {d: array[d].astype("f4") for d in ("x", "y", "z")}
        )
        assert grid_of(reattach(rounded)).isclose(grid_of(array))
        assert (reattach(rounded) + array).sizes == array.sizes


class TestRenamedAxes:
    """Where no index refuses it; a renamed axis would be mirrored or turned."""

    @pytest.mark.parametrize("names", [{"x": "y", "y": "x"}, {"x": "y", "y": "z", "z": "x"}])
    @pytest.mark.parametrize("loose", [lambda a: a.vox.detach(), lambda a: a.drop_indexes(DIMS)])
    @pytest.mark.parametrize("use", [reattach, affine_of, grid_of, vx.ScalarImage.from_xarray])
    def test_renamed_axes_are_refused(self, array, names, loose, use):
        with pytest.raises(GridError, match=r"was '[xyz]' before it was renamed") as error:
            use(loose(array).rename(names))
        assert error.value.code == "FIXED_NAMES"

    def test_a_renamed_plane_is_refused(self, array):
        plane = array.vox.detach().isel(x=3).rename(x="y", y="x")
        with pytest.raises(GridError) as error:
            reattach(plane)
        assert error.value.code == "FIXED_NAMES"

    def test_a_store_of_renamed_axes_is_refused(self, array, tmp_path):
        path = tmp_path / "a.zarr"
        array.vox.detach().rename(x="z", z="x").to_zarr(path, consolidated=False)
        with pytest.raises(FormatError) as error:
            _ = vx.ScalarImage(path).affine
        assert error.value.code == "FIXED_NAMES"
        with pytest.raises(GridError) as plain:
            reattach(xr.open_zarr(path, consolidated=False))
        assert plain.value.code == "FIXED_NAMES"

    def test_names_that_came_back_are_right(self, array):
        back = array.vox.detach().rename(x="i", y="x").rename(x="y", i="x")
        assert reattach(back).identical(array)


class TestAccessor:
    def test_geometry_in_the_order_x_y_z(self, array, affine):
        for turned in (array, array.transpose("z", "c", "y", "x"), array.to_dataset()):
            assert turned.vox.grid == grid_of(array)
            assert np.array_equal(turned.vox.affine, affine)
            assert turned.vox.spacing == grid_of(array).spacing
            assert turned.vox.orientation == ("R", "A", "S")

    def test_dropped_axes_count_as_one_voxel(self, array):
        plane = array.transpose("z", "c", "y", "x").isel(y=3)
        assert plane.vox.grid == grid_of(array)[:, 3:4]

    def test_a_second_import_registers_nothing_twice(self, recwarn):
        import voxarray.xarray_index.accessor as again

        assert again is accessor
        assert not recwarn


@pytest.mark.parametrize(
    ("unit", "mm"), [("micrometer", 1e-3), ("\u03bcm", 1e-3), ("cm", 10), (None, 1)]
)
def test_coordinates_in_any_unit_are_millimetres(unit, mm):
    attrs = {} if unit is None else {"units": unit}
    axes = {
        name: (name, np.arange(size) * 2.0, attrs)
        for name, size in zip("zyx", (4, 6, 8), strict=True)
    }
    data = xr.DataArray(np.zeros((1, 4, 6, 8)), dims=list("czyx"), coords=axes)
    data = data.assign_coords(spatial_ref=((), 0, {"intrinsic_to_world": np.eye(4).tolist()}))
    assert np.allclose(plain_affine(data), np.diag([2 * mm, 2 * mm, 2 * mm, 1]))
    again = reattach(data)
    assert again.x.attrs["units"] == "mm"
    assert np.allclose(again.x, np.arange(8) * 2 * mm)
    assert np.allclose(affine_of(again), plain_affine(data))


def test_coordinates_in_no_unit_of_length_are_remarked():
    axes = {name: (name, np.arange(3.0), {"units": "degrees_north"}) for name in "zyx"}
    data = xr.DataArray(np.zeros((1, 3, 3, 3)), dims=list("czyx"), coords=axes)
    data = data.assign_coords(spatial_ref=((), 0, {"intrinsic_to_world": np.eye(4).tolist()}))
    with pytest.warns(VoxarrayWarning, match="degrees_north"):
        plain_affine(data)


@pytest.mark.parametrize("attrs", [{"unit": "micrometer"}, {"world": "LPS+"}])
def test_another_world_is_refused(attrs):
    data = attach(np.zeros((1, 2, 3, 4)), np.eye(4))
    data.spatial_ref.attrs.update(attrs)
    with pytest.raises(GridError) as caught:
        plain_affine(data)
    assert caught.value.code == "UNKNOWN_FRAME"
