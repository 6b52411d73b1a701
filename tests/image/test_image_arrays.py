"""The same image for xarray and dask, and back."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
import torch
import xarray as xr

import voxarray as vx
from scans import SHAPE, voxels
from voxarray.testing.counting import count_reads


def test_making_graphs_reads_nothing(save_nifti):
    image = vx.ScalarImage(save_nifti("scan.nii.gz", voxels()))
    with count_reads() as reads:
        array = image[1:, ..., ::-1].array
        assert array.dims == ("c", "x", "y", "z")
        graph = array.mean("z") + 1
        assert image.dask.shape == SHAPE
        assert image.rechunk(2).dask.chunks[1] == (2, 2, 1)
        back = vx.ScalarImage.from_xarray(array.isel(x=slice(1, 3)))
        assert repr(back)
        assert back[1:].shape == (2, 1, 6, 7)
    assert reads.voxels == 0
    np.testing.assert_array_equal(graph, voxels()[:, 1:, :, ::-1].mean(-1) + 1)


def test_voxels_and_geometry(scan):
    image = vx.ScalarImage(scan)[1:, ::-2]
    np.testing.assert_array_equal(image.array, voxels()[:, 1:, ::-2])
    np.testing.assert_array_equal(image.dask.compute(), voxels()[:, 1:, ::-2])
    np.testing.assert_allclose(image.array.vox.affine, image.affine, atol=1e-9)
    assert image.array.dtype == image.dtype == np.int16


def test_arrays_of_a_loaded_image_are_of_its_tensor(scan):
    image = vx.ScalarImage(scan)
    image.data[:] = 5
    assert (image.array == 5).all()
    assert (image.dask == 5).all()
    assert (image[1:, ::-1].array == 5).all()


def test_from_xarray_keeps_the_geometry(scan):
    image = vx.ScalarImage(scan)
    array = (image.array.isel(x=slice(None, None, -1), y=slice(1, None, 2)) * 2).transpose()
    back = vx.LabelMap.from_xarray(array, site="A")
    expected = image[::-1, 1::2]
    np.testing.assert_allclose(back.affine, expected.affine, atol=1e-9)
    np.testing.assert_array_equal(back.data, expected.data * 2)
    assert (back.type, back["site"], back.path) == ("label", "A", None)
    moved = vx.ScalarImage(tensor=image.array, affine=np.eye(4))
    np.testing.assert_array_equal(moved.affine, np.eye(4))
    np.testing.assert_array_equal(moved.data, voxels())


def test_from_xarray_of_what_is_no_grid():
    with pytest.raises(vx.GridError):
        vx.ScalarImage.from_xarray(xr.DataArray(np.zeros((2, 3)), dims=("lat", "lon")))


def test_rechunk_compute_persist(scan):
    image = vx.ScalarImage(scan, site="A")[1:]
    chunked = image.rechunk((1, 2, 6, 7))
    assert chunked.chunks == (1, 2, 6, 7)
    persisted, computed = chunked.persist(), image.compute()
    assert persisted.chunks == (1, 2, 6, 7)
    scan.unlink()
    for other in (persisted, computed):
        assert other["site"] == "A"
        np.testing.assert_array_equal(other.affine, image.affine)
        np.testing.assert_array_equal(other.data, voxels()[:, 1:])
    assert "data" not in image


def test_compute_needs_no_promotion(save_nifti):
    image = vx.ScalarImage(save_nifti("scan.nii", voxels(dtype="uint16"))).compute()
    assert image.dtype == np.uint16
    assert image.memory_report().resident == 2 * voxels().size
    assert image.path is not None
    assert "memory" in repr(image)


def test_levels(tmp_path):
    image = vx.ScalarImage(tensor=voxels((1, 70, 80, 90)), affine=np.diag([-2.0, 2, 2, 1]))
    path = tmp_path / "scan.ome.zarr"
    image.save(path, levels="all")
    archived = vx.ScalarImage(path, site="A")
    assert archived.level(0) == archived
    assert archived.level(0)["path"] == str(path)
    half = archived.level(1)
    assert half.shape == (1, 35, 40, 45)
    assert half["site"] == "A"
    np.testing.assert_allclose(half.get_bounds(), archived.get_bounds(), atol=1e-6)
    moved = vx.ScalarImage(path, affine=np.eye(4)).level(1)
    np.testing.assert_allclose(moved.spacing, (2, 2, 2))
    np.testing.assert_allclose(moved.origin, (0.5, 0.5, 0.5))
    for wrong in (20, -1):
        with pytest.raises(IndexError, match=f"no level {wrong}"):
            archived.level(wrong)
    with pytest.raises(IndexError, match="no pyramid"):
        image.level(1)
    with pytest.raises(vx.StateError, match=r"take image.level\(n\), then slice"):
        archived[1:].level(1)


def test_dask_without_torch_types():
    array = da.zeros(SHAPE, dtype="uint16", chunks=2)
    image = vx.ScalarImage(tensor=array)
    assert image.dask.dtype == np.uint16
    assert image.data.dtype == torch.int32
