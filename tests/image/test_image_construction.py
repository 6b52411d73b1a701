"""Every row of the construction table of the Image page."""

from __future__ import annotations

import os
import re
import warnings
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
import torch

import voxarray as vx
from scans import AFFINE, SHAPE, voxels
from voxarray.testing.counting import count_reads


class Pathish(os.PathLike):
    def __init__(self, path):
        self.path = path

    def __fspath__(self):
        return str(self.path)


@pytest.mark.parametrize("kind", [str, Path, Pathish])
def test_path(scan, kind):
    image = vx.ScalarImage(kind(scan))
    assert image.path == scan
    assert image["path"] == str(scan)
    assert image["stem"] == "scan"
    np.testing.assert_allclose(image.affine, AFFINE, atol=1e-6)


def test_construction_does_not_open(tmp_path):
    path = tmp_path / "not_an_image.nii"
    path.write_bytes(b"nothing")
    image = vx.ScalarImage(path)
    with pytest.raises(vx.FormatError):
        _ = image.shape


def test_the_working_directory_may_change(scan, monkeypatch, tmp_path):
    monkeypatch.chdir(scan.parent)
    image = vx.ScalarImage(scan.name)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert image.path == Path(scan.name)
    assert image.shape == SHAPE


def test_home_is_expanded(scan, monkeypatch):
    monkeypatch.setenv("HOME", str(scan.parent))
    assert vx.ScalarImage("~/scan.nii").path == scan


@pytest.mark.parametrize(
    ("path", "error", "message"),
    [
        (None, ValueError, "A value for path or tensor must be given"),
        ("nope.nii", FileNotFoundError, 'File not found: "nope.nii"'),
        (["nope.nii"], FileNotFoundError, 'File not found: "nope.nii"'),
        (torch.zeros(SHAPE), TypeError, "use ScalarImage(tensor=your_tensor)"),
        (np.zeros(SHAPE), TypeError, "use ScalarImage(tensor=your_tensor)"),
        (da.zeros(SHAPE), TypeError, "use ScalarImage(tensor=your_tensor)"),
        ([np.zeros(SHAPE)], TypeError, "use ScalarImage(tensor=your_tensor)"),
        ({"path": "a.nii"}, TypeError, "The path argument cannot be a dictionary"),
        (5, TypeError, "Input path must be a path or sequence of paths, not int"),
        (b"a.nii", TypeError, "Input path must be a path or sequence of paths, not bytes"),
        ([5], TypeError, "Expected type str or Path but found an object of type <class 'int'>"),
        ([], ValueError, "The sequence of paths is empty"),
        ("~nosuchuser/a.nii", RuntimeError, "Conversion to path not possible"),
    ],
)
def test_what_is_no_path(path, error, message):
    with pytest.raises(error, match=re.escape(message)):
        vx.ScalarImage(path)


def test_verify_path_is_for_slow_drives():
    image = vx.ScalarImage("nope.nii", verify_path=False)
    assert "nope.nii" in repr(image)
    assert "NOT_FOUND" in repr(image)
    with pytest.raises(FileNotFoundError):
        image.load()


def test_urls_keep_their_slashes():
    image = vx.ScalarImage("s3://bucket/scan.zarr")
    assert image.path == "s3://bucket/scan.zarr"  # constructed without asking the network


# --- Voxels -------------------------------------------------------------------------------------


def test_a_tensor_is_kept_as_it_is():
    tensor = torch.rand(SHAPE)
    image = vx.ScalarImage(tensor=tensor)
    assert image.data is tensor
    assert image.path is None
    assert image["path"] == ""
    assert image["stem"] == ""
    np.testing.assert_array_equal(image.affine, np.eye(4))


def test_a_boolean_tensor_becomes_uint8():
    assert vx.LabelMap(tensor=torch.rand(SHAPE) > 0.5).data.dtype == torch.uint8


def test_a_numpy_array_shares_its_memory():
    array = voxels()
    image = vx.ScalarImage(tensor=array)
    image.data[0, 1, 2, 3] = -7
    assert array[0, 1, 2, 3] == -7


def test_a_dask_array_stays_lazy():
    image = vx.ScalarImage(tensor=da.from_array(voxels(), chunks=3), affine=AFFINE)
    with count_reads() as reads:
        child = image[1:3, ::-1]
        assert child.shape == (2, 2, 6, 7)
        assert repr(child)
    assert reads.voxels == 0
    np.testing.assert_array_equal(child.data, voxels()[:, 1:3, ::-1])


CHOSEN_BY_TRUTH = da.ones((1, 4, 5, 6))[:, da.from_array(np.array([True, False, True, True]))]
"""Of how many planes, dask does not know before it computes."""


@pytest.mark.parametrize(
    ("tensor", "error", "message"),
    [
        ([1, 2], TypeError, "Input tensor must be a PyTorch tensor or NumPy array"),
        ("scan.nii", TypeError, "but type \"<class 'str'>\" was found"),
        (torch.zeros(2, 3, 4), ValueError, "Input tensor must be 4D"),
        (np.zeros((2, 3, 4)), ValueError, "Input tensor must be 4D"),
        (np.zeros((1, 2, 3, 4), "U1"), TypeError, "must hold numbers"),
        (np.zeros((1, 2, 0, 4)), ValueError, "holds no voxels"),
        (torch.zeros(1, 2, 0, 4), ValueError, "holds no voxels"),
        (CHOSEN_BY_TRUTH, ValueError, "call array.compute_chunk_sizes() first"),
    ],
)
def test_what_is_no_tensor(tensor, error, message):
    with pytest.raises(error, match=re.escape(message)):
        vx.ScalarImage(tensor=tensor)


def test_path_and_tensor(scan):
    image = vx.ScalarImage(scan, tensor=torch.zeros(1, 2, 3, 4))
    assert image.shape == (1, 2, 3, 4)
    assert image.path == scan


# --- Affine -------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [np.array, torch.tensor])
def test_an_affine_is_honoured_with_a_path(scan, make):
    given = np.diag([2.0, 3.0, 4.0, 1.0])
    image = vx.ScalarImage(scan, affine=make(given))
    np.testing.assert_array_equal(image.affine, given)
    image.load()
    np.testing.assert_array_equal(image.affine, given)
    np.testing.assert_array_equal(image[1:].affine[:3, 3], (2, 0, 0))


def test_an_affine_is_copied():
    given = np.eye(4)
    image = vx.ScalarImage(tensor=torch.zeros(SHAPE), affine=given)
    given[0, 3] = 5
    np.testing.assert_array_equal(image.affine, np.eye(4))
    with pytest.raises(ValueError, match="read-only"):
        image.affine[0, 3] = 5


@pytest.mark.parametrize(
    ("affine", "error", "message"),
    [
        (np.eye(3), ValueError, "shape (4, 4), got (3, 3)"),
        (np.zeros((4, 4)), ValueError, "0 0 0 1"),
        (np.eye(4).tolist(), TypeError, "Affine must be a NumPy array"),
        ("RAS", TypeError, "Affine must be a NumPy array"),
    ],
)
def test_what_is_no_affine(scan, affine, error, message):
    for given in ({"path": scan}, {"tensor": torch.zeros(SHAPE)}):
        with pytest.raises(error, match=re.escape(message)):
            vx.ScalarImage(**given, affine=affine)
    image = vx.ScalarImage(scan)
    with pytest.raises(error, match=re.escape(message)):
        image.affine = affine


# --- Type and metadata --------------------------------------------------------------------------


def test_types(scan):
    assert vx.ScalarImage(scan).type == vx.INTENSITY == "intensity"
    assert vx.LabelMap(scan)["type"] == vx.LABEL == "label"
    assert vx.ScalarImage(scan, type=vx.INTENSITY).type == vx.INTENSITY
    assert vx.Image(scan, vx.SAMPLING_MAP).type == "sampling_map"


def test_wrong_types(scan):
    with pytest.raises(ValueError, match="Type of ScalarImage is always 'intensity'"):
        vx.ScalarImage(scan, type=vx.LABEL)
    with pytest.raises(ValueError, match="Type of LabelMap is always 'label'"):
        vx.LabelMap(scan, type=vx.INTENSITY)
    with pytest.warns(FutureWarning, match="use ScalarImage or LabelMap"):
        assert vx.Image(scan).type == vx.INTENSITY


def test_metadata(scan):
    image = vx.ScalarImage(scan, bvals=[0, 1000], site="A")
    assert image["bvals"] == [0, 1000]
    assert image[1:]["site"] == "A"
    with pytest.raises(KeyError, match="age"):
        image["age"]


@pytest.mark.parametrize("key", ["data", "stem"])
def test_reserved_keys(scan, key):
    with pytest.raises(ValueError, match=f'Key "{key}" is reserved'):
        vx.ScalarImage(scan, **{key: 1})


def test_constants():
    names = ("DATA", "AFFINE", "PATH", "STEM", "TYPE")
    assert [getattr(vx, name) for name in names] == ["data", "affine", "path", "stem", "type"]


# --- NaNs ---------------------------------------------------------------------------------------


def test_nans_are_found_when_voxels_become_a_tensor(save_nifti):
    array = voxels(dtype="float32")
    array[1, 2, 3, 4] = np.nan
    path = save_nifti("nans.nii", array)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        image = vx.ScalarImage(path, check_nans=True)
        assert image[0, ...].check_nans
        _ = image.shape, repr(image), image.array
        vx.ScalarImage(path).load()
        image[0:1, :, :, :].load()
    with pytest.warns(RuntimeWarning, match=r'NaNs found in file ".*nans.nii"'):
        image.load()
    with pytest.warns(RuntimeWarning, match="NaNs found"):
        vx.ScalarImage(path, check_nans=True).to_tensor()
    with pytest.warns(RuntimeWarning, match="NaNs found in tensor"):
        vx.ScalarImage(tensor=torch.from_numpy(array), check_nans=True)


@pytest.mark.parametrize("dtype", ["float16", "float64", "complex64", "bfloat16"])
def test_nans_of_any_type(dtype):
    tensor = torch.zeros(SHAPE, dtype=getattr(torch, dtype))
    image = vx.ScalarImage(tensor=tensor)
    image.set_check_nans(True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        image.set_data(tensor)
    tensor[1, 2, 3, 4] = complex(0, np.nan) if tensor.is_complex() else np.nan
    with pytest.warns(RuntimeWarning, match="NaNs found"):
        image.set_data(tensor)
