"""What xarray asks of the index, one rule at a time; the laws are in test_laws."""

import copy
import time

import dask.array as da
import numpy as np
import pytest
import xarray as xr

from voxarray.core.errors import GridError, OutOfRangeError, PandasIndexError
from voxarray.geometry.grid import Grid
from voxarray.geometry.lattice import Axis
from voxarray.xarray_index.affine_index import AffineIndex, index_of
from voxarray.xarray_index.attach import DIMS, affine_of, attach, grid_of, plain_affine, reattach


def code_of(error):
    return error.value.code


class TestCoordinates:
    def test_positions_are_millimetres_along_the_axes(self, array, affine):
        grid = Grid((6, 7, 8), affine)
        for n, dim in enumerate(DIMS):
            assert array[dim].attrs == {"units": "mm", "voxel_axis": dim, "step": grid.spacing[n]}
            steps = grid.intrinsic_origin[n] + grid.spacing[n] * np.arange(grid.shape[n])
            assert np.array_equal(array[dim], steps)

    def test_they_descend_after_a_reversal_and_world_stays(self, array):
        flipped = array.isel(x=slice(None, None, -1))
        assert (np.diff(flipped.x) < 0).all()
        assert flipped.x.attrs["step"] == -array.x.attrs["step"]
        assert flipped.spatial_ref.attrs == array.spatial_ref.attrs

    def test_one_voxel_keeps_its_thickness(self, array):
        assert array.isel(z=slice(2, 3)).z.attrs["step"] == array.z.attrs["step"]
        assert array.isel(z=slice(2, 3, 2)).z.attrs["step"] == 2 * array.z.attrs["step"]
        assert array.isel(z=slice(None, None, 2)).isel(z=1).z.attrs["step"] == 2 * float(
            array.z.attrs["step"]
        )

    def test_own_attributes_and_encoding_survive_slices(self, array):
        array.x.attrs["long_name"] = "left to right"
        array.x.encoding["dtype"] = "f4"
        part = array.isel(x=slice(2, None))
        assert part.x.attrs["long_name"] == "left to right"
        assert part.x.encoding == {"dtype": "f4"}

    def test_no_three_dimensional_coordinates(self, affine):
        big = attach(da.zeros((1, 2048, 2048, 4096), chunks=256, dtype="i2"), affine)
        assert sum(v.nbytes for v in big.coords.values()) < 100_000


class TestIsel:
    @pytest.mark.parametrize("key", [[0, 1, 3], [2, 2], [[0, 1], [2, 3]]])
    def test_voxels_off_any_grid_leave_plain_coordinates(self, array, key):
        index = index_of(array)
        assert index.isel({"x": np.array(key)}) is None

    def test_irregular_mask(self, array):
        left = array.isel(x=np.array([1, 1, 0, 1, 0, 0], bool))
        assert index_of(left) is None
        assert np.array_equal(left.x, array.x[[0, 1, 3]])
        with pytest.raises(GridError, match="not evenly spaced") as error:
            affine_of(left)
        assert code_of(error) == "NOT_UNIFORM"

    def test_points(self, array):
        points = array.isel(x=xr.Variable("point", [1, 2]), y=xr.Variable("point", [1, 2]))
        with pytest.raises(GridError, match="runs along") as error:
            affine_of(points)
        assert code_of(error) == "NOT_UNIFORM"

    def test_scalar_variables_are_integers(self, array):
        assert np.array_equal(
            array.isel(x=xr.Variable((), 2)).vox.affine, array.isel(x=2).vox.affine
        )

    def test_nothing_selected(self, array):
        nothing = array.isel(x=slice(3, 3))
        assert index_of(nothing) is not None
        with pytest.raises(GridError, match="at least one voxel"):
            grid_of(nothing)

    @pytest.mark.parametrize("key", [6, -7, np.array([0, 6])])
    def test_outside(self, key):
        with pytest.raises(OutOfRangeError, match="out of range for an axis of size 6"):
            Axis(range(6)).take(key)

    def test_negative_and_empty_lists(self, array):
        assert array.isel(x=[-1, -2]).vox.orientation[0] != array.vox.orientation[0]
        assert array.isel(x=[]).sizes["x"] == 0


class TestSel:
    def test_the_voxel_that_contains_the_position(self, array):
        for shift in (-0.49, 0.0, 0.49):
            position = float(array.x[3]) + shift * array.x.attrs["step"]
            found = array.sel(x=position, method="nearest")
            assert np.array_equal(found, array.isel(x=3))
            assert np.array_equal(array.sel(x=position), found)

    def test_outside(self, array):
        edge = float(array.x[-1]) + 0.51 * array.x.attrs["step"]
        with pytest.raises(KeyError, match=r"no voxel at x=.* the centres run from"):
            array.sel(x=edge)
        with pytest.raises(KeyError, match="no voxel at x=nan"):
            array.sel(x=np.nan)

    def test_outer_faces_belong_to_the_image(self, array):
        half = 0.5 * array.x.attrs["step"]
        assert np.array_equal(array.sel(x=float(array.x[-1]) + half), array.isel(x=-1))
        assert np.array_equal(array.sel(x=float(array.x[0]) - half), array.isel(x=0))

    def test_tolerance_in_millimetres(self, array):
        position = float(array.z[3]) + 0.2
        assert array.sel(z=position, method="nearest", tolerance=0.25).z == array.z[3]
        with pytest.raises(KeyError):
            array.sel(z=position, method="nearest", tolerance=0.1)

    @pytest.mark.parametrize("flip", [1, -1])
    def test_slices_in_either_order_of_ends(self, array, flip):
        flipped = array.isel(x=slice(None, None, flip))
        low, high = float(array.x[1]), float(array.x[4])
        want = flipped.isel(x=slice(1, 5))
        for ends in ((low, high), (high, low)):
            got = flipped.sel(x=slice(*ends))
            assert got.identical(want)

    def test_open_slices_and_steps(self, array):
        middle = float(array.x[2])
        assert array.sel(x=slice(middle, None)).identical(array.isel(x=slice(2, None)))
        assert array.sel(x=slice(None, middle)).identical(array.isel(x=slice(None, 3)))
        assert array.sel(x=slice(None, None, 2)).identical(array.isel(x=slice(None, None, 2)))
        assert array.sel(x=slice(None, None, -1)).identical(array.isel(x=slice(None, None, -1)))
        assert array.sel(x=slice(1e6, 2e6)).sizes["x"] == 0

    def test_lists_and_points(self, array):
        assert array.sel(x=array.x.values[[0, 2]]).identical(array.isel(x=[0, 2]))
        where = xr.DataArray([1, 3], dims="point", coords={"point": [10, 20]})
        x = xr.DataArray(array.x.values[[1, 3]], dims="point", coords=where.coords)
        y = xr.DataArray(array.y.values[[1, 3]], dims="point", coords=where.coords)
        got = array.sel(x=x, y=y)
        assert np.array_equal(got, array.isel(x=where, y=where))
        assert np.array_equal(got.point, [10, 20])
        by_variable = array.sel(x=x.variable, y=y.variable)
        assert np.array_equal(by_variable, got)

    def test_other_methods(self, array):
        with pytest.raises(ValueError, match="only method"):
            array.sel(x=3.0, method="ffill")


class TestCombining:
    @pytest.fixture
    def elsewhere(self, array):
        return attach(np.ones(array.shape), np.diag([2.0, 1, 1, 1]), name="other")

    @pytest.mark.parametrize(
        "combine",
        [
            lambda a, b: a + b,
            lambda a, b: a.where(b > 0),
            lambda a, b: xr.Dataset({"a": a, "b": b}),
            lambda a, b: xr.Dataset({"a": a}).assign(b=b),
            lambda a, b: xr.merge([a.rename("a"), b.rename("b")], join="exact"),
            lambda a, b: xr.align(a, b, join="exact"),
            lambda a, b: xr.align(a, b, join="left"),
            lambda a, b: a.reindex_like(b),
            lambda a, b: xr.concat([a, b], "c"),
            lambda a, b: xr.concat([a, b], "x"),
        ],
    )
    def test_different_grids(self, array, elsewhere, combine):
        with pytest.raises(GridError, match="resample one onto the other first") as error:
            combine(array, elsewhere)
        assert code_of(error) == "GRID_MISMATCH"

    @pytest.mark.parametrize(
        "other",
        [
            np.diag([1.0, 1, 1, 1]),
            np.diag([2.0, 1, 1, 1]),
            np.diag([-1.0, 1, 1, 1]),
            np.array([[1, 0, 0, 0.01], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]),
            np.array([[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]),
            np.array([[1, 0.001, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]),
        ],
    )
    def test_spacing_direction_shear_and_origin_all_count(self, other):
        a = attach(np.ones((1, 5, 5, 5)), np.eye(4))
        b = attach(np.ones((1, 5, 5, 5)), other)
        if np.array_equal(other, np.eye(4)):
            assert (a + b).shape == a.shape
        else:
            with pytest.raises(GridError, match="different grids"):
                a + b

    def test_a_subsampled_image_is_on_another_grid(self, array):
        with pytest.raises(GridError, match="different grids"):
            array + array.isel(x=slice(None, None, 2))

    def test_a_reversed_image_is_aligned_by_place(self, array):
        flipped = array.isel(x=slice(None, None, -1))
        assert (array + flipped).identical(array + array)
        assert np.array_equal((flipped + array).vox.affine, flipped.vox.affine)

    @pytest.mark.parametrize("join", ["inner", "outer", "left", "right"])
    @pytest.mark.parametrize("flip", [1, -1])
    def test_joins_by_place(self, array, join, flip):
        a = array.isel(z=slice(0, 5))
        b = array.isel(z=slice(3, 8)).isel(z=slice(None, None, flip))
        want = {
            "inner": array.isel(z=slice(3, 5)),
            "outer": array,
            "left": a,
            "right": b,
        }[join]
        for got, of in zip(xr.align(a, b, join=join, fill_value=-1), (a, b), strict=True):
            assert np.allclose(affine_of(got), affine_of(want), atol=1e-12)
            assert np.allclose(plain_affine(got), affine_of(want), atol=1e-12)
            inside = np.isin(want.z, of.z)
            assert np.array_equal(got[..., inside], want[..., inside])
            assert (got[..., ~inside] == -1).all()

    def test_single_planes_join_volumes(self, array):
        plane = attach(array.isel(z=slice(2, 3)).data, array.isel(z=slice(2, 3, 3)).vox.affine)
        grown, _ = xr.align(plane, array, join="outer")
        assert np.allclose(grown.vox.affine, array.vox.affine)
        kept, _ = xr.align(plane, array, join="inner")
        assert np.array_equal(kept.vox.affine, plane.vox.affine)

    def test_nothing_in_common(self, array):
        with pytest.raises(GridError, match="do not overlap along z") as error:
            array.isel(z=slice(0, 2)) + array.isel(z=slice(4, 6))
        assert code_of(error) == "NO_OVERLAP"

    def test_planes(self, array):
        third = array.isel(z=3)
        assert (third + third).sizes == third.sizes
        with pytest.raises(GridError, match="planes at different z") as error:
            array.isel(z=4) - third
        assert code_of(error) == "GRID_MISMATCH"
        with pytest.raises(GridError, match="drop_indexes"):
            array - third
        assert (array - third.drop_indexes(["x", "y", "z"])).isel(z=3).sum() == 0

    def test_planes_of_different_extent(self, array):
        plane = array.isel(z=3)
        with pytest.raises(GridError, match=r"write \[3:4\] instead"):
            plane + plane.isel(x=slice(2, None))
        slab = array.isel(z=slice(3, 4))
        assert (slab + slab.isel(x=slice(2, None))).sizes["x"] == 4

    def test_equality_without_alignment(self, array, elsewhere):
        index = index_of(array)
        assert index.equals(copy.deepcopy(index))
        assert not index.equals(index_of(elsewhere))
        assert not index.equals(index_of(array.isel(x=slice(3))))
        assert not index.equals(array.drop_indexes(DIMS).isel(x=0).xindexes.get("c"))
        # xarray explains differences through it, so it must not raise there.
        with pytest.raises(AssertionError):
            xr.testing.assert_identical(array, elsewhere)


class TestConcat:
    def test_along_channels_keeps_the_first(self, array, affine):
        affine[:3, 3] += 1e-7
        both = xr.concat(
            [array, attach(array.data, affine, name="image")],
            "c",
            coords="different",
            compat="equals",
        )
        assert both.sizes["c"] == 4
        assert np.array_equal(both.vox.affine, array.vox.affine)
        assert both.x.dims == ("x",)

    def test_pieces_that_do_not_adjoin(self, array):
        for cut in (slice(4, None), slice(2, None), slice(None, 3)):
            with pytest.raises(GridError, match="do not adjoin along x") as error:
                xr.concat([array.isel(x=slice(0, 3)), array.isel(x=cut)], "x")
            assert code_of(error) == "NOT_ADJOINING"

    def test_pieces_that_differ_across(self, array):
        pieces = [array.isel(x=slice(0, 3)), array.isel(x=slice(3, 6), y=slice(3))]
        with pytest.raises(GridError, match="differ along y"):
            xr.concat(pieces, "x")

    def test_single_planes(self, array):
        slabs = xr.concat([array.isel(z=slice(k, k + 1)) for k in range(8)], "z")
        assert slabs.identical(array)
        planes = reattach(xr.concat([array.isel(z=k) for k in range(2, 5)], "z"))
        assert np.allclose(planes.vox.affine, array.isel(z=slice(2, 5)).vox.affine)
        assert index_of(planes) is not None

    def test_groups_come_back_in_order(self, array):
        # xarray takes the groups apart by value and says where each voxel belongs.
        flipped = array.isel(x=slice(None, None, -1))
        same = flipped.groupby("x").map(lambda group: group)
        assert np.allclose(affine_of(reattach(same)), affine_of(flipped))


class TestProtocol:
    @pytest.mark.parametrize(
        "rename",
        [
            lambda a: a.rename(x="i"),
            lambda a: a.to_dataset().rename_vars(z="slice"),
            lambda a: a.to_dataset().rename_dims(y="j"),
        ],
    )
    def test_names_of_axes_are_fixed(self, array, rename):
        with pytest.raises(GridError, match="carry the affine") as error:
            rename(array)
        assert code_of(error) == "FIXED_NAMES"

    def test_other_names_are_free(self, array):
        renamed = array.rename("t1").rename(c="time")
        assert np.array_equal(renamed.vox.affine, array.vox.affine)

    def test_roll(self, array):
        assert array.roll(x=6, roll_coords=True).identical(array)
        rolled = array.roll(x=2, roll_coords=True)
        with pytest.raises(GridError, match="not evenly spaced"):
            affine_of(rolled)

    def test_no_pandas_index(self, array):
        with pytest.raises(TypeError, match=r"obj\.vox\.detach\(\)") as error:
            _ = array.indexes
        assert isinstance(error.value, PandasIndexError)
        assert error.value.code == "NO_PANDAS_INDEX"

    def test_repr(self, array):
        assert "AffineIndex(steps=(0.948683, " in repr(array)
        assert len(index_of(array)._repr_inline_(20)) == 20

    def test_copies_are_equal(self, array):
        for same in (array.copy(), array.copy(deep=True), copy.deepcopy(array)):
            assert np.array_equal(same.vox.affine, array.vox.affine)
            assert (same + array).shape == array.shape

    def test_set_xindex(self, array):
        world = array.spatial_ref.attrs["intrinsic_to_world"]
        bare = array.drop_indexes(DIMS)
        again = bare.set_xindex(DIMS, AffineIndex, world=world)
        assert np.allclose(affine_of(again), affine_of(array), rtol=0, atol=1e-12)


@pytest.mark.parametrize("lazy", [True, False])
def test_slicing_a_giant_costs_no_more_than_a_dwarf(affine, lazy):
    data = da.zeros((1, 2048, 2048, 4096), chunks=(1, 256, 256, 256), dtype="i2")
    giant = attach(data if lazy else np.broadcast_to(np.int16(0), data.shape), affine)

    def seconds():
        start = time.thread_time()
        giant.isel(x=slice(100, 196), y=slice(None, 96), z=slice(None, -97, -1))
        return time.thread_time() - start

    assert min(seconds() for _ in range(30)) < 2e-3
