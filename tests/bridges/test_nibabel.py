"""nibabel images in both directions: lazy, exact, and what nibabel itself makes of them."""

from __future__ import annotations

import os
import pickle

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import voxarray as vx
from scans import AFFINE, voxels, write
from voxarray.source.base import Channels
from voxarray.testing.counting import count_reads
from voxarray.testing.strategies import affines, shapes


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".ome.zarr"])
def test_reads_what_is_indexed(tmp_path, channels, suffix):
    array = voxels((channels, 5, 6, 7))
    vx.ScalarImage(tensor=array, affine=AFFINE).save(tmp_path / f"a{suffix}")
    image = vx.ScalarImage(tmp_path / f"a{suffix}")
    with count_reads() as reads:
        scan = image.to_nibabel()
        assert scan.shape == ((5, 6, 7) if channels == 1 else (5, 6, 7, 1, channels))
        assert scan.get_data_dtype() == np.int16
        assert reads.voxels == 0
        part = scan.slicer[1:3, :, 4:5]
        assert reads.voxels == channels * 2 * 6
    np.testing.assert_array_equal(
        np.asarray(part.dataobj).reshape(2, 6, -1)[..., 0], array[0, 1:3, :, 4]
    )
    np.testing.assert_allclose(scan.affine, image.affine, atol=0)
    np.testing.assert_allclose(part.affine, image[1:3, :, 4:5].affine)
    assert "data" not in image


@given(st.data(), shapes(max_size=5))
@settings(max_examples=60, deadline=None)
def test_indexing_is_numpys(data, shape):
    array = voxels(shape)
    proxy = vx.ScalarImage(tensor=array).to_nibabel().dataobj
    expected = np.moveaxis(array, 0, -1)[:, :, :, None] if shape[0] > 1 else array[0]
    assert proxy.shape == expected.shape
    count = data.draw(st.integers(0, expected.ndim))
    leading = data.draw(st.integers(0, count))
    sizes = [*expected.shape[:leading], *expected.shape[expected.ndim - count + leading :]]
    items = [data.draw(st.one_of(st.slices(n), st.integers(-n, n - 1))) for n in sizes]
    items.insert(leading, ...)
    if data.draw(st.booleans()):
        items.insert(data.draw(st.integers(0, len(items))), None)
    key = tuple(items)
    found = proxy[key]
    np.testing.assert_array_equal(found, expected[key])
    assert found.shape == expected[key].shape
    if isinstance(found, np.ndarray) and found.size:
        found[...] = -1  # and this reaches nobody
    np.testing.assert_array_equal(array, voxels(shape))


def test_indices_that_do_not_exist():
    proxy = vx.ScalarImage(tensor=voxels((1, 3, 4, 5))).to_nibabel().dataobj
    with pytest.raises(IndexError, match="axis of 3"):
        proxy[-4]
    with pytest.raises(IndexError, match="axis of 5"):
        proxy[..., 5]
    with pytest.raises(ValueError, match="fancy"):
        proxy[[0, 1]]
    with pytest.raises(ValueError, match="without a copy"):
        np.array(proxy, copy=False)


def test_saved_by_nibabel(tmp_path):
    image = vx.ScalarImage(tensor=voxels((3, 5, 6, 7), "float32"), affine=AFFINE)
    nib.save(image.to_nibabel(), tmp_path / "a.nii")
    again = vx.ScalarImage(tmp_path / "a.nii")
    np.testing.assert_array_equal(again.numpy(), image.numpy())
    np.testing.assert_allclose(again.affine, AFFINE, rtol=1e-6)


def test_the_header_survives(tmp_path):
    path = write(tmp_path / "a.nii", voxels((4, 3, 4, 5)), pixdim=[1, 1, 1, 1, 2.5, 1, 1, 1])
    scan = vx.ScalarImage(path).to_nibabel()
    original = nib.load(path)
    assert scan.shape == original.shape
    assert scan.header["sform_code"] == original.header["sform_code"]
    assert scan.header.get_zooms()[3] == pytest.approx(2.5)
    np.testing.assert_array_equal(scan.get_fdata(), original.get_fdata())


def test_a_header_that_was_edited_counts(tmp_path):
    series = nib.Nifti1Image(np.arange(4 * 5 * 6 * 7, dtype="i2").reshape(4, 5, 6, 7), AFFINE)
    series.header.set_xyzt_units("mm", "sec")
    series.header["pixdim"][4] = 2.5
    scan = vx.ScalarImage.from_nibabel(series)[1:]
    again = vx.ScalarImage.from_nibabel(scan.to_nibabel())
    assert again.source.channels.step == 2.5
    edited = scan.to_nibabel()
    edited.header["pixdim"][4] = 1.25
    edited.header["cal_max"] = 9
    edited.header.set_sform(edited.affine, code=4)
    found = vx.ScalarImage.from_nibabel(edited)
    assert found.source.channels == Channels("time", 1.25)
    back = found.to_nibabel().header
    assert (back["sform_code"], back["cal_max"], back["pixdim"][4]) == (4, 9, 1.25)
    assert found.history == scan.history
    assert found.array.dtype == "int16"
    np.testing.assert_array_equal(found.affine, scan.affine)
    np.testing.assert_array_equal(found.numpy(), scan.numpy())
    micrometres = scan.to_nibabel()
    micrometres.header.set_xyzt_units("micron", "sec")
    np.testing.assert_allclose(
        vx.ScalarImage.from_nibabel(micrometres).affine[:3], scan.affine[:3] / 1000
    )


def test_the_proxy_can_be_pickled(tmp_path):
    path = write(tmp_path / "a.nii.gz", voxels())
    proxy = vx.ScalarImage(path).to_nibabel().dataobj
    copy = pickle.loads(pickle.dumps(proxy))
    assert len(pickle.dumps(proxy)) < 5000
    np.testing.assert_array_equal(copy[1, 2, 3], proxy[1, 2, 3])


def test_scaled_voxels(tmp_path):
    path = write(tmp_path / "a.nii", voxels(), scl_slope=0.3, scl_inter=-7)
    image = vx.ScalarImage(path)
    scan = image.to_nibabel()
    assert scan.dataobj.dtype == np.float32
    np.testing.assert_array_equal(np.moveaxis(scan.dataobj[...], -1, 0), image.numpy())


# --- From nibabel ---------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".mgz", ".mgh", ".img"])
def test_files_stay_unread(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    kind = {".mgz": nib.MGHImage, ".mgh": nib.MGHImage, ".img": nib.Nifti1Pair}
    array = voxels((1, 5, 6, 7))[0]
    nib.save(kind.get(suffix, nib.Nifti1Image)(array, AFFINE), path)
    opened = nib.load(path)
    image = vx.ScalarImage.from_nibabel(opened, age=5)
    assert image["age"] == 5
    assert image.dtype == np.int16
    with count_reads() as reads:
        part = image[1:4, ::-1, 3]
        assert part.shape == (1, 3, 6, 1)
        assert reads.voxels == 0
        np.testing.assert_array_equal(part.numpy()[0], array[1:4, ::-1, 3:4])
    np.testing.assert_array_equal(image.affine, opened.affine)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(image)).numpy()[0], array)
    assert opened._data_cache is None
    image.unload() if "data" in image else None
    np.testing.assert_array_equal(image.dask.compute()[0], array)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "float32", "float64"])
@pytest.mark.parametrize("slope", [None, 0.3])
def test_types_are_those_of_opening_the_file(tmp_path, dtype, slope):
    header = {} if slope is None else {"scl_slope": slope, "scl_inter": -7}
    path = write(tmp_path / "a.nii", voxels((2, 3, 4, 5), dtype), **header)
    direct, bridged = vx.ScalarImage(path), vx.ScalarImage.from_nibabel(nib.load(path))
    assert bridged.dtype == direct.dtype
    assert bridged.source.channels == direct.source.channels
    np.testing.assert_array_equal(bridged.numpy(), direct.numpy())


@given(affines(), shapes())
@settings(max_examples=20, deadline=None)
def test_there_and_back(affine, shape):
    image = vx.ScalarImage(tensor=voxels(shape), affine=affine)
    back = vx.ScalarImage.from_nibabel(image.to_nibabel())
    np.testing.assert_array_equal(back.numpy(), image.numpy())
    np.testing.assert_array_equal(back.affine, image.affine)


def test_arrays_in_memory_are_shared():
    array = voxels((1, 3, 4, 5))[0]
    image = vx.ScalarImage.from_nibabel(nib.Nifti1Image(array, AFFINE))
    image.data[0, 0, 0, 0] = 99
    assert array[0, 0, 0] == 99


def test_planes_and_channels():
    plane = vx.ScalarImage.from_nibabel(nib.Nifti1Image(voxels((1, 1, 4, 5))[0, 0], AFFINE))
    assert plane.shape == (1, 4, 5, 1)
    vectors = nib.Nifti1Image(np.zeros((3, 4, 5, 1, 6), "float32"), AFFINE)
    assert vx.ScalarImage.from_nibabel(vectors).shape == (6, 3, 4, 5)


def test_what_is_no_image(tmp_path):
    with pytest.raises(TypeError, match="not ndarray"):
        vx.ScalarImage.from_nibabel(np.zeros((3, 4, 5)))
    many = np.zeros((2, 2, 2, 2, 2), "int16")
    with pytest.raises(vx.UnsupportedError, match="more axes"):
        vx.ScalarImage.from_nibabel(nib.Nifti1Image(many, AFFINE))
    with pytest.raises(vx.UnsupportedError, match="none of"):
        vx.ScalarImage.from_nibabel(nib.Spm99AnalyzeImage(many, AFFINE))
    colours = np.zeros((2, 2, 2), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    with pytest.raises(vx.UnsupportedError, match="are not numbers"):
        vx.ScalarImage.from_nibabel(nib.Nifti1Image(colours, AFFINE))


def test_a_file_that_changes(tmp_path):
    path = write(tmp_path / "a.nii", voxels())
    image = vx.ScalarImage.from_nibabel(nib.load(path))
    write(path, voxels() + 1)
    os.utime(path, (1, 1))
    with pytest.raises(vx.SourceChangedError):
        image.load()


# --- What proxies of nibabel promise --------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3])
def test_a_proxy_has_what_nibabels_have(tmp_path, channels):
    array = voxels((channels, 5, 6, 7))
    stored = nib.Nifti1Image(np.moveaxis(array, 0, -1).squeeze(), AFFINE)
    stored.header.set_slope_inter(2, -3)
    nib.save(stored, tmp_path / "a.nii")
    theirs = nib.load(tmp_path / "a.nii").dataobj
    ours = vx.ScalarImage(tmp_path / "a.nii").to_nibabel().dataobj
    assert nib.is_proxy(ours)
    assert (ours.slope, ours.inter) == (1.0, 0.0)
    np.testing.assert_array_equal(np.squeeze(ours.get_unscaled()), np.asarray(theirs))
    assert ours.get_scaled(np.float64).dtype == np.float64
    # What programs do with a proxy that names a slope: apply it to what is not scaled.
    np.testing.assert_array_equal(
        np.squeeze(ours.get_unscaled() * ours.slope + ours.inter), np.asarray(theirs)
    )


@pytest.mark.parametrize("shape", [(5, 6, 7, 1, 3), (5, 6, 7, 3), (1, 5, 6, 7, 3), (5, -1, 7, 3)])
def test_reshaping_a_proxy_reads_nothing(shape):
    image = vx.ScalarImage(tensor=voxels((3, 5, 6, 7)))
    proxy = image.to_nibabel().dataobj
    with count_reads() as reads:
        found = proxy.reshape(shape)
        assert reads.voxels == 0
    assert nib.is_proxy(found)
    expected = np.asarray(proxy).reshape(shape, order="F")
    assert found.shape == expected.shape
    np.testing.assert_array_equal(np.asarray(found), expected)
    np.testing.assert_array_equal(found[..., 1], expected[..., 1])
    np.testing.assert_array_equal(found[0, ..., ::-1], expected[0, ..., ::-1])


def test_reshaping_a_proxy_as_nibabels(tmp_path):
    nib.save(nib.Nifti1Image(voxels((1, 4, 6, 7))[0], AFFINE), tmp_path / "a.nii")
    theirs = nib.load(tmp_path / "a.nii").dataobj
    ours = vx.ScalarImage(tmp_path / "a.nii").to_nibabel().dataobj
    for shape in ((24, 7), (-1,), (2, 2, 6, 7), (7, 24)):
        # Theirs wants a tuple without -1 of the first axis in some versions: ask for whole shapes.
        full = tuple(np.empty((4, 6, 7)).reshape(shape).shape)
        np.testing.assert_array_equal(np.asarray(ours.reshape(shape)), theirs.reshape(full))
    with pytest.raises(ValueError, match="reshape"):
        ours.reshape((5, 5))


def test_a_mean_of_nilearn_is_that_of_nibabels(tmp_path):
    masking = pytest.importorskip("nilearn.maskers")
    rng = np.random.default_rng(0)
    data = rng.normal(100, 5, (6, 7, 8, 10)).astype("float32")
    scan = nib.Nifti1Image(data, np.diag([3, 3, 3, 1]))
    scan.header.set_xyzt_units("mm", "sec")
    nib.save(scan, tmp_path / "bold.nii.gz")
    nib.save(nib.Nifti1Image((data[..., 0] > 100).astype("uint8"), scan.affine), tmp_path / "m.nii")
    ours = vx.ScalarImage(tmp_path / "bold.nii.gz").to_nibabel()
    mask = vx.LabelMap(tmp_path / "m.nii").to_nibabel()
    found = masking.NiftiMasker(mask_img=mask).fit_transform(ours)
    expected = masking.NiftiMasker(mask_img=tmp_path / "m.nii").fit_transform(
        tmp_path / "bold.nii.gz"
    )
    np.testing.assert_array_equal(found, expected)
