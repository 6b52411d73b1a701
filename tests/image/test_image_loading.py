"""Voxels as tensors: read once, kept, replaced, forgotten, refused; few copies, honest memory."""

from __future__ import annotations

import threading

import dask
import dask.array as da
import numpy as np
import pytest
import torch

import voxarray as vx
from scans import SHAPE, voxels
from voxarray.testing.counting import count_reads


def test_all_views_of_the_data_are_one_tensor_read_once(scan):
    image = vx.ScalarImage(scan)
    with count_reads() as reads:
        tensor = image.data
        assert tensor is image.tensor
        assert tensor is image["data"]
        assert tensor is image[vx.DATA]
        assert tensor is image.get("data")
        image.load()
        assert image.data is tensor
    assert reads.voxels == voxels().size
    assert tensor.dtype == torch.int16
    np.testing.assert_array_equal(tensor, voxels())


def test_file_order_is_kept(save_nifti):
    for name in ("scan.nii", "scan.nii.gz"):
        tensor = vx.ScalarImage(save_nifti(name, voxels())).data
        assert tensor.permute(0, 3, 2, 1).is_contiguous()


def test_threads_get_one_tensor(save_nifti):
    image = vx.ScalarImage(save_nifti("scan.nii.gz", voxels((1, 40, 40, 40))))
    found = []
    threads = [threading.Thread(target=lambda: found.append(image.data)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(tensor) for tensor in found}) == 1


def test_a_loaded_image_owns_its_voxels(save_nifti):
    """What readers cache is never what users edit."""
    path = save_nifti("scan.nii.gz", voxels())
    part = vx.ScalarImage(path)[:, 1:]
    part.data[:] = -1
    np.testing.assert_array_equal(vx.ScalarImage(path)[:, 1:].data, voxels()[:, :, 1:])
    block = da.from_array(voxels(), chunks=-1).persist()
    lazy = vx.ScalarImage(tensor=block)
    lazy.data[:] = -1
    np.testing.assert_array_equal(block.compute(), voxels())


@pytest.mark.parametrize("dtype", ["bool", "uint16", "uint32", "uint64"])
@pytest.mark.parametrize("key", [slice(None), (slice(None, None, -1), ..., slice(1, None, 2))])
def test_promotion(save_nifti, dtype, key):
    array = voxels(dtype=dtype)
    for source in (array, da.from_array(array, chunks=3)):
        image = vx.ScalarImage(tensor=source)[key]
        assert image.memory == image.data.nbytes
        np.testing.assert_array_equal(image.data, vx.ScalarImage(tensor=array)[key].compute().array)
    if dtype != "bool":  # not a type of NIfTI
        for name in ("scan.nii", "scan.nii.gz"):
            image = vx.ScalarImage(save_nifti(name, array))[key]
            assert image.dtype == dtype
            expected = image.compute().array
            np.testing.assert_array_equal(image.data, expected)


def test_scaled_integers(save_nifti):
    path = save_nifti("scan.nii", voxels(), scl_slope=0.1, scl_inter=-3)
    image = vx.ScalarImage(path)
    assert image.dtype == np.float32
    stored = voxels().astype("float64")
    np.testing.assert_array_equal(image.data, (stored * np.float32(0.1) - 3).astype("float32"))


# --- Unloading and replacing --------------------------------------------------------------------


def test_unload_forgets_edits(scan):
    image = vx.ScalarImage(scan)
    with pytest.raises(RuntimeError, match="has not been loaded yet"):
        image.unload()
    image.data[:] = 0
    image.unload()
    assert "data" not in image
    np.testing.assert_array_equal(image.data, voxels())


def test_nothing_to_reload_from(scan):
    memory = [vx.ScalarImage(tensor=array) for array in (voxels(), torch.zeros(SHAPE))]
    replaced = vx.ScalarImage(scan)
    replaced.set_data(torch.zeros(SHAPE))
    for image in (*memory, replaced, memory[1][2:]):
        image.load()
        with pytest.raises(RuntimeError, match="no path is available"):
            image.unload()


def test_a_lazy_array_can_be_computed_again():
    image = vx.ScalarImage(tensor=da.from_array(voxels(), chunks=3))
    image.data[:] = 0
    image.unload()
    np.testing.assert_array_equal(image.data, voxels())


@pytest.mark.parametrize("make", [torch.from_numpy, np.asarray, lambda a: da.from_array(a)])
def test_set_data(scan, make):
    image = vx.ScalarImage(scan, site="A")
    affine = image.affine
    other = voxels((3, 4, 4, 4), "float32")
    image.set_data(make(other))
    assert image.shape == other.shape
    assert image["site"] == "A"
    np.testing.assert_array_equal(image.affine, affine)
    np.testing.assert_array_equal(image.data, other)
    np.testing.assert_array_equal(image[1:, 0].data, other[:, 1:, :1])


def test_other_ways_to_set_data(scan):
    image, tensor = vx.ScalarImage(scan), torch.zeros(SHAPE)
    with pytest.warns(DeprecationWarning, match=r"use image.set_data\(tensor\)"):
        image.data = tensor
    assert image.data is tensor
    image["data"] = other = torch.ones(SHAPE)
    assert image.data is other
    for wrong, error in ((torch.zeros(2, 3), ValueError), ([1], TypeError)):
        with pytest.raises(error, match="Input tensor"):
            image.set_data(wrong)
    with pytest.raises(TypeError, match=r"use from_xarray\(array\)"):
        image.set_data(image.array)
    assert image.data is other


def test_the_affine_can_be_set_at_any_time(scan):
    given = np.diag([2.0, 2.0, 2.0, 1.0])
    before, opened, loaded, part = (vx.ScalarImage(scan) for _ in range(4))
    _ = opened.shape
    loaded.load()
    part = part[1:, ::-1]
    for image in (before, opened, loaded, part):
        image.affine = given
        assert image["affine"] is image.affine
        assert image.spacing == (2, 2, 2)
        assert image[1:].origin == (2, 0, 0)
        image.load()
        np.testing.assert_array_equal(image.affine, given)
        np.testing.assert_array_equal(image.source.affine, given)


# --- Other forms --------------------------------------------------------------------------------


def test_to_tensor_keeps_nothing(save_nifti):
    image = vx.ScalarImage(save_nifti("scan.nii.gz", voxels(dtype="uint16")))
    assert image.to_tensor().dtype == torch.int32
    for dtype in (torch.float16, torch.float32, torch.bfloat16, torch.uint8, torch.int64):
        tensor = image.to_tensor(dtype=dtype, device="cpu")
        assert tensor.dtype == dtype
        expected = torch.from_numpy(voxels(dtype="int32")).to(dtype)
        assert torch.equal(tensor, expected)
    assert "data" not in image
    assert image.to_tensor(device="meta").shape == SHAPE
    image.load()
    assert image.to_tensor() is image.data
    assert image.to_tensor(torch.float64).dtype == torch.float64


def test_numpy(scan):
    image = vx.ScalarImage(scan)
    array = image.numpy()
    array[0, 0, 0, 0] = 99
    assert image.data[0, 0, 0, 0] == 99
    assert np.asarray(image).base is not None
    np.testing.assert_array_equal(np.asarray(image), array)
    assert np.asarray(image, dtype=float).dtype == float
    assert np.array(image)[0, 0, 0, 0] == 99
    with pytest.raises(ValueError, match="copy"):
        np.asarray(image, dtype=float, copy=False)


def test_tensors_that_numpy_has_no_word_for():
    tensor = torch.arange(24).reshape(1, 2, 3, 4)
    image = vx.ScalarImage(tensor=tensor.bfloat16().requires_grad_())
    assert image.memory == 48
    assert image.array.dtype == np.float32
    np.testing.assert_array_equal(image.numpy(), tensor)
    np.testing.assert_array_equal(image[..., ::-1].array, tensor.flip(-1))
    conjugate = vx.ScalarImage(tensor=torch.complex(tensor.float(), tensor.float()).conj())
    np.testing.assert_array_equal(conjugate.numpy(), tensor.numpy() * (1 - 1j))


# --- Budget -------------------------------------------------------------------------------------


def test_over_budget_is_refused_before_a_read(save_nifti):
    image = vx.ScalarImage(save_nifti("scan.nii.gz", voxels((1, 64, 64, 64))))
    with dask.config.set({"voxarray.memory-budget": "256 KiB"}):
        for operation in (image.load, lambda: image.data, image.to_tensor, image.compute):
            with count_reads() as reads, pytest.raises(MemoryError, match=r"slice it, take"):
                operation()
            assert (reads.voxels, reads.decoded) == (0, 0)
        assert image[:4, :4, :4].shape == (1, 4, 4, 4)
    image.load()


def test_the_projection_of_a_conversion_counts_what_is_asked_for(scan):
    image = vx.ScalarImage(scan)
    size = voxels().size
    with dask.config.set({"voxarray.memory-budget": size * 7}):
        assert image.to_tensor().element_size() == 2
        with pytest.raises(vx.MemoryBudgetError):
            image.to_tensor(torch.float64)
