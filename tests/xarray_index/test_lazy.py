"""Sources as arrays: what is read, how often, and that it is NumPy's answer."""

import pickle
from dataclasses import dataclass, field
from typing import ClassVar

import dask
import dask.array as da
import nibabel as nib
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import voxarray as vx
from voxarray.core.errors import GridError, OutOfRangeError
from voxarray.source.base import Channels, Source, digest
from voxarray.source.indexing import SourceArray
from voxarray.testing.strategies import integers, shapes, slices
from voxarray.xarray_index.attach import affine_of, grid_of, plain_affine
from voxarray.xarray_index.backend import VoxarrayBackend, dataset_of
from voxarray.xarray_index.lazy import from_dataarray, to_dask, to_dataarray

READS: list[tuple[int, int, int, int]] = []  # a closure would be pickled by dask, and not count


@dataclass(frozen=True, eq=False)
class Counted(Source):
    """Voxels in RAM that are read in blocks, and count it."""

    voxels: np.ndarray = field(repr=False)
    affine: np.ndarray
    chunks: tuple[int, int, int, int] = (1, 4, 4, 4)
    channels: Channels = Channels("time", 2.5)
    levels: ClassVar[int] = 1

    @property
    def shape(self):
        return self.voxels.shape

    @property
    def dtype(self):
        return self.voxels.dtype

    def read(self, selection):
        READS.append(selection.shape)
        return self.voxels[selection.slices()]

    def token(self):
        return digest(self.voxels, self.affine)


@pytest.fixture
def source(affine):
    READS.clear()
    voxels = np.arange(2 * 8 * 9 * 10, dtype="i2").reshape(2, 10, 9, 8).transpose(0, 3, 2, 1)
    return Counted(voxels, affine)


class TestSourceArray:
    @settings(max_examples=200, deadline=None)
    @given(st.data(), shapes())
    def test_orthogonal_keys(self, data, shape):
        voxels = np.arange(np.prod(shape)).reshape(shape)
        array = SourceArray(Counted(voxels, np.eye(4)))
        keys = [
            data.draw(
                st.one_of(
                    st.slices(n),
                    slices(n),
                    integers(n),
                    st.lists(st.integers(-n, n - 1), max_size=5).map(lambda x: np.array(x, int)),
                    st.lists(st.booleans(), min_size=n, max_size=n).map(np.array),
                )
            )
            for n in shape
        ]
        got = array[tuple(keys)]
        want = voxels
        for axis in (3, 2, 1, 0):
            want = want[(slice(None),) * axis + (keys[axis],)]
        assert got.dtype == want.dtype
        assert np.array_equal(got, want)

    def test_reads_no_more_than_the_key_names(self, source):
        array = SourceArray(source)
        array[0, ::2, [1, 2, 8], 3:5]
        assert sum(np.prod(shape) for shape in READS) == 4 * 3 * 2
        assert len(READS) == 2
        READS.clear()
        assert array[0, 3:3].shape == (0, 9, 10)
        assert array[:, :, [], 0].shape == (2, 8, 0)
        assert not READS

    def test_short_keys_and_errors(self, source):
        array = SourceArray(source)
        assert np.array_equal(array[1], source.voxels[1])
        with pytest.raises(IndexError):
            array[0, [1, 99]]
        with pytest.raises(IndexError):
            array[2]

    def test_a_plain_slice_is_a_view(self, source):
        assert np.shares_memory(SourceArray(source)[:, ::-1, 2:], source.voxels)


class TestDask:
    def test_building_reads_nothing(self, source):
        array = to_dataarray(source)
        repr(array)
        array._repr_html_()
        (array.isel(x=slice(None, None, -1), z=3) * 2).mean("c")
        pickle.dumps(array)
        assert not READS
        assert array.chunks == ((1, 1), (4, 4), (4, 4, 1), (4, 4, 2))
        assert array.attrs == {"channel_kind": "time", "channel_step": 2.5, "channel_count": 2}

    def test_each_block_once(self, source):
        voxels = to_dask(source).compute(scheduler="synchronous")
        assert np.array_equal(voxels, source.voxels)
        assert len(READS) == 2 * 2 * 3 * 3
        assert max(READS) <= source.chunks

    def test_slices_reach_the_source(self, source):
        part = to_dataarray(source, (2, 8, 9, 10)).isel(x=slice(2, 4), y=3)
        assert np.array_equal(part.compute(scheduler="synchronous"), source.voxels[:, 2:4, 3])
        assert sum(np.prod(shape) for shape in READS) <= source.voxels.size

    @settings(max_examples=60, deadline=None)
    @given(st.data(), shapes())
    def test_slices_of_slices(self, data, shape):
        voxels = np.arange(np.prod(shape)).reshape(shape)
        array, want = to_dask(Counted(voxels, np.eye(4), chunks=(1, 3, 2, 4))), voxels
        for _ in range(2):
            keys = tuple(data.draw(st.one_of(slices(n), integers(n))) for n in want.shape)
            array, want = array[keys], want[keys]
        assert np.array_equal(array.compute(scheduler="synchronous"), want)

    def test_keys_are_those_of_equal_work(self, source, affine):
        same = Counted(source.voxels.copy(), affine.copy())
        other = Counted(source.voxels + 1, affine)
        assert to_dask(source).name == to_dask(same).name
        assert to_dask(source).name != to_dask(other).name
        assert to_dask(source).name != to_dask(source, (1, 8, 9, 10)).name

    def test_survives_pickling(self, source):
        array = pickle.loads(pickle.dumps(to_dask(source)))
        assert np.array_equal(array.compute(), source.voxels)

    def test_laziness_survives_threads(self, source):
        with dask.config.set(scheduler="threads"):
            assert to_dataarray(source).isel(x=slice(None, None, -1)).sum() == source.voxels.sum()


class TestFromDataArray:
    def test_round_trip(self, source):
        voxels, affine, channels = from_dataarray(to_dataarray(source))
        assert isinstance(voxels, da.Array)
        assert np.array_equal(affine, source.affine)
        assert channels == source.channels
        assert not READS

    def test_any_order_and_missing_axes(self, source):
        array = to_dataarray(source)
        voxels, affine, _ = from_dataarray(array.transpose("z", "y", "c", "x"))
        assert np.array_equal(voxels.compute(), source.voxels)
        plane = array.isel(c=1, y=-1).transpose("z", "x")
        voxels, affine, _ = from_dataarray(plane)
        assert np.array_equal(voxels.compute(), source.voxels[1:, :, -1:])
        assert np.array_equal(affine, affine_of(plane))

    def test_numpy_stays_numpy_and_shared(self, array):
        voxels, _, channels = from_dataarray(array.transpose("z", ...))
        assert np.shares_memory(voxels, array.data)
        assert channels == Channels()

    def test_a_lazy_backend_array_is_not_loaded(self, source):
        lazy = dataset_of(source).image
        voxels, _, _ = from_dataarray(lazy.isel(x=slice(2, None)))
        assert not READS
        assert isinstance(voxels, da.Array)
        assert np.array_equal(voxels.compute(), source.voxels[:, 2:])

    def test_other_dimensions(self, array):
        with pytest.raises(GridError, match=r"also has \['echo'\]") as error:
            from_dataarray(array.expand_dims("echo"))
        assert error.value.code == "BAD_DIMS"


class TestBackend:
    @pytest.fixture
    def file(self, tmp_path, affine):
        voxels = np.random.default_rng(0).integers(-9, 9, (8, 9, 10)).astype("i2")
        image = nib.Nifti1Image(voxels, affine)
        path = tmp_path / "scan.nii"
        image.to_filename(path)
        return path

    @pytest.mark.parametrize("chunks", [None, {}, {"x": 8}])
    def test_opens_what_voxarray_opens(self, file, chunks):
        dataset = xr.open_dataset(file, engine="voxarray", chunks=chunks)
        image = nib.load(file)
        assert dataset.image.dims == ("c", "x", "y", "z")
        assert np.array_equal(dataset.image[0], np.asarray(image.dataobj))
        assert np.allclose(dataset.vox.affine, image.affine)
        assert np.allclose(plain_affine(dataset.image), image.affine)
        assert (dataset.image.chunks is None) == (chunks is None)

    def test_guesses_what_nobody_else_opens(self, file):
        guess = VoxarrayBackend().guess_can_open
        assert guess(file)
        assert guess("A.NII.GZ")
        assert not guess("a.zarr")
        assert guess("a.ome.zarr")
        assert guess("folder/a.ome.zarr/")
        assert not guess(b"a.nii")
        assert np.array_equal(xr.open_dataset(file).image[0], np.asarray(nib.load(file).dataobj))

    def test_options(self, file):
        opened = xr.open_dataset(file, engine="voxarray", drop_variables="image")
        assert list(opened.variables) == ["x", "y", "z", "spatial_ref"]
        with pytest.raises(OutOfRangeError):
            xr.open_dataset(file, engine="voxarray", level=1)

    def test_nothing_is_read_before_it_is_needed(self, source):
        dataset = dataset_of(source)
        part = dataset.isel(x=slice(None, None, -2), z=[1, 2, 7]).image
        repr(part)
        assert affine_of(part.isel(z=[0, 1])) is not None
        assert not READS
        assert np.array_equal(part, source.voxels[:, ::-2][..., [1, 2, 7]])
        # One read per run of neighbours, of nothing but the voxels in it.
        assert sum(np.prod(shape) for shape in READS) == part.size
        assert part.encoding["preferred_chunks"] == {"c": 1, "x": 4, "y": 4, "z": 4}

    def test_pointwise(self, source):
        where = xr.DataArray([1, 5], dims="p")
        got = dataset_of(source).image.isel(x=where, y=where, z=where)
        assert np.array_equal(got, source.voxels[:, [1, 5], [1, 5], [1, 5]])

    def test_chunks_are_those_of_the_source(self, source, monkeypatch):
        monkeypatch.setattr("voxarray.formats.registry.open_source", lambda _: source)
        dataset = xr.open_dataset("any", engine=VoxarrayBackend, chunks={})
        assert dataset.image.chunks == to_dask(source).chunks
        assert grid_of(dataset) == source.grid
        assert not READS


class TestBlocksOfArchives:
    def test_an_image_of_one_shard_has_several_blocks(self, tmp_path):
        voxels = np.zeros((1, 200, 256, 200), np.int16)
        voxels[..., ::3] = np.arange(200)[:, None, None]
        vx.ScalarImage(tensor=voxels).save(tmp_path / "a.ome.zarr")
        image = vx.ScalarImage(tmp_path / "a.ome.zarr")
        assert image.chunks == image.shape
        # Whole planes, cut at the borders of chunks: none is decoded twice.
        assert image.array.chunks == ((1,), (200,), (256,), (64, 64, 64, 8))
        assert np.array_equal(image.array, voxels)
        dataset = xr.open_dataset(tmp_path / "a.ome.zarr", engine=VoxarrayBackend, chunks={})
        assert dataset.image.chunks == image.array.chunks

    def test_small_images_are_one_block(self, tmp_path):
        vx.ScalarImage(tensor=np.zeros((1, 70, 70, 70), np.int16)).save(tmp_path / "a.ome.zarr")
        array = vx.ScalarImage(tmp_path / "a.ome.zarr").array
        assert array.chunks == ((1,), (70,), (70,), (70,))


def test_volumes_that_were_chosen_do_not_keep_a_step_that_may_be_wrong(tmp_path):
    series = nib.Nifti1Image(np.zeros((3, 4, 5, 6), "i2"), np.eye(4))
    series.header.set_zooms((1, 1, 1, 2.5))
    series.header.set_xyzt_units("mm", "sec")
    nib.save(series, tmp_path / "a.nii")
    scan = vx.ScalarImage(tmp_path / "a.nii")
    opened = xr.open_dataset(tmp_path / "a.nii", engine="voxarray")["image"]
    for array in (scan.array, opened):
        for chosen, step in (
            (array, 2.5),
            (array.isel(x=slice(1, None)), 2.5),
            (array.isel(c=slice(None, None, 2)), 0),
            (array.isel(c=[0, 3, 4]), 0),
            (array.isel(c=4), 0),
        ):
            channels = vx.ScalarImage.from_xarray(chosen).source.channels
            assert channels == Channels("time", step)
    assert vx.ScalarImage.from_xarray(scan[::2, :, :, :].array).source.channels.step == 5
