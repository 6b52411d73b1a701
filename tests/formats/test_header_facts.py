"""What of a NIfTI header survives an operation, and what must not."""

from __future__ import annotations

import itertools
import pickle
import warnings

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

import voxarray as vx
from in_turns import in_turns
from voxarray.core.errors import VoxarrayWarning
from voxarray.formats.registry import open_source

OBLIQUE = nib.affines.from_matvec(
    nib.eulerangles.euler2mat(0.2, 0.1, -0.3) @ np.diag([2.0, 3.0, 4.0]), [5, -6, 7]
)
ELSEWHERE = nib.affines.from_matvec(
    nib.eulerangles.euler2mat(-0.1, 0.4, 0.2) @ np.diag([2.0, 3.0, 4.0]), [50, 60, -70]
)
SHAPE = (8, 9, 10)


def scan(path, sform=4, qform=1, version=1, **fields):
    """A file whose two transforms differ, each with a code of its own."""
    kind = nib.Nifti1Image if version == 1 else nib.Nifti2Image
    voxels = np.random.default_rng(0).integers(0, 99, SHAPE).astype(np.int16)
    image = kind(voxels, None)
    image.header.set_qform(ELSEWHERE, qform)
    image.header.set_sform(OBLIQUE, sform)
    image.header.set_xyzt_units("mm", "sec")
    for key, value in {"cal_max": 50, "cal_min": 5, **fields}.items():
        image.header[key] = value
    nib.save(image, path)
    return path


def header_of(image, path):
    image.save(path, overwrite=True)
    return nib.load(path).header


STILL = {
    "slice": lambda im: im[1:5, ::2],
    "crop": lambda im: vx.CropOrPad(6)(im),
    "pad": lambda im: vx.Pad(3)(im),
    "reverse": lambda im: im[::-1],
    "flip": lambda im: vx.Flip(0)(im),
    "flip of a slice": lambda im: vx.Flip(1)(im[2:7, 1:]),
    "canonical": lambda im: vx.ToCanonical()(im),
    "resample": lambda im: vx.Resample(2)(im),
    "rescale": lambda im: vx.RescaleIntensity((0, 1))(im),
    "load": lambda im: (im.load(), im)[1],
    "load and slice": lambda im: (im.load(), im[2:])[1],
    "pickle": lambda im: pickle.loads(pickle.dumps(im[1:])),
    "loaded pickle": lambda im: pickle.loads(pickle.dumps((im.load(), im)[1])),
    "nibabel": lambda im: vx.ScalarImage.from_nibabel(im.to_nibabel()),
    "nibabel's own": lambda im: vx.ScalarImage.from_nibabel(nib.load(im.path)),
}


@pytest.mark.parametrize(
    ("name", "codes", "version"),
    in_turns(STILL, [(4, 4), (4, 1), (2, 0), (0, 1), (3, 2)], [1, 2]),
)
def test_codes_of_the_space_survive_what_leaves_the_anatomy_there(tmp_path, name, codes, version):
    path = scan(tmp_path / "a.nii", *codes, version=version)
    image = vx.ScalarImage(path)
    result = STILL[name](image)
    header = header_of(result, tmp_path / "b.nii.gz")
    sform, qform = codes
    assert int(header["sform_code"]) == sform
    np.testing.assert_allclose(nib.load(tmp_path / "b.nii.gz").affine, result.affine, atol=1e-4)
    if qform and name != "resample":  # whose spacings are not those of both transforms
        assert int(header["qform_code"]) == qform
    if sform and qform and int(header["qform_code"]):
        # Where the qform has a voxel is where it had it before.
        there = ELSEWHERE @ np.linalg.solve(OBLIQUE, result.affine)
        np.testing.assert_allclose(header.get_qform(), there, atol=1e-2)


@pytest.mark.parametrize("name", sorted(set(STILL) - {"rescale"}))
def test_the_display_range_survives_with_the_intensities(tmp_path, name):
    header = header_of(STILL[name](vx.ScalarImage(scan(tmp_path / "a.nii"))), tmp_path / "b.nii.gz")
    expected = 0 if "load" in name else 50  # what is in memory anybody may have changed
    assert header["cal_max"] == expected


def test_new_intensities_have_no_display_range_and_no_intent(tmp_path):
    path = scan(tmp_path / "a.nii", intent_code=5, intent_p1=7)
    image = vx.ScalarImage(path)
    assert header_of(image[1:], tmp_path / "b.nii")["intent_code"] == 5
    header = header_of(vx.RescaleIntensity((0, 1))(image), tmp_path / "b.nii")
    assert [float(header[key]) for key in ("cal_max", "cal_min", "intent_code", "intent_p1")] == [
        0
    ] * 4


def test_files_that_become_channels_are_in_the_space_of_the_first(tmp_path):
    paths = [scan(tmp_path / f"{n}.nii", 4, 1) for n in range(2)]
    header = header_of(vx.ScalarImage(paths), tmp_path / "b.nii")
    assert (int(header["sform_code"]), int(header["qform_code"])) == (4, 1)
    assert header["cal_max"] == 0


def test_another_affine_is_another_space(tmp_path):
    image = vx.ScalarImage(scan(tmp_path / "a.nii"))
    image.affine = np.diag([1.0, 2, 3, 1])
    assert header_of(image, tmp_path / "b.nii")["sform_code"] == 2
    moved = vx.Affine(scales=1, degrees=10, translation=0)(vx.ScalarImage(tmp_path / "a.nii"))
    assert header_of(moved, tmp_path / "b.nii")["sform_code"] == 2


def test_a_space_without_a_name_gets_none(tmp_path):
    """Of a file without codes nibabel takes the centre for the origin; its slicer says aligned."""
    image = nib.Nifti1Image(np.zeros(SHAPE, np.int16), None)
    image.header.set_zooms((2, 3, 4))
    image.to_filename(tmp_path / "a.nii")
    source = vx.ScalarImage(tmp_path / "a.nii")
    whole = header_of(source, tmp_path / "b.nii")
    assert (int(whole["sform_code"]), int(whole["qform_code"])) == (0, 0)
    part = header_of(source[2:5], tmp_path / "b.nii")
    assert int(part["sform_code"]) == 2
    expected = nib.load(tmp_path / "a.nii").slicer[2:5].affine
    np.testing.assert_allclose(nib.load(tmp_path / "b.nii").affine, expected)


@pytest.mark.parametrize(
    ("key", "kept"),
    [
        (np.s_[1:5], True),
        (np.s_[:, 2:], True),
        (np.s_[..., 1:], False),
        (np.s_[..., ::-1], False),
        (np.s_[..., ::2], False),
    ],
)
def test_slice_timing_survives_as_long_as_the_slices(tmp_path, key, kept):
    fields = {"slice_end": 9, "slice_code": 3, "slice_duration": 0.1, "dim_info": 0b111001}
    header = header_of(vx.ScalarImage(scan(tmp_path / "a.nii", **fields))[key], tmp_path / "b.nii")
    for field in ("slice_end", "slice_code", "slice_duration"):
        assert bool(header[field]) == kept
    assert header["dim_info"] == 0b111001
    turned = vx.ToOrientation("SAR")(vx.ScalarImage(tmp_path / "a.nii"))
    assert header_of(turned, tmp_path / "b.nii")["dim_info"] == 0


@pytest.mark.parametrize(
    ("transform", "kept"),
    [
        (vx.Flip((0, 1)), True),
        (vx.Flip(2), False),
        (vx.Compose([vx.Flip(2), vx.Flip(2)]), True),
        (vx.Compose([vx.Flip(2), vx.Clamp(0, 1)]), False),
        (vx.Affine(scales=1, degrees=10, translation=0), False),
        (vx.ZNormalization(), True),
    ],
)
def test_slice_timing_is_lost_where_voxels_move_and_the_grid_stays(tmp_path, transform, kept):
    fields = {"slice_end": 9, "slice_code": 3, "slice_duration": 0.1, "dim_info": 0b111001}
    image = transform(vx.ScalarImage(scan(tmp_path / "a.nii", **fields)))
    header = header_of(image, tmp_path / "b.nii")
    for field in ("slice_end", "slice_code", "slice_duration"):
        assert bool(header[field]) == kept


@pytest.mark.parametrize(("unit", "seconds"), [("sec", 1), ("msec", 1e-3), ("usec", 1e-6), (0, 1)])
@pytest.mark.parametrize("count", [0, 4])
def test_times_are_written_in_the_unit_of_the_header(tmp_path, unit, seconds, count):
    """Of a part, lengths of time are in seconds; so are the first volume's and a slice's."""
    shape = (*SHAPE, count) if count else SHAPE
    image = nib.Nifti1Image(np.zeros(shape, np.int16), np.diag([2.0, 3, 4, 1]))
    image.header.set_xyzt_units("mm", unit)
    image.header["dim_info"] = 0b111001
    for key, value in {"toffset": 300, "slice_duration": 50, "slice_end": 9}.items():
        image.header[key] = value
    image.to_filename(tmp_path / "a.nii")
    opened = vx.ScalarImage(tmp_path / "a.nii")
    for part in (opened, opened[1:], opened[1:][:2]):
        header = header_of(part, tmp_path / "b.nii")
        factor = {"msec": 1e-3, "usec": 1e-6}.get(header.get_xyzt_units()[1], 1)
        assert float(header["toffset"]) * factor == pytest.approx(300 * seconds)
        assert float(header["slice_duration"]) * factor == pytest.approx(50 * seconds)


def test_what_is_no_time_becomes_none(tmp_path):
    image = nib.Nifti1Image(np.zeros((*SHAPE, 4), np.int16), np.diag([2.0, 3, 4, 1]))
    image.header.set_xyzt_units("mm", "hz")
    image.header["toffset"] = 300
    image.to_filename(tmp_path / "a.nii")
    assert header_of(vx.ScalarImage(tmp_path / "a.nii")[1:], tmp_path / "b.nii")["toffset"] == 0


def test_an_archive_keeps_them_too(tmp_path):
    vx.ScalarImage(scan(tmp_path / "a.nii"))[2:].save(tmp_path / "a.ome.zarr")
    header = header_of(vx.ScalarImage(tmp_path / "a.ome.zarr")[:3], tmp_path / "b.nii")
    assert (int(header["sform_code"]), int(header["qform_code"])) == (4, 1)
    assert header["cal_max"] == 50


def test_a_long_axis_needs_nifti_2_and_keeps_the_codes(tmp_path):
    image = vx.ScalarImage(scan(tmp_path / "a.nii"))
    header = header_of(vx.Pad((0, 0, 0, 0, 0, 40_000))(image[:1, :1]), tmp_path / "b.nii")
    assert header["sizeof_hdr"] == 540
    assert int(header["sform_code"]) == 4


# --- Units ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("unit", "codes", "suffix"),
    in_turns(
        ["micron", "meter", "mm", 0],
        itertools.product((0, 1), (0, 1)),
        [".nii", ".nii.gz", ".img", ".hdr"],
    ),
)
def test_nifti_lengths_are_millimetres(tmp_path, unit, codes, suffix):
    factor = {"micron": 1e-3, "meter": 1e3, "mm": 1, 0: 1}[unit]
    path = tmp_path / f"a{suffix}"
    kind = nib.Nifti1Image if "nii" in suffix else nib.Nifti1Pair
    image = kind(np.zeros(SHAPE, np.int16), None)
    image.header.set_zooms((2, 3, 4))
    image.header.set_sform(OBLIQUE, codes[0])
    image.header.set_qform(OBLIQUE, codes[1])
    image.header["xyzt_units"] = 0 if unit == 0 else nib.nifti1.unit_codes[unit]
    image.to_filename(path)
    expected = np.diag([factor, factor, factor, 1]) @ nib.load(path).affine
    remarked = unit in ("micron", "meter")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        source = open_source(path)
    assert any("NOT_MILLIMETRES" in str(one.message) for one in caught) == remarked
    np.testing.assert_allclose(source.affine, expected, rtol=1e-12)
    by_itk = sitk.ReadImage(path).GetSpacing()
    np.testing.assert_allclose(source.grid.spacing, by_itk, rtol=1e-5)
    warnings.simplefilter("ignore", VoxarrayWarning)
    for name in ("b.nii", "b.ome.zarr", "b.nrrd"):
        vx.ScalarImage(path).save(tmp_path / name)
        np.testing.assert_allclose(
            vx.ScalarImage(tmp_path / name).affine, expected, rtol=1e-6, atol=1e-6 * factor
        )
    np.testing.assert_allclose(
        nib.load(tmp_path / "b.nii").affine, expected, rtol=1e-6, atol=1e-6 * factor
    )
    for there in (vx.ScalarImage(path).to_nibabel(), nib.load(path)):
        back = vx.ScalarImage.from_nibabel(there)
        np.testing.assert_allclose(back.affine, expected, rtol=1e-6, atol=1e-6 * factor)
    theirs = vx.ScalarImage(path).to_nibabel()
    assert theirs.header.get_xyzt_units()[0] in ("mm", "unknown")
