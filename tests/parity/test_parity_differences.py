"""One test per row of ``notebooks/torchio-differences.md``: what TorchIO 1.2.1 does, and we do.

Where a reader's view of a file is in question, a third reader decides.
"""

from __future__ import annotations

import copy
import gzip
import os
import re
import warnings
from pathlib import Path

import matplotlib as mpl
import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from parity_samples import SPACES

import dicom_samples
import voxarray as vx

mpl.use("agg")
tio = pytest.importorskip("torchio")

TABLE = Path(__file__).parents[2] / "notebooks" / "torchio-differences.md"
NIBABEL = Path(nib.__file__).parent / "tests" / "data"
SHARED = Path(__file__).parents[2] / "../shared/data"
SHEARED = np.array([[2, 0.4, 0, 1], [0, 3, 0, 2], [0, 0, 4, 3], [0, 0, 0, 1.0]])

pytestmark = pytest.mark.filterwarnings("ignore")


def nifti(path, voxels=None, affine=SPACES["anisotropic"], **header):
    voxels = np.arange(7 * 6 * 5, dtype="int16").reshape(7, 6, 5) if voxels is None else voxels
    image = nib.Nifti1Image(voxels, affine, dtype=voxels.dtype)
    for name, value in header.items():
        image.header[name] = value
    nib.save(image, path)
    return path


@pytest.fixture
def path(tmp_path):
    return nifti(tmp_path / "a.nii")


def test_every_row_is_tested():
    rows = set(re.findall(r"^\| `([a-z0-9-]+)`", TABLE.read_text(), re.MULTILINE))
    tested = {name[5:].replace("_", "-") for name in globals() if name.startswith("test_")}
    assert rows == tested - {"every-row-is-tested"}


# --- Slices ---------------------------------------------------------------------------------------


def test_negative_index(path):
    assert 0 in tio.ScalarImage(path)[-1].spatial_shape
    assert vx.ScalarImage(path)[-1].spatial_shape == (1, 6, 5)


def test_ellipsis_and_steps(path):
    for key in (..., slice(None, None, 2), slice(None, None, -1)):
        with pytest.raises((NotImplementedError, ValueError, KeyError)):
            tio.ScalarImage(path)[key]
        assert vx.ScalarImage(path)[key].shape
    with pytest.raises((IndexError, ValueError, TypeError)):
        tio.ScalarImage(path)[:1, 1:3, :, :]
    assert vx.ScalarImage(path)[:1, 1:3, :, :].spatial_shape == (2, 6, 5)


def test_metadata_of_slices(path):
    assert vx.ScalarImage(path, age=3)[1:3]["age"] == 3
    try:
        kept = tio.ScalarImage(path, age=3)[1:3].get("age")
    except TypeError:  # the metadata is handed to a transform that does not know it
        kept = None
    assert kept is None


def test_unload_of_a_slice(path):
    theirs, ours = tio.ScalarImage(path)[1:3], vx.ScalarImage(path)[1:3]
    for image in (theirs, ours):
        image.load()
    ours.unload()
    ours.load()
    assert ours.spatial_shape == (2, 6, 5)
    try:
        theirs.unload()
        theirs.load()
        shape = theirs.spatial_shape
    except RuntimeError:  # it has no path any more
        shape = None
    assert shape != (2, 6, 5)


def test_attributes_of_sliced_subjects(path):
    theirs, ours = (one.Subject(t1=one.ScalarImage(path))[1:3] for one in (tio, vx))
    assert theirs["t1"].spatial_shape == ours["t1"].spatial_shape == ours.t1.spatial_shape
    assert theirs.t1.spatial_shape == (7, 6, 5)


def test_slices_of_other_grids():
    voxels, mirrored = torch.arange(210).reshape(1, 7, 6, 5), np.diag([-1, 1, 1, 1.0])
    theirs, ours = (
        one.Subject(
            t1=one.ScalarImage(tensor=voxels),
            seg=one.LabelMap(tensor=voxels.flip(1), affine=mirrored),
        )
        for one in (tio, vx)
    )
    parts = theirs[:3]
    assert not torch.equal(parts["t1"].data, parts["seg"].data.flip(1))
    with pytest.raises(vx.StateError):
        ours[:3]


# --- Affines --------------------------------------------------------------------------------------


def test_affine_with_a_path(path):
    moved = np.diag([5, 5, 5, 1.0])
    for one, honoured in ((tio, False), (vx, True)):
        given = one.ScalarImage(path, affine=moved)
        later = one.ScalarImage(path)
        later.affine = moved
        for image in (given, later):
            image.load()
            assert np.array_equal(image.affine, moved) == honoured


def test_bounds_of_two_corners():
    voxels = torch.zeros(1, 7, 6, 5)
    turned = {one: one.ScalarImage(tensor=voxels, affine=SPACES["oblique"]) for one in (tio, vx)}
    corners = np.stack(np.meshgrid((-0.5, 6.5), (-0.5, 5.5), (-0.5, 4.5)), -1).reshape(-1, 3)
    world = nib.affines.apply_affine(SPACES["oblique"], corners)
    truth = np.stack([world.min(0), world.max(0)], 1)
    np.testing.assert_allclose(turned[vx].get_bounds(), truth)
    assert not np.allclose(turned[tio].get_bounds(), truth)


def test_unsorted_bounds():
    voxels = torch.zeros(1, 7, 6, 5)
    low, high = tio.ScalarImage(tensor=voxels, affine=SPACES["LPS"]).get_bounds()[0]
    assert low > high
    assert vx.ScalarImage(tensor=voxels, affine=SPACES["LPS"]).get_bounds()[0] == (high, low)


def test_shear_on_save(tmp_path):
    voxels = torch.zeros(1, 7, 6, 5)
    found = {}
    for one in (tio, vx):
        one.ScalarImage(tensor=voxels, affine=SHEARED).save(tmp_path / f"{one.__name__}.nii")
        found[one] = nib.load(tmp_path / f"{one.__name__}.nii").affine
    np.testing.assert_allclose(found[vx], SHEARED, rtol=1e-6)
    assert np.abs(found[tio] - SHEARED).max() > 0.01


def test_what_exists(tmp_path):
    path = tmp_path / "a.nii"
    tio.ScalarImage(tensor=torch.zeros(1, 7, 6, 5)).save(path)
    tio.ScalarImage(tensor=torch.ones(1, 7, 6, 5)).save(path)  # and the first one is gone
    ours = vx.ScalarImage(tensor=torch.zeros(1, 7, 6, 5))
    with pytest.raises(vx.ArchiveExistsError, match="overwrite=True"):
        ours.save(path, overwrite=False)
    assert nib.load(path).get_fdata().all()
    with pytest.warns(FutureWarning, match="overwrite=True"):
        ours.save(path)
    assert not nib.load(path).get_fdata().any()


def test_plane_to_sitk(tmp_path):
    image = sitk.Image(7, 6, sitk.sitkUInt8)
    sitk.WriteImage(image, tmp_path / "a.png")
    truth = sitk.ReadImage(tmp_path / "a.png").GetDirection()
    assert vx.ScalarImage(tmp_path / "a.png").as_sitk().GetDirection() == truth
    assert tio.ScalarImage(tmp_path / "a.png").as_sitk().GetDirection() == (-1, 0, 0, -1) != truth


def test_plane_in_nifti(tmp_path):
    path = nifti(tmp_path / "a.nii", np.zeros((7, 6), "int16"), SPACES["LPS"])
    truth = nib.load(path).affine
    np.testing.assert_array_equal(vx.ScalarImage(path).affine, truth)
    assert tio.ScalarImage(path).affine[2, 3] == 0 != truth[2, 3]


def test_minc2():
    path = NIBABEL / "small.mnc"
    scan = nib.load(path)
    ours, theirs = vx.ScalarImage(path), tio.ScalarImage(path)
    np.testing.assert_allclose(ours.affine, scan.affine)
    np.testing.assert_allclose(ours.numpy()[0], scan.get_fdata(), rtol=1e-6)
    # The same voxels, turned by 180 degrees about the long axis of the patient.
    np.testing.assert_allclose(theirs.data[0].permute(2, 1, 0), ours.data[0], rtol=1e-6)
    half_turn = np.diag([-1, -1, 1, 1]) @ scan.affine[:, [2, 1, 0, 3]]
    np.testing.assert_allclose(theirs.affine, half_turn)


def test_minc1_series():
    path = NIBABEL / "minc1_4d.mnc"
    assert nib.load(path).shape == (2, 10, 20, 20)  # time is the first axis of MINC
    assert vx.ScalarImage(path).shape == (2, 10, 20, 20)
    assert tio.ScalarImage(path).data.shape == (20, 2, 10, 20)


# --- Voxels ---------------------------------------------------------------------------------------


def test_integers_as_float32(tmp_path):
    labels = np.full((7, 6, 5), 2**24 + 1, "int32")
    nib.save(nib.MGHImage(labels, np.eye(4)), tmp_path / "a.mgh")
    nifti(tmp_path / "a.nii", labels, SHEARED)
    for path in (tmp_path / "a.mgh", tmp_path / "a.nii"):
        assert list(vx.LabelMap(path).count_labels()) == [2**24 + 1]
        assert list(tio.LabelMap(path).count_labels()) == [2**24]
        assert nib.load(path).dataobj[0, 0, 0] == 2**24 + 1


def test_scaled_int32(tmp_path):
    path = nifti(tmp_path / "a.nii", np.full((7, 6, 5), 2**24 + 3, "int32"))
    with open(path, "r+b") as file:
        file.seek(112)  # scl_slope and scl_inter
        file.write(np.array([1, -2], "<f4").tobytes())
    truth = nib.load(path).get_fdata()[0, 0, 0]
    assert vx.ScalarImage(path).data[0, 0, 0, 0] == truth
    assert tio.ScalarImage(path).data[0, 0, 0, 0] != truth


def test_uint64(tmp_path):
    path = nifti(tmp_path / "a.nii", np.ones((7, 6, 5), "uint64"))
    assert vx.LabelMap(path).data.dtype == torch.int64
    assert vx.LabelMap(path).count_nonzero() == 210
    assert tio.LabelMap(path).data.dtype == torch.uint64
    with pytest.raises(RuntimeError, match="not implemented"):
        tio.LabelMap(path).count_nonzero()


def test_int8_to_pillow():
    plane = np.full((1, 4, 3, 1), 100, "int8")
    assert np.asarray(vx.ScalarImage(tensor=plane).as_pil())[0, 0, 0] == 100
    with pytest.raises(RuntimeError, match="overflow"):
        tio.ScalarImage(tensor=plane).as_pil()


def test_neighbouring_nifti(tmp_path):
    compressed = nifti(tmp_path / "a.nii.gz", np.full((7, 6, 5), 1, "int16"))
    plain = nifti(tmp_path / "a.nii", np.full((7, 6, 5), 2, "int16"))
    for path in (compressed, plain):
        assert vx.ScalarImage(path).data.unique() == nib.load(path).dataobj[0, 0, 0]
    found = [int(tio.ScalarImage(path).data.unique()) for path in (compressed, plain)]
    assert found != [1, 2]


def test_truncated(path):
    os.truncate(path, 500)
    assert tio.ScalarImage(path).data[0, -1, -1, -1] == 0
    with pytest.raises(vx.TruncatedError):
        vx.ScalarImage(path).load()


def test_bit_flips(tmp_path):
    noise = np.random.default_rng(0).integers(0, 4096, (40, 40, 40)).astype("int16")
    path = nifti(tmp_path / "a.nii.gz", noise)
    stream = bytearray(gzip.compress(gzip.decompress(path.read_bytes()), 0))
    stream[5000] ^= 8  # of a stored block: only the checksum at the end can tell
    path.write_bytes(stream)
    assert not np.array_equal(tio.ScalarImage(path).data[0], noise)
    with pytest.raises(vx.ChecksumError):
        vx.ScalarImage(path).load()


def test_dicom_folders(tmp_path):
    planes = np.arange(6 * 5 * 4, dtype="int16").reshape(6, 5, 4)
    for index in (0, 1, 3, 4, 5):
        dataset = dicom_samples.placed(planes[index], (0, 0, 2.0 * index), index + 1)
        dicom_samples.save(dataset, tmp_path / f"{index}.dcm")
    assert tio.ScalarImage(tmp_path).data.shape == (1, 4, 5, 5)
    with pytest.raises(vx.FormatError) as missing:
        vx.ScalarImage(tmp_path).load()
    assert missing.value.code == "MISSING_SLICE"


def test_dicom_series(tmp_path):
    for series in (1, 2):
        for index in range(3):
            dataset = dicom_samples.placed(
                np.full((5, 4), series, "int16"),
                (0, 0, 2.0 * index),
                index + 1,
                SeriesInstanceUID=f"1.2.3.{series}",
                SeriesNumber=series,
            )
            dicom_samples.save(dataset, tmp_path / f"{series}{index}.dcm")
    assert tio.ScalarImage(tmp_path).data.shape == (1, 4, 5, 3)
    with pytest.raises(vx.FormatError) as several:
        vx.ScalarImage(tmp_path).load()
    assert several.value.code == "MULTIPLE_SERIES"


def test_dicom_time_series():
    folder, reference = SHARED / "dicom_ge_epi", SHARED / "dicom_reference"
    if not folder.exists():
        pytest.skip("the shared scans are not here")
    truth = nib.load(next(reference.glob("*.nii.gz")))  # by dcm2niix
    assert truth.shape == (64, 64, 15, 10)
    ours, theirs = vx.ScalarImage(folder), tio.ScalarImage(folder)
    assert ours.shape == (10, 64, 64, 15)
    np.testing.assert_allclose(ours.spacing, truth.header.get_zooms()[:3], rtol=1e-4)
    assert theirs.data.shape == (1, 64, 64, 150)
    assert theirs.spacing[2] < 1 < truth.header.get_zooms()[2]


# --- Transforms -----------------------------------------------------------------------------------


def pair(voxels, affine=None, kind="ScalarImage", **metadata):
    affine = np.eye(4) if affine is None else affine
    return [getattr(one, kind)(tensor=voxels, affine=affine, **metadata) for one in (tio, vx)]


def oblique(degrees):
    affine = np.eye(4)
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    affine[:2, :2] = [[cos, -sin], [sin, cos]]
    return affine


def test_ties_of_labels():
    labels = np.arange(8**3, dtype="int16").reshape(1, 8, 8, 8)
    differ = 0
    for degrees in range(1, 40, 3):
        affine = oblique(degrees) @ np.diag([1.1, 0.9, 1.3, 1])
        theirs, ours = pair(labels, affine, "LabelMap")
        theirs, ours = (one.Resample(3)(image) for one, image in ((tio, theirs), (vx, ours)))
        if theirs.shape == ours.shape:
            differ += not np.array_equal(theirs.numpy(), ours.numpy())
    assert differ
    even = vx.LabelMap(tensor=labels).resample(2)
    assert even.numpy()[0, 0, 0, 0] == labels[0, 1, 1, 1]


def test_whole_numbers():
    noise = np.random.default_rng(1).integers(0, 99, (1, 20, 23, 17)).astype("int16")
    lower = 0
    for degrees in range(1, 40, 3):
        theirs, ours = pair(noise, oblique(degrees) @ np.diag([1.1, 0.9, 2.3, 1]))
        theirs, ours = (one.Resample(1)(image) for one, image in ((tio, theirs), (vx, ours)))
        lower += (theirs.numpy() < ours.numpy()).sum()
        assert (theirs.numpy() <= ours.numpy()).all()
    assert lower


def test_labels_of_affine():
    theirs, ours = pair(np.ones((1, 5, 5, 5), "uint8"), kind="LabelMap")
    args = (1, 1, 1), (0, 0, 30), (0, 0, 0)
    assert tio.Affine(*args)(theirs).data.dtype == torch.float32
    assert vx.Affine(*args)(ours).data.dtype == torch.uint8


def test_label_interpolation():
    labels = np.zeros((1, 5, 5, 5), "float32")
    labels[:, 2] = 1
    theirs, ours = pair(labels, kind="LabelMap")
    made = tio.Resample(0.7, label_interpolation="linear")(theirs)
    assert len(np.unique(made.numpy())) > 2
    with pytest.raises(vx.UnsupportedError, match="NOT_FOR_LABELS"):
        vx.Resample(0.7, label_interpolation="linear")(ours)


def test_resize_off_by_one():
    lost = 0
    for size in range(5, 40):
        theirs, ours = pair(np.ones((1, size, 4, 4), "float32"), np.diag([0.7, 1, 1, 1.0]))
        target = (size + 8, 4, 4)
        lost += not tio.Resize(target)(theirs).numpy().all()
        result = vx.Resize(target)(ours)
        assert result.numpy().all()
        assert result.spatial_shape == target
    assert lost


def test_resize_remembers():
    for one, shape in ((tio, (5, 5, 5)), (vx, (9, 5, 5))):
        transform = one.Resize((-1, 5, 5))
        transform(one.ScalarImage(tensor=torch.ones(1, 5, 6, 7)))
        assert transform(one.ScalarImage(tensor=torch.ones(1, 9, 6, 7))).spatial_shape == shape


def test_include_of_orientations():
    for one, code in ((tio, "LPS"), (vx, "RAS")):
        subject = one.Subject(a=one.ScalarImage(tensor=torch.ones(1, 2, 3, 4)))
        assert one.ToOrientation("LPS", include=["b"])(subject)["a"].orientation_str == code


def test_metadata_of_crops():
    theirs, ours = pair(torch.ones(1, 5, 5, 5), age=3)
    assert "age" not in tio.Crop(1)(theirs)
    assert vx.Crop(1)(ours)["age"] == 3


def test_nothing_left():
    theirs, ours = pair(torch.ones(1, 5, 5, 5))
    try:
        voxels = tio.Crop(3)(theirs).data.numel()
    except Exception:
        voxels = 0
    assert voxels == 0
    with pytest.raises(vx.SelectionError):
        vx.Crop(3)(ours)


def test_cubic():
    with pytest.raises(ValueError, match="Interpolation"):
        tio.Resample(2, image_interpolation="cubic")
    assert vx.Resample(2, image_interpolation="cubic").image_interpolation == "cubic"


def test_antialias():
    noise = np.random.default_rng(0).normal(size=(1, 20, 20, 20)).astype("float32")
    theirs, ours = pair(noise)
    theirs = tio.Resample(3, antialias=True)(theirs).numpy()
    ours = vx.Resample(3, antialias=True)(ours).numpy()
    assert 1e-5 < abs(theirs - ours).max() < 0.01


def test_padding_by_functions():
    theirs, ours = pair(torch.ones(1, 5, 5, 5))

    def twos(vector, widths, axis, kwargs):
        vector[: widths[0]] = 2

    assert tio.Pad(1, padding_mode=twos)(theirs).data.max() == 2
    with pytest.raises(TypeError, match="whole volume"):
        vx.Pad(1, padding_mode=twos)(ours)


def test_random_crops():
    tio.CropOrPad(3, location="random")
    with pytest.raises(TypeError, match="location"):
        vx.CropOrPad(3, location="random")


def test_unsigned_16_bit():
    theirs, ours = pair(np.ones((1, 5, 5, 5), "uint16"))
    assert tio.Crop(1)(theirs).data.dtype == torch.int32
    assert vx.Crop(1)(ours).dtype == np.dtype("uint16")


# --- The rest -------------------------------------------------------------------------------------


def test_memory_without_loading(path):
    theirs, ours = tio.ScalarImage(path), vx.ScalarImage(path)
    for image in (theirs, ours):
        assert (image.memory, image.itemsize, image.num_channels) == (420, 2, 1)
    assert "data" in theirs
    assert "data" not in ours


def test_copies_look_at_the_path(path):
    theirs, ours = tio.ScalarImage(path), vx.ScalarImage(path)
    for image in (theirs, ours):
        image.load()
    path.unlink()
    assert copy.copy(ours).shape == (1, 7, 6, 5)
    with pytest.raises(FileNotFoundError):
        copy.copy(theirs)


def test_text_of_loaded_images(path):
    theirs, ours = tio.ScalarImage(path), vx.ScalarImage(path)
    assert repr(theirs) == repr(ours)
    for image in (theirs, ours):
        image.load()
    assert repr(theirs).endswith("dtype: torch.ShortTensor; memory: 420 Bytes)")
    assert repr(ours).endswith("memory: 420 B; dtype: torch.ShortTensor)")


def test_bins_of_histograms(path):
    vx.ScalarImage(path).hist(bins=5, show=False)
    with pytest.raises(TypeError, match="bins"):
        tio.ScalarImage(path).hist(bins=5, show=False)


def test_order_of_patches():
    voxels = np.zeros((1, 4, 6, 8), "int16")
    ours = vx.Subject(a=vx.ScalarImage(tensor=voxels))
    theirs = tio.Subject(a=tio.ScalarImage(tensor=voxels))
    found = [tuple(map(int, patch["location"])) for patch in vx.GridSampler(ours, 2)]
    expected = [tuple(map(int, patch["location"])) for patch in tio.GridSampler(theirs, 2)]
    assert expected == sorted(expected)
    assert found == sorted(expected, key=lambda location: location[2::-1])


def test_label_map_of_the_sampler():
    voxels = np.zeros((2, 1, 4, 4, 4), "uint8")
    voxels[0, 0, 0, 0, 0] = voxels[1, 0, 3, 3, 3] = 1
    ours = vx.Subject(pred=vx.LabelMap(tensor=voxels[0]), seg=vx.LabelMap(tensor=voxels[1]))
    theirs = tio.Subject(pred=tio.LabelMap(tensor=voxels[0]), seg=tio.LabelMap(tensor=voxels[1]))
    patch = next(iter(tio.LabelSampler(1, label_probabilities={1: 1})(theirs)))
    assert tuple(map(int, patch["location"]))[:3] == (0, 0, 0)
    with pytest.raises(vx.StateError, match=r"the label maps \['pred', 'seg'\]"):
        next(vx.LabelSampler(1)(ours))


def test_plot_of_planes(tmp_path, monkeypatch):
    path = nifti(tmp_path / "a.nii", np.zeros((7, 6, 1), "uint8"))
    shown = []
    monkeypatch.setattr("PIL.Image.Image.show", lambda image: shown.append(image))
    assert tio.ScalarImage(path).plot(return_fig=True, show=False) is None
    assert len(shown) == 1  # in an external program, whatever `show` says
    assert vx.ScalarImage(path).plot(return_fig=True, show=False) is not None
    assert len(shown) == 1


def test_warnings_of_sheared_files(tmp_path):
    path = nifti(tmp_path / "a.nii", affine=SHEARED)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        vx.ScalarImage(path).load()
    with pytest.warns(UserWarning, match="Trying NiBabel"):
        tio.ScalarImage(path).load()


# --- Intensities and labels ---------------------------------------------------------------------


def both(voxels, affine=None, kind="ScalarImage"):
    array = np.asarray(voxels).reshape(1, -1, 1, 1)
    affine = np.eye(4) if affine is None else affine
    return [getattr(lib, kind)(tensor=array, affine=affine) for lib in (vx, tio)]


def test_sides_of_the_patient():
    ours, theirs = both(np.arange(1, 5), np.diag([-1, 1, 1, 1.0]))  # runs to the left
    assert vx.Mask("Left")(ours).numpy().ravel().tolist() == [0, 0, 3, 4]
    assert tio.Mask("Left")(theirs).numpy().ravel().tolist() == [1, 2, 0, 0]


def test_functions_of_lazy_arrays():
    given = []
    ours, theirs = both([1.0, 2, 3])
    for lib, image in ((vx, ours), (tio, theirs)):
        lib.Lambda(lambda x: given.append(type(x).__name__) or -x)(image)
        lib.ZNormalization(lambda x: given.append(type(x).__name__) or x > 1)(image)
    assert given == ["Array", "Array", "Tensor", "Tensor"]


def test_statistics_of_nan():
    ours, theirs = both([1, 2, 3, np.nan])
    for name in ("RescaleIntensity", "ZNormalization"):
        assert np.isnan(getattr(tio, name)()(theirs).numpy()).all()
        with pytest.raises(vx.StateError) as error:
            getattr(vx, name)()(ours)
        assert error.value.code == "NOT_FINITE"


def test_blur_of_integers():
    voxels = np.random.default_rng(0).integers(0, 9, 99).astype("int16")
    ours, theirs = both(voxels)
    found, expected = vx.Blur(1)(ours), tio.Blur((1, 1, 1))(theirs)
    assert (found.dtype, expected.data.dtype) == (np.dtype("float32"), torch.int16)
    assert abs(found.numpy().mean() - voxels.mean()) < 0.1
    assert expected.numpy().mean() < voxels.mean() - 0.3


def test_integers_that_wrap():
    ours, theirs = both(np.array([300], "int32"))
    assert tio.To(torch.uint8)(theirs).numpy().item() == 44
    with pytest.raises(vx.UnsupportedError) as error:
        vx.To(torch.uint8)(ours).numpy()
    assert error.value.code == "OUT_OF_TYPE"


def test_labels_beyond_the_type():
    ours, theirs = both(np.array([1], "uint8"), kind="LabelMap")
    assert vx.RemapLabels({1: 300})(ours).numpy().item() == 300
    with pytest.raises(RuntimeError, match="overflow"):
        tio.RemapLabels({1: 300})(theirs)


def test_landmarks_without_pickle(tmp_path):
    np.savez(tmp_path / "a.npz", t1=np.arange(13.0))
    assert list(vx.HistogramStandardization(tmp_path / "a.npz").landmarks) == ["t1"]
    with pytest.raises(ValueError, match=r"\.pt or \.pth"):
        tio.HistogramStandardization(tmp_path / "a.npz")
    with pytest.raises(vx.UnsupportedError, match="can run code"):
        vx.HistogramStandardization(tmp_path / "a.pt")
