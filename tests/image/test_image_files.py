"""Several paths, readers of the user's own, and saving."""

from __future__ import annotations

import math
import pickle
import re
import warnings

import nibabel as nib
import numpy as np
import pytest
import torch

import voxarray as vx
from scans import AFFINE, SHAPE, voxels
from voxarray.formats.registry import written_suffixes
from voxarray.geometry.selection import Selection
from voxarray.source.block_cache import BLOCKS
from voxarray.source.concat import ConcatSource
from voxarray.source.custom_reader import as_4d
from voxarray.testing.counting import count_reads

# --- Several paths ------------------------------------------------------------------------------


@pytest.fixture
def parts(save_nifti):
    arrays = [voxels((c, 4, 5, 6)) + 1000 * c for c in (1, 3, 2)]
    paths = [save_nifti(f"part{n}.nii", array) for n, array in enumerate(arrays)]
    return paths, np.concatenate(arrays)


@pytest.mark.parametrize("kind", [list, tuple])
def test_channels_of_several_files(parts, kind):
    paths, expected = parts
    with count_reads() as reads:
        image = vx.LabelMap(kind(paths))
        assert image.shape == expected.shape
        assert image.path == paths
        assert image["path"] == [str(path) for path in paths]
        assert image["stem"] == ["part0", "part1", "part2"]
        assert image == vx.LabelMap(paths)
        child = image[::-2, 1:, ::-1, :]
        assert pickle.loads(pickle.dumps(child)) == child
    assert reads.voxels == 0
    np.testing.assert_array_equal(child.data, expected[::-2, 1:, ::-1])
    np.testing.assert_array_equal(image.dask.compute(), expected)
    assert image.memory_report().on_disk == sum(path.stat().st_size for path in paths)


def test_channels_are_taken_from_their_files_only(parts):
    paths, expected = parts
    source = ConcatSource.of([vx.ScalarImage(path).source for path in paths])
    whole = Selection.whole(source.shape)
    for start in range(-6, 6):
        for stop in range(-7, 7):
            for step in (-4, -3, -1, 1, 2, 5):
                picked = range(6)[start:stop:step]
                if picked:
                    box = Selection((picked, *whole.spatial))
                    np.testing.assert_array_equal(source.read(box), expected[list(picked)])


def test_files_of_several_types(save_nifti):
    paths = [
        save_nifti("a.nii", voxels((1, 4, 5, 6), "uint8")),
        save_nifti("b.nii", voxels((1, 4, 5, 6), "int16"), scl_slope=0.5, scl_inter=1),
    ]
    image = vx.ScalarImage(paths)
    assert image.dtype == np.float32
    expected = voxels((1, 4, 5, 6), "float32")
    np.testing.assert_array_equal(image.data, np.concatenate([expected, expected * 0.5 + 1]))


def test_files_that_do_not_fit(parts, save_nifti):
    paths, _ = parts
    other = save_nifti("other.nii", voxels((1, 4, 5, 7)))
    image = vx.ScalarImage([paths[0], other])
    with pytest.raises(RuntimeError, match="the shapes of the files do not match") as caught:
        _ = image.shape
    assert caught.value.path == str(other)
    moved = save_nifti("moved.nii", voxels((1, 4, 5, 6)), np.diag([1, 1, 2, 1]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        image = vx.ScalarImage([paths[0], moved])
    with pytest.warns(RuntimeWarning, match="Files have different affine matrices"):
        assert image.num_channels == 2
    np.testing.assert_allclose(image.affine, AFFINE, atol=1e-6)


# --- Readers ------------------------------------------------------------------------------------


def read_npy(path):
    return np.load(path), AFFINE


@pytest.fixture
def npy(tmp_path):
    path = tmp_path / "scan.npy"
    np.save(path, voxels())
    return path


def test_reader(npy):
    image = vx.ScalarImage(npy, reader=read_npy)
    child = pickle.loads(pickle.dumps(image[1:, ::-1]))
    np.testing.assert_array_equal(child.data, voxels()[:, 1:, ::-1])
    np.testing.assert_array_equal(image.affine, AFFINE)
    image.data[:] = 0
    image.unload()
    np.testing.assert_array_equal(image.data, voxels())


def test_a_reader_is_called_once(npy):
    calls = []
    image = vx.ScalarImage(npy, reader=lambda path: calls.append(path) or read_npy(path))
    assert calls == []
    _ = image.shape, image.affine, image[1:].data, image.data, repr(image)
    assert calls == [npy]
    BLOCKS.clear()
    np.testing.assert_array_equal(image[2:].data, image.data[:, 2:])
    np.testing.assert_array_equal(image[2:].source.read(Selection.whole((2, 3, 6, 7))), image[2:])


def test_a_reader_that_changes_its_mind(npy):
    image = vx.ScalarImage(npy, reader=read_npy)
    assert image.shape == SHAPE
    np.save(npy, voxels()[:, 1:])
    BLOCKS.clear()
    with pytest.raises(vx.SourceChangedError, match=r"of shape \(2, 5, 6, 7\)"):
        image.load()


def test_readers_of_several_files(npy):
    image = vx.ScalarImage([npy, npy], reader=read_npy)
    np.testing.assert_array_equal(image.data, np.concatenate([voxels()] * 2))


# What TorchIO 1.2.1 makes of them.
@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((4, 5), (1, 4, 5, 1)),
        ((4, 5, 3), (3, 4, 5, 1)),
        ((3, 5, 7), (3, 5, 7, 1)),
        ((3, 4, 3), (3, 3, 4, 1)),
        ((4, 5, 7), (1, 4, 5, 7)),
        ((1, 4, 5), (1, 1, 4, 5)),
        ((2, 4, 5, 7), (2, 4, 5, 7)),
        ((4, 5, 7, 1, 2), (2, 4, 5, 7)),
    ],
)
def test_shapes_of_readers(npy, shape, expected):
    def reader(path):
        return torch.zeros(shape), None

    image = vx.ScalarImage(npy, reader=reader)
    assert image.shape == expected
    np.testing.assert_array_equal(image.affine, np.eye(4))
    ramp = np.arange(math.prod(shape)).reshape(shape)
    assert as_4d(ramp).sum() == ramp.sum()


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (np.zeros(3), "a reader returns (voxels, affine or None), got ndarray"),
        ((np.zeros(3), None), "a reader returns (W, H)"),
        ((np.zeros((3, 3)), np.eye(3)), "shape (4, 4), got (3, 3)"),
    ],
)
def test_wrong_readers(npy, result, message):
    image = vx.ScalarImage(npy, reader=lambda _: result)
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        _ = image.shape
    assert caught.value.path == str(npy)


# --- Saving -------------------------------------------------------------------------------------

SUFFIXES = (".nii", ".nii.gz", ".NII.GZ", ".ome.zarr", ".zarr", ".nii.zarr", ".ozx")


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("kind", [vx.ScalarImage, vx.LabelMap])
def test_save(scan, tmp_path, suffix, kind):
    path = tmp_path / f"copy{suffix}"
    image = kind(scan)[1:, ::-1]
    image.save(path)
    again = kind(path)
    assert again.dtype == image.dtype
    np.testing.assert_array_equal(again.data, voxels()[:, 1:, ::-1])
    np.testing.assert_allclose(again.affine, image.affine, atol=1e-5)
    assert "data" not in image


def test_what_is_saved_is_what_was_edited(scan, tmp_path):
    image = vx.ScalarImage(scan)
    image.data[:] = 5
    image.save(tmp_path / "edited.nii")
    assert (np.asarray(nib.load(tmp_path / "edited.nii").dataobj) == 5).all()


def test_a_file_may_replace_itself(scan):
    image = vx.ScalarImage(scan)
    image.data[:] += 1
    image.save(scan, overwrite=True)
    np.testing.assert_array_equal(vx.ScalarImage(scan).data, voxels() + 1)
    vx.ScalarImage(scan)[1:].save(str(scan), overwrite=True)
    np.testing.assert_array_equal(vx.ScalarImage(scan).data, voxels()[:, 1:] + 1)


def test_an_archive_is_replaced_by_request_only(scan, tmp_path):
    path = tmp_path / "scan.ome.zarr"
    image = vx.ScalarImage(scan)
    image.save(path)
    with pytest.raises(FileExistsError):
        image[1:].save(path)
    image[1:].save(path, overwrite=True)
    assert vx.ScalarImage(path).shape == (2, 4, 6, 7)


@pytest.mark.parametrize("name", ["scan.foo", "scan", ".nii", "scan.gz"])
def test_unknown_suffixes(scan, tmp_path, name):
    known = ", ".join(written_suffixes())
    with pytest.raises(vx.UnsupportedError, match=f"choose one of {re.escape(known)}") as caught:
        vx.ScalarImage(scan).save(tmp_path / name)
    assert caught.value.code == "UNKNOWN_SUFFIX"
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize(
    ("name", "suffix"),
    [("a.npy", ".npy"), ("a.dcm", ".dcm"), ("b.BRIK", ".brik"), ("a.mgh.gz", ".mgh.gz")],
)
def test_a_suffix_that_is_only_read_is_not_called_unknown(scan, tmp_path, name, suffix):
    with pytest.raises(vx.UnsupportedError, match=f"reads {suffix} files, but does not") as caught:
        vx.ScalarImage(scan).save(tmp_path / name)
    assert caught.value.code == "UNKNOWN_SUFFIX"
    assert "format that voxarray writes" not in str(caught.value)


def test_squeeze(scan, tmp_path):
    image = vx.ScalarImage(scan)
    image.save(tmp_path / "a.nii", False)
    with pytest.raises(vx.UnsupportedError, match="always has three spatial axes"):
        image.save(tmp_path / "b.nii", squeeze=True)
