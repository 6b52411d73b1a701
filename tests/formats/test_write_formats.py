"""Every format of `Image.save`: what comes back, what others read, and what is refused."""

from __future__ import annotations

import itertools
import os
import re
import sys
import warnings

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import tifffile
from hypothesis import HealthCheck, given, settings

import voxarray as vx
from in_turns import in_turns
from voxarray.core.errors import UnsupportedError, VoxarrayWarning
from voxarray.formats._voxels import itk_writing
from voxarray.formats.nrrd.write import write_nrrd
from voxarray.formats.registry import open_source, written_suffixes
from voxarray.geometry.lps import ras_from_itk, ras_from_lps
from voxarray.geometry.selection import Selection
from voxarray.source.array import ArraySource
from voxarray.source.base import Channels
from voxarray.source.materialise import materialise
from voxarray.testing.counting import count_reads
from voxarray.testing.strategies import affines

OBLIQUE = np.array([[0.0, -2, 0.2, 10], [1.5, 0, 0.3, -20], [0, 0.1, 3, 30], [0, 0, 0, 1]])
ROTATED = ras_from_itk([2, 3, 4], [5, 6, 7], [0, 0.6, 0.8, -1, 0, 0, 0, -0.8, 0.6])
LPS_AXES = ras_from_itk([2, 3, 4], [5, 6, 7], np.eye(3).ravel())

INTEGERS = ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8"]
FLOATS = ["f4", "f8"]

# suffix -> types, most channels, an affine that the format can hold
FORMATS = {
    ".img": ([*INTEGERS, *FLOATS, "c8", "c16"], 3, OBLIQUE),
    ".hdr": (["i2"], 3, OBLIQUE),
    ".img.gz": (["i2", "f4"], 3, OBLIQUE),
    ".nrrd": ([*INTEGERS, *FLOATS], 3, OBLIQUE),
    ".nhdr": (["i2", "f8"], 3, OBLIQUE),
    ".mha": ([*INTEGERS, *FLOATS], 3, OBLIQUE),
    ".mhd": (["i2", "f8"], 3, OBLIQUE),
    ".mgh": (["u1", "i2", "u2", "i4", "f4"], 3, OBLIQUE),
    ".mgz": (["i2", "f4"], 3, OBLIQUE),
    ".h5": ([*INTEGERS, *FLOATS], 3, ROTATED),
    ".vtk": ([*INTEGERS, *FLOATS], 3, LPS_AXES),
    ".gipl": (["u1", "i1", "u2", "i2", "f4", "f8"], 1, LPS_AXES),
    ".gipl.gz": (["i2"], 1, LPS_AXES),
}
CASES = [
    (suffix, dtype, channels)
    for suffix, (dtypes, most, _) in FORMATS.items()
    for dtype in dtypes
    for channels in sorted({1, most})
]
READ_BY_ITK = {".nrrd", ".nhdr", ".mha", ".mhd", ".vtk", ".gipl", ".gipl.gz", ".h5"}


def voxels(shape, dtype="i2", seed=0):
    rng = np.random.default_rng(seed)
    dtype = np.dtype(dtype)
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        return rng.integers(info.min, info.max, shape, dtype, endpoint=True)
    values = rng.normal(0, 100, shape)
    return (values + 1j * values[::-1] if dtype.kind == "c" else values).astype(dtype)


def image(shape=(1, 4, 5, 6), dtype="i2", affine=OBLIQUE):
    # Native types: a tensor would turn uint16 into int32.
    return vx.ScalarImage.from_xarray(source_array(ArraySource(voxels(shape, dtype), affine)))


def source_array(source):
    from voxarray.xarray_index.lazy import to_dataarray

    return to_dataarray(source)


def reopened(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", VoxarrayWarning)
        source = open_source(path)
    return source, source.read(Selection.whole(source.shape))


def by_itk(path):
    read = sitk.ReadImage(str(path))
    array = sitk.GetArrayFromImage(read).T
    if read.GetNumberOfComponentsPerPixel() == 1:
        array = array[None]
    array = array[..., None] if array.ndim == 3 else array
    return array, ras_from_itk(read.GetSpacing(), read.GetOrigin(), read.GetDirection())


def save(source, path, **options):
    from voxarray.saving import save as save_source

    save_source(source, path, label=False, overwrite=True, **options)


@pytest.fixture
def written_here(monkeypatch):
    """No process for every file of HDF5 and MINC: what it writes is what is written here."""

    def write_here():
        monkeypatch.setattr(itk_writing, "_ENDING", ())

    return write_here


@pytest.mark.parametrize(("suffix", "dtype", "channels"), CASES)
def test_what_comes_back(tmp_path, written_here, suffix, dtype, channels):
    if channels == 1 and dtype != "f8":
        written_here()
    affine = FORMATS[suffix][2]
    array = voxels((channels, 4, 5, 6), dtype)
    save(ArraySource(array, affine), tmp_path / f"a{suffix}")
    source, found = reopened(tmp_path / f"a{suffix}")
    assert found.dtype == array.dtype
    assert np.array_equal(found, array)
    np.testing.assert_allclose(source.affine, affine, rtol=1e-6, atol=1e-5)
    assert not [name for name in os.listdir(tmp_path) if "partial" in name]
    if suffix in READ_BY_ITK:
        theirs, placed = by_itk(tmp_path / f"a{suffix}")
        assert np.array_equal(theirs, array)
        assert theirs.dtype == array.dtype
        np.testing.assert_allclose(placed, affine, rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("suffix", [".img", ".img.gz", ".mgh", ".mgz", ".mnc"])
@pytest.mark.parametrize("channels", [1, 3])
def test_nibabel_reads_them(tmp_path, suffix, channels):
    if suffix == ".mnc" and channels > 1:
        pytest.skip("MINC holds one channel")
    affine = ROTATED if suffix == ".mnc" else OBLIQUE
    array = voxels((channels, 4, 5, 6))
    path = tmp_path / f"a{suffix}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", VoxarrayWarning)
        save(ArraySource(array, affine), path)
    read = nib.load(path)
    found = np.asanyarray(read.dataobj)
    if channels > 1:
        found = np.moveaxis(found.reshape(4, 5, 6, 3), -1, 0)
    np.testing.assert_allclose(found.reshape(array.shape), array, atol=1e-3)
    np.testing.assert_allclose(read.affine, affine, rtol=1e-6, atol=1e-5)


@given(affines())
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_any_affine(tmp_path, suffix, affine):
    save(ArraySource(voxels((1, 2, 3, 4)), affine), tmp_path / f"a{suffix}")
    source, _ = reopened(tmp_path / f"a{suffix}")
    if suffix == ".nrrd":
        assert np.array_equal(source.affine, affine)
    np.testing.assert_allclose(source.affine, affine, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "u2", "i4", "f4", "f8"])
def test_minc(tmp_path, dtype):
    array = voxels((1, 4, 5, 6), dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", VoxarrayWarning)
        save(ArraySource(array, ROTATED), tmp_path / "a.mnc")
    source, found = reopened(tmp_path / "a.mnc")
    assert found.shape == array.shape
    assert np.can_cast(array.dtype, found.dtype)
    np.testing.assert_allclose(found, array, rtol=1e-6)
    np.testing.assert_allclose(source.affine, ROTATED, atol=1e-9)


def test_minc_says_what_it_widens(tmp_path):
    with pytest.warns(VoxarrayWarning, match="WIDER_DTYPE"):
        save(ArraySource(voxels((1, 4, 5, 6)), ROTATED), tmp_path / "a.mnc")


@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".mhd", ".nhdr"])
def test_bool_becomes_uint8(tmp_path, suffix):
    array = voxels((1, 4, 5, 6)) > 0
    save(ArraySource(array, OBLIQUE), tmp_path / f"a{suffix}")
    _, found = reopened(tmp_path / f"a{suffix}")
    assert found.dtype == np.uint8
    assert np.array_equal(found, array)


@pytest.mark.parametrize("dtype", ["c8", "c16"])
def test_complex_nrrd(tmp_path, dtype):
    array = voxels((1, 4, 5, 6), dtype)
    save(ArraySource(array, OBLIQUE), tmp_path / "a.nrrd")
    _, found = reopened(tmp_path / "a.nrrd")
    assert found.dtype == array.dtype
    assert np.array_equal(found, array)
    assert np.array_equal(by_itk(tmp_path / "a.nrrd")[0], array)


@pytest.mark.parametrize("suffix", [".NRRD", ".MHA", ".Mgz", ".IMG", ".PNG", ".NII.GZ"])
def test_upper_case(tmp_path, suffix):
    array = voxels((1, 4, 5, 1), "u1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", VoxarrayWarning)
        save(ArraySource(array, LPS_AXES), tmp_path / f"a{suffix}")
    assert np.array_equal(reopened(tmp_path / f"a{suffix}")[1], array)


def test_pairs_are_named_alike(tmp_path):
    source = ArraySource(voxels((1, 2, 3, 4)), OBLIQUE)
    for name in ("a.img", "b.HDR", "c.hdr.gz", "d.mhd", "e.nhdr"):
        save(source, tmp_path / name)
    assert sorted(os.listdir(tmp_path)) == [
        *("a.hdr", "a.img", "b.HDR", "b.IMG", "c.hdr.gz", "c.img.gz"),
        *("d.mhd", "d.raw", "e.nhdr", "e.raw"),
    ]


# --- Axes of one voxel ------------------------------------------------------------------------

EVERY_SIZE = list(itertools.product((1, 5), (1, 6), (1, 7)))
EXACT = sorted(set(written_suffixes()) - {".jpg", ".jpeg"})


@pytest.mark.parametrize(
    ("suffix", "kind", "count"), in_turns(EXACT, ["channel", "time"], [1, 2, 3, 4])
)
def test_axes_of_one_voxel_come_back_or_are_refused(tmp_path, written_here, suffix, kind, count):
    """Whatever a format holds keeps its shape, its voxels and the way of its axes."""
    channels = Channels("time", 2.0) if kind == "time" else Channels()
    if count < 3 or suffix == ".hdf5":  # another name of .h5
        written_here()
    for number, size in enumerate(EVERY_SIZE):
        path = tmp_path / f"a{number}{suffix}"
        array = np.arange(count * np.prod(size), dtype="u1").reshape(count, *size)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", VoxarrayWarning)
            try:
                save(ArraySource(array, LPS_AXES, channels), path)
            except UnsupportedError as error:
                assert error.code == "UNSUPPORTED_DIMS"  # noqa: PT017
                continue
        source, found = reopened(path)
        if suffix == ".bmp" and count == 1:  # a grey BMP is read with three equal channels
            array = np.repeat(array, 3, axis=0)
        assert found.shape == array.shape
        assert np.array_equal(found, array)
        directions = source.affine[:3, :3] / source.grid.spacing
        assert np.array_equal(directions, np.diag([-1, -1, 1]))


@pytest.mark.parametrize("size", EVERY_SIZE)
@pytest.mark.parametrize("count", [1, 3])
def test_tiff_planes_are_others_planes(tmp_path, size, count):
    array = voxels((count, *size), "u1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", VoxarrayWarning)
        save(ArraySource(array, LPS_AXES), tmp_path / "a.tif")
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert len(file.pages) == size[2]
        assert {(page.imagewidth, page.imagelength) for page in file.pages} == {size[:2]}
    assert np.array_equal(by_itk(tmp_path / "a.tif")[0], array)


@pytest.mark.parametrize("value", [0, 5])
@pytest.mark.parametrize("dtype", ["u1", "i2", "f4"])
def test_minc_of_one_value(tmp_path, written_here, value, dtype):
    if dtype != "i2":
        written_here()
    array = np.full((1, 4, 5, 6), value, dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", VoxarrayWarning)
        save(ArraySource(array, ROTATED), tmp_path / "a.mnc")
    assert np.array_equal(reopened(tmp_path / "a.mnc")[1], array)


# --- One slice --------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".h5"])
@pytest.mark.parametrize("channels", [1, 3])
def test_squeeze(tmp_path, written_here, suffix, channels):
    if channels == 1:
        written_here()
    flat = ras_from_lps([[0, 2, 0, 5], [-3, 0, 0, 6], [0, 0, 1, 0], [0, 0, 0, 1]])
    array = voxels((channels, 4, 5, 1))
    save(ArraySource(array, flat), tmp_path / f"a{suffix}", squeeze=True)
    assert sitk.ReadImage(tmp_path / f"a{suffix}").GetDimension() == 2
    source, found = reopened(tmp_path / f"a{suffix}")
    assert np.array_equal(found, array)
    np.testing.assert_allclose(source.affine, flat, atol=1e-12)
    with pytest.raises(UnsupportedError, match="keeps its place in the patient") as caught:
        save(ArraySource(array, OBLIQUE), tmp_path / f"a{suffix}", squeeze=True)
    assert caught.value.code == "CANNOT_SQUEEZE"
    for squeeze in (None, False):
        save(ArraySource(array, LPS_AXES), tmp_path / f"a{suffix}", squeeze=squeeze)
        assert sitk.ReadImage(tmp_path / f"a{suffix}").GetDimension() == 3


@pytest.mark.parametrize("suffix", [".nii", ".img", ".mgz", ".vtk", ".gipl", ".mnc", ".ome.zarr"])
def test_fixed_axes_are_not_squeezed(tmp_path, suffix):
    with pytest.raises(UnsupportedError, match="three spatial axes") as caught:
        save(ArraySource(voxels((1, 4, 5, 1)), LPS_AXES), tmp_path / f"a{suffix}", squeeze=True)
    assert caught.value.code == "CANNOT_SQUEEZE"
    assert os.listdir(tmp_path) == []


PLANE = ras_from_itk([1, 1, 1], [0, 0, 0], np.eye(3).ravel())


@pytest.mark.parametrize(
    ("suffix", "channels", "dtype"),
    [
        *[(".png", n, dtype) for n in (1, 3, 4) for dtype in ("u1", "u2")],
        (".bmp", 3, "u1"),
        *[(".tif", n, dtype) for n in (1, 3, 4) for dtype in ("u1", "i2", "u2", "f4", "f8")],
    ],
)
def test_pictures_come_back(tmp_path, suffix, channels, dtype):
    array = voxels((channels, 4, 5, 1), dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("error", VoxarrayWarning)
        save(ArraySource(array, PLANE), tmp_path / f"a{suffix}")
    source, found = reopened(tmp_path / f"a{suffix}")
    assert found.dtype == array.dtype
    assert np.array_equal(found, array)
    np.testing.assert_allclose(source.affine, PLANE, atol=1e-12)
    if dtype != "f8":  # which ITK's TIFF reader does not know
        assert np.array_equal(by_itk(tmp_path / f"a{suffix}")[0], array)


@pytest.mark.parametrize("spacing", [(2, 3, 1), (0.5, 0.25, 4)])
def test_tiff_stack(tmp_path, spacing):
    array = voxels((1, 4, 5, 6))
    affine = ras_from_itk(spacing, [0, 0, 0], np.eye(3).ravel())
    with warnings.catch_warnings():
        warnings.simplefilter("error", VoxarrayWarning)
        save(ArraySource(array, affine), tmp_path / "a.tif")
        source = open_source(tmp_path / "a.tif")
    assert np.array_equal(source.read(Selection.whole(source.shape)), array)
    np.testing.assert_allclose(source.grid.spacing, spacing, rtol=1e-6)
    assert np.array_equal(by_itk(tmp_path / "a.tif")[0], array)


@pytest.mark.parametrize("size", EVERY_SIZE)
@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("name", ["a.ome.tif", "b.OME.TIFF", "x.ome.tif.parts/a.tif"])
def test_ome_tiff_is_what_its_name_says(tmp_path, size, count, name):
    array, path = voxels((count, *size), "u2"), tmp_path / name
    path.parent.mkdir(exist_ok=True)
    affine = ras_from_itk((0.5, 0.25, 4), [0, 0, 0], np.eye(3).ravel())
    with warnings.catch_warnings():
        warnings.simplefilter("error", VoxarrayWarning)
        save(ArraySource(array, affine), path)
        source = open_source(path)
    with tifffile.TiffFile(path) as file:
        assert file.is_ome == (path.parent == tmp_path)
    assert np.array_equal(source.read(Selection.whole(source.shape)), array)
    np.testing.assert_allclose(source.grid.spacing, (0.5, 0.25, 4), rtol=1e-6)


def test_jpeg(tmp_path):
    array = np.broadcast_to(np.arange(64, dtype="u1")[None, :, None, None] * 3, (3, 64, 48, 1))
    with pytest.warns(VoxarrayWarning, match="LOSSY"):
        save(ArraySource(array, PLANE), tmp_path / "a.jpg")
    _, found = reopened(tmp_path / "a.jpg")
    assert found.shape == array.shape
    assert np.abs(found.astype(int) - array).max() < 8


def test_whole_numbers_of_other_types(tmp_path):
    array = voxels((1, 4, 5, 1), "u1")
    for dtype in ("i4", "f4", "u2"):
        save(
            ArraySource(array.astype(dtype), PLANE), tmp_path / "a.bmp" if 0 else tmp_path / "a.png"
        )
        assert np.array_equal(reopened(tmp_path / "a.png")[1], array)


def test_fractions_are_cut_off_with_a_warning(tmp_path):
    with pytest.warns(VoxarrayWarning, match="CAST_TO_UINT8"):
        save(ArraySource(np.full((1, 4, 5, 1), 2.75), PLANE), tmp_path / "a.png")
    assert (reopened(tmp_path / "a.png")[1] == 2).all()


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".jpg", ".tif"])
def test_lost_geometry_is_remarked(tmp_path, suffix):
    with pytest.warns(VoxarrayWarning, match="GEOMETRY_LOST"):
        save(ArraySource(voxels((3, 4, 5, 1), "u1"), OBLIQUE), tmp_path / f"a{suffix}")


# --- What a format cannot hold ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("suffix", "shape", "dtype", "affine", "code"),
    [
        *[(s, (1, 4, 5, 6), "f2", LPS_AXES, "UNSUPPORTED_DTYPE")
          for s in FORMATS if s != ".png"],
        *[(s, (1, 4, 5, 6), "c8", LPS_AXES, "UNSUPPORTED_DTYPE")
          for s in (".mha", ".mgz", ".vtk", ".gipl", ".h5", ".mnc", ".tif")],
        *[(s, (1, 4, 5, 6), "u8", LPS_AXES, "UNSUPPORTED_DTYPE")
          for s in (".mgh", ".gipl", ".mnc")],
        *[(".ome.tif", (1, 4, 5, 6), d, LPS_AXES, "UNSUPPORTED_DTYPE") for d in ("u8", "i8")],
        (".nrrd", (2, 4, 5, 6), "c8", LPS_AXES, "UNSUPPORTED_DIMS"),
        (".gipl", (2, 4, 5, 6), "i2", LPS_AXES, "UNSUPPORTED_DIMS"),
        (".mnc", (2, 4, 5, 6), "i2", LPS_AXES, "UNSUPPORTED_DIMS"),
        (".png", (1, 4, 5, 6), "u1", PLANE, "UNSUPPORTED_DIMS"),
        (".jpg", (2, 4, 5, 1), "u1", PLANE, "UNSUPPORTED_DIMS"),
        (".tif", (2, 4, 5, 1), "u1", PLANE, "UNSUPPORTED_DIMS"),
        (".png", (1, 4, 5, 1), "i2", PLANE, "OUT_OF_RANGE"),
        *[(s, (1, 4, 5, 6), "i2", a, "AFFINE_NOT_HELD")
          for s in (".vtk", ".gipl") for a in (OBLIQUE, ROTATED, np.eye(4))],
    ],
)  # fmt: skip
def test_refusals(tmp_path, suffix, shape, dtype, affine, code):
    with pytest.raises(UnsupportedError) as caught:
        save(ArraySource(voxels(shape, dtype), affine), tmp_path / f"a{suffix}")
    assert caught.value.code == code
    assert caught.value.path == str(tmp_path / f"a{suffix}")
    assert os.listdir(tmp_path) == []


def test_the_slice_that_is_suggested_for_a_picture_exists(tmp_path):
    with pytest.raises(UnsupportedError, match=r"has 6: take one, such as image\[\.\.\., 3\]"):
        save(ArraySource(voxels((1, 4, 5, 6), "u1"), PLANE), tmp_path / "a.png")


@pytest.mark.parametrize("suffix", [".vtk", ".gipl"])
def test_the_call_in_a_refusal_of_axes_makes_them_right(tmp_path, suffix):
    image = vx.ScalarImage(tensor=voxels((1, 4, 5, 6)), affine=np.diag([2.0, 3, 4, 1]))
    with pytest.raises(UnsupportedError, match="those of the image point RAS") as caught:
        image.save(tmp_path / f"a{suffix}")
    (call,) = re.findall(r"reorient it first: (\S+)", str(caught.value))
    reoriented = eval(call, {"vx": vx, "image": image})
    reoriented.save(tmp_path / f"a{suffix}")
    again = vx.ScalarImage(tmp_path / f"a{suffix}")
    np.testing.assert_allclose(again.affine, reoriented.affine)
    np.testing.assert_array_equal(vx.ToCanonical()(again).numpy(), image.numpy())


@pytest.mark.parametrize("suffix", [".vtk", ".gipl"])
def test_a_refusal_of_oblique_axes_advises_no_reorientation(tmp_path, suffix):
    with pytest.raises(UnsupportedError, match="those of the image are oblique") as caught:
        save(ArraySource(voxels((1, 4, 5, 6), "i2"), OBLIQUE), tmp_path / f"a{suffix}")
    assert "ToOrientation" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".h5", ".mnc"])
def test_shear_is_held_or_refused(tmp_path, suffix):
    sheared = ROTATED.copy()
    sheared[:3, 1] += 0.4 * sheared[:3, 0]
    path = tmp_path / f"a{suffix}"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", VoxarrayWarning)
            save(ArraySource(voxels((1, 4, 5, 6)), sheared), path)
    except UnsupportedError as error:
        assert error.code in ("AFFINE_NOT_HELD", "NOT_WRITTEN")  # noqa: PT017
        assert os.listdir(tmp_path) == []
    else:
        np.testing.assert_allclose(reopened(path)[0].affine, sheared, atol=1e-6)


@pytest.mark.parametrize("suffix", [".nhdr", ".mhd"])
@pytest.mark.parametrize(
    "name", ["é", "日本", "zażółć gęślą", "e\u0301", "100", "LOCAL", "a 1 2 1"]
)
def test_a_header_names_its_voxels_as_others_do(tmp_path, suffix, name):
    """Programs write the bytes of a name as they are, in UTF-8 on all but old systems."""
    ours, theirs = tmp_path / f"{name}{suffix}", tmp_path / f"{name} itk{suffix}"
    array = voxels((1, 4, 5, 6))
    save(ArraySource(array, ROTATED), ours)
    assert np.array_equal(by_itk(ours)[0], array)
    assert np.array_equal(reopened(ours)[1], array)
    sitk.WriteImage(sitk.GetImageFromArray(array[0].T), str(theirs))
    assert np.array_equal(reopened(theirs)[1], array)


@pytest.mark.parametrize("suffix", [".nhdr", ".mhd"])
def test_a_name_of_an_older_system(tmp_path, suffix):
    path, array = tmp_path / f"a{suffix}", voxels((1, 4, 5, 6))
    save(ArraySource(array, ROTATED), path)
    (tmp_path / "a.raw").rename(tmp_path / "é.raw")
    path.write_bytes(path.read_bytes().replace(b"a.raw", "é.raw".encode("latin-1")))
    assert np.array_equal(reopened(path)[1], array)


@pytest.mark.parametrize("suffix", [".nhdr", ".mhd"])
@pytest.mark.parametrize(
    "name", [" a", "a\nb", "a\tb", "a\r", "%d", "%03d 1 2 1", "LIST a", "\udcff"]
)
def test_names_that_no_header_can_give_are_refused(tmp_path, suffix, name):
    with pytest.raises(UnsupportedError, match="would name the file of its voxels") as caught:
        save(ArraySource(voxels((1, 4, 5, 6)), ROTATED), tmp_path / f"{name}{suffix}")
    assert caught.value.code == "BAD_NAME"
    assert os.listdir(tmp_path) == []


def test_a_refusal_leaves_the_old_file(tmp_path):
    (tmp_path / "a.gipl").write_bytes(b"old")
    with pytest.raises(UnsupportedError):
        save(ArraySource(voxels((1, 4, 5, 6)), OBLIQUE), tmp_path / "a.gipl")
    assert (tmp_path / "a.gipl").read_bytes() == b"old"


def test_time_is_remarked(tmp_path):
    series = ArraySource(voxels((3, 4, 5, 6)), OBLIQUE, Channels("time", 2.0))
    for suffix in (".mgz", ".h5"):
        with pytest.warns(VoxarrayWarning, match="TIME_LOST"):
            save(ArraySource(series.array, ROTATED, series.channels), tmp_path / f"a{suffix}")


@pytest.mark.parametrize("suffix", [".img", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd", ".ome.zarr"])
@pytest.mark.parametrize("count", [1, 3])
def test_time_is_held(tmp_path, suffix, count):
    series = ArraySource(voxels((count, 4, 5, 6)), OBLIQUE, Channels("time", 2.5))
    with warnings.catch_warnings():
        warnings.simplefilter("error", VoxarrayWarning)
        save(series, tmp_path / f"a{suffix}")
    source, found = reopened(tmp_path / f"a{suffix}")
    assert source.channels == series.channels
    assert np.array_equal(found, series.array)
    if suffix in READ_BY_ITK:
        assert np.array_equal(by_itk(tmp_path / f"a{suffix}")[0], series.array)


def test_scaling_is_kept_in_a_pair(tmp_path):
    header = nib.Nifti1Header()
    header.set_data_shape((4, 5, 6))
    header.set_data_dtype("i2")
    header.set_slope_inter(0.5, 10)
    array = voxels((4, 5, 6))
    with open(tmp_path / "a.nii", "wb") as file:
        header["vox_offset"], header["magic"] = 352, b"n+1"
        file.write(header.binaryblock + bytes(4) + array.T.tobytes())
    source = open_source(tmp_path / "a.nii")
    save(source, tmp_path / "b.img")
    pair = open_source(tmp_path / "b.hdr")
    assert pair.scaling == source.scaling
    assert pair.unscaled().dtype == np.int16
    assert np.array_equal(
        reopened(tmp_path / "b.img")[1], source.read(Selection.whole(source.shape))
    )


@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".img", ".mgz"])
def test_writers_stream(tmp_path, suffix, monkeypatch):
    """No writer of these holds more than a slab of the image."""
    from voxarray.formats._voxels import write_voxels as writer

    monkeypatch.setattr(writer, "_SLAB_BYTES", 1)
    array = voxels((2, 4, 5, 6))
    largest = []

    class Watched(ArraySource):
        def read(self, selection):
            largest.append(np.prod(selection.shape))
            return super().read(selection)

        @property
        def chunks(self):
            return 1, 4, 5, 1

    save(Watched(array, OBLIQUE), tmp_path / f"a{suffix}")
    assert max(largest) <= 2 * 4 * 5
    assert np.array_equal(reopened(tmp_path / f"a{suffix}")[1], array)


def test_images_save_everywhere(tmp_path):
    scan = vx.ScalarImage(tensor=voxels((1, 4, 5, 6), "f4"), affine=LPS_AXES)
    for suffix in FORMATS:
        scan.save(tmp_path / f"a{suffix}", overwrite=True)  # .hdr is the other half of .img
        assert np.array_equal(vx.ScalarImage(tmp_path / f"a{suffix}").numpy(), scan.numpy())
    assert set(FORMATS) < set(written_suffixes())


def test_materialised_as_written(tmp_path):
    write_nrrd(ArraySource(voxels((3, 4, 5, 6)), OBLIQUE), str(tmp_path / "a.nrrd"), squeeze=False)
    source = open_source(tmp_path / "a.nrrd")
    found = materialise(source, source.dtype)
    assert found.flags.writeable
    assert np.array_equal(found, voxels((3, 4, 5, 6)))


@pytest.mark.parametrize("suffix", [".h5", ".mnc"])
def test_a_package_that_is_missing_is_missed_before_anything_is_read(tmp_path, suffix, monkeypatch):
    vx.testing.sample().save(tmp_path / "scan.nii")
    scan = vx.ScalarImage(tmp_path / "scan.nii")
    monkeypatch.setitem(sys.modules, "h5py", None)
    with count_reads() as reads, pytest.raises(vx.MissingPackageError, match="h5py") as caught:
        scan.save(tmp_path / f"made{suffix}")
    assert reads.voxels == 0
    assert caught.value.path == str(tmp_path / f"made{suffix}")
    assert [one.name for one in tmp_path.iterdir()] == ["scan.nii"]
