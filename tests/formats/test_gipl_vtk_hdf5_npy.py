"""GIPL, VTK and HDF5 against SimpleITK; .npy against NumPy."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
import SimpleITK as sitk

from header_samples import assert_as_itk, everything, numbers, opened
from voxarray.core.errors import FormatError, TruncatedError, UnsupportedError
from voxarray.formats._voxels.compressed_file import CompressedFile
from voxarray.formats._voxels.file_array import PlainFile
from voxarray.formats._voxels.hdf5_array import Hdf5File
from voxarray.geometry.lps import ras_from_itk
from voxarray.geometry.selection import Selection
from voxarray.source.custom_reader import as_4d

READERS = {
    ".gipl": ("GiplImageIO", ["u1", "i1", "u2", "i2", "f4", "f8"]),
    ".gipl.gz": ("GiplImageIO", ["i2"]),
    ".vtk": ("VTKImageIO", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"]),
    ".h5": ("HDF5ImageIO", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"]),
}
SHAPES = {"volume": (4, 3, 2), "plane": (7, 5), "series": (5, 4, 3, 2), "vectors": (4, 3, 2, 3)}


def itk_image(kind, dtype="i2"):
    image = sitk.GetImageFromArray(numbers(SHAPES[kind], dtype), isVector=kind == "vectors")
    count = image.GetDimension()
    image.SetSpacing([2.0, 3.0, 4.0, 5.0][:count])
    image.SetOrigin([5.0, 6.0, 7.0, 8.0][:count])
    return image


@pytest.mark.parametrize(
    ("suffix", "dtype"), [(s, dtype) for s, (_, dtypes) in READERS.items() for dtype in dtypes]
)
@pytest.mark.parametrize("kind", SHAPES)
def test_what_itk_writes(tmp_path, suffix, dtype, kind):
    image = itk_image(kind, dtype)
    if kind == "volume":
        image.SetDirection((0, 0.6, 0.8, -1, 0, 0, 0, -0.8, 0.6))
    if kind == "vectors" and suffix.startswith(".gipl"):
        pytest.skip("GIPL has no vectors")
    if kind == "series" and suffix == ".vtk":
        pytest.skip("VTK has three dimensions")
    path = tmp_path / f"a{suffix}"
    sitk.WriteImage(image, path)
    assert_as_itk(path, READERS[suffix][0])


def test_each_is_read_as_it_can_be(tmp_path):
    kinds = {".gipl": PlainFile, ".gipl.gz": CompressedFile, ".vtk": PlainFile, ".h5": Hdf5File}
    for suffix, cls in kinds.items():
        sitk.WriteImage(itk_image("volume"), tmp_path / f"a{suffix}")
        assert type(opened(tmp_path / f"a{suffix}")[0]) is cls


@pytest.mark.parametrize("suffix", READERS)
def test_cut_short(tmp_path, suffix):
    """SimpleITK fills what is missing of GIPL and VTK with whatever is in memory."""
    image = sitk.GetImageFromArray(numbers((40, 30, 20)))
    path = tmp_path / f"a{suffix}"
    sitk.WriteImage(image, path)
    data = path.read_bytes()
    for share in (0, 0.001, 0.01, 0.3, 0.99, 0.9999):
        path.write_bytes(data[: int(len(data) * share)])
        with pytest.raises(FormatError):
            everything(opened(path)[0])


def test_gipl_vectors_are_refused(tmp_path):
    """ITK writes them without their number, and reads the first component of some voxels."""
    sitk.WriteImage(itk_image("vectors"), tmp_path / "a.gipl")
    with pytest.raises(FormatError, match="such as vectors") as caught:
        opened(tmp_path / "a.gipl")
    assert caught.value.code == "EXCESS_DATA"


def test_gipl_refusals(tmp_path):
    path = tmp_path / "a.gipl"
    sitk.WriteImage(itk_image("volume"), path)
    good = path.read_bytes()
    for start, stop, value, code in [
        (0, 2, b"\0\0", "BAD_DIMS"),
        (8, 10, b"\0\1", "UNSUPPORTED_DTYPE"),
        (10, 14, bytes(4), "BAD_SPACING"),
        (10, 14, b"\x7f\xc0\0\0", "BAD_SPACING"),
        (204, 212, b"\x7f\xf8" + bytes(6), "BAD_AFFINE"),
        (252, 256, bytes(4), "NOT_GIPL"),
        (0, 6, b"\x7f\xff" * 3, "TRUNCATED"),
    ]:
        path.write_bytes(good[:start] + value + good[stop:])
        with pytest.raises(FormatError) as caught:
            opened(path)
        assert caught.value.code == code
    (tmp_path / "a.gipl.gz").write_bytes(gzip.compress(b"\x7f\xff" * 3 + good[6:]))
    with pytest.raises(FormatError) as caught:
        opened(tmp_path / "a.gipl.gz")
    assert caught.value.code == "DIMS_EXCEED_FILE"


VTK = (
    "# vtk DataFile Version 3.0\na title\nASCII\nDATASET STRUCTURED_POINTS\nDIMENSIONS 2 3 1\n"
    "SPACING 1 2 1\nORIGIN 4 5 0\nPOINT_DATA 6\nSCALARS scalars short 1\nLOOKUP_TABLE default\n"
)


def test_vtk_text(tmp_path):
    (tmp_path / "a.vtk").write_text(VTK + "1 2 3\n4 5 6\n")
    source, _ = opened(tmp_path / "a.vtk")
    assert np.array_equal(everything(source)[0, ..., 0].T, [[1, 2, 3][:2], [3, 4], [5, 6]])
    assert_as_itk(tmp_path / "a.vtk", "VTKImageIO")


def test_vtk_slices_keep_their_place(tmp_path):
    """ITK takes the third spacing and position of a single slice for 1 and 0."""
    text = VTK.replace("ORIGIN 4 5 0", "ORIGIN 4 5 6").replace("SPACING 1 2 1", "SPACING 1 2 3")
    (tmp_path / "a.vtk").write_text(text + "1 2 3 4 5 6\n")
    expected = ras_from_itk([1, 2, 3], [4, 5, 6], np.eye(3).ravel())
    assert np.array_equal(opened(tmp_path / "a.vtk")[0].affine, expected)


def test_vtk_vectors(tmp_path):
    text = VTK.replace("ASCII", "BINARY").split("SCALARS")[0] + "VECTORS v float\n"
    array = numbers((1, 3, 2, 3), ">f4").astype(">f4")
    (tmp_path / "a.vtk").write_bytes(text.encode() + array.tobytes())
    assert_as_itk(tmp_path / "a.vtk", "VTKImageIO")


@pytest.mark.parametrize(
    ("before", "after", "code"),
    [
        ("# vtk", "# xml", "NOT_VTK"),
        ("STRUCTURED_POINTS", "POLYDATA", "NOT_AN_IMAGE"),
        ("ASCII", "NEITHER", "BAD_HEADER"),
        ("2 3 1", "2 3 0", "BAD_DIMS"),
        ("2 3 1", "2 3 9", "BAD_DIMS"),
        ("short 1", "bit 1", "UNSUPPORTED_DTYPE"),
        ("short 1", "short 0", "BAD_DIMS"),
        ("SPACING 1", "SPACING 0", "BAD_SPACING"),
        ("SPACING 1 2", "SPACING 1", "BAD_HEADER"),
        ("ORIGIN 4", "ORIGIN nan", "BAD_AFFINE"),
        ("ORIGIN 4 5 0", "ASCII", "BAD_HEADER"),
        ("LOOKUP_TABLE default\n", "", "TRUNCATED"),
        ("2 3 1", "32767 32767 32767", "BAD_DIMS"),
    ],
)
def test_vtk_refusals(tmp_path, before, after, code):
    (tmp_path / "a.vtk").write_text(VTK.replace(before, after, 1) + "1 2 3 4 5 6\n")
    with pytest.raises(FormatError) as caught:
        opened(tmp_path / "a.vtk")
    assert caught.value.code == code


@pytest.mark.parametrize("form", ["COLOR_SCALARS c 3", "FIELD data 1", "TENSORS t float"])
def test_vtk_arrays_that_are_no_voxels(tmp_path, form):
    (tmp_path / "a.vtk").write_bytes(VTK.split("SCALARS")[0].encode() + f"{form}\n".encode())
    with pytest.raises(UnsupportedError, match=form.split()[0]) as caught:
        opened(tmp_path / "a.vtk")
    assert caught.value.code == "NOT_AN_IMAGE"


@pytest.mark.parametrize("second", ["SCALARS b float", "VECTORS b float", "FIELD data 1", ""])
def test_vtk_says_which_arrays_it_leaves_out(tmp_path, second):
    array = numbers((1, 3, 2), ">i2")
    data = array.astype(">i2").tobytes() + f"\n{second}\n".encode() + bytes(24)
    (tmp_path / "a.vtk").write_bytes(VTK.replace("ASCII", "BINARY").encode() + data)
    source, messages = opened(tmp_path / "a.vtk")
    assert np.array_equal(everything(source)[0].T, array)
    assert messages == ["OTHER_ARRAYS"] * bool(second)


def test_hdf5_refusals(tmp_path):
    import h5py

    path = tmp_path / "a.h5"
    sitk.WriteImage(itk_image("volume"), path)
    changes = [
        ("Spacing", [0.0, 1, 1], "BAD_SPACING"),
        ("Origin", [np.nan, 1, 1], "BAD_AFFINE"),
        ("Directions", np.ones((3, 3)), "BAD_AFFINE"),
        ("Directions", np.eye(2), "BAD_HEADER"),
        ("Dimension", [2, 3], "BAD_HEADER"),
    ]
    for name, value, code in changes:
        sitk.WriteImage(itk_image("volume"), path)
        with h5py.File(path, "a") as file:
            del file[f"ITKImage/0/{name}"]
            file[f"ITKImage/0/{name}"] = value
        with pytest.raises(FormatError) as caught:
            opened(path)
        assert caught.value.code == code
    with h5py.File(path, "w") as file:
        file["something"] = np.zeros((3, 4, 5))
    with pytest.raises(FormatError, match="reader= of your own") as caught:
        opened(path)
    assert caught.value.code == "NOT_AN_IMAGE"
    with h5py.File(path, "w") as file:
        group = file.create_group("ITKImage/0")
        group.create_dataset("VoxelData", (40000, 40000, 400), "i2", chunks=(64, 64, 64))
        group["Dimension"], group["Spacing"], group["Origin"] = [1, 1, 1], [1.0] * 3, [0.0] * 3
        group["Directions"] = np.eye(3)
    with pytest.raises(FormatError) as caught:
        opened(path)
    assert caught.value.code == "DIMS_EXCEED_FILE"


# --- .npy -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "shape", [(5, 6), (5, 6, 3), (3, 5, 6), (5, 6, 7), (2, 5, 6, 7), (5, 6, 7, 1, 2)]
)
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["<i2", ">i2", "u1", "f2", "<f8", ">c16", "?"])
def test_npy(tmp_path, shape, order, dtype):
    array = np.asarray(numbers(shape, "i2").astype(dtype), order=order)
    np.save(tmp_path / "a.npy", array)
    source, _ = opened(tmp_path / "a.npy")
    found, expected = everything(source), as_4d(array)
    assert source.dtype == array.dtype.newbyteorder("=")
    assert source.shape == expected.shape
    assert np.array_equal(found, expected)
    assert np.array_equal(source.affine, np.eye(4))
    part = Selection.whole(source.shape)[1:4, ::-2, ...]
    assert np.array_equal(source.read(part), expected[part.slices()])


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_npy_of_any_version(tmp_path, version):
    array = numbers((5, 6, 7), "i2")
    with (tmp_path / "a.npy").open("wb") as file:
        np.lib.format.write_array(file, array, version=version)
    assert np.array_equal(everything(opened(tmp_path / "a.npy")[0])[0], array)


def test_npy_refusals(tmp_path):
    path = tmp_path / "a.npy"
    for array, error in [
        (np.zeros(5), UnsupportedError),
        (np.zeros((2, 3, 4, 5, 6)), FormatError),
        (np.array([[{}]]), UnsupportedError),
        (np.zeros((2, 3), "U5"), UnsupportedError),
        (np.zeros((2, 3), np.longdouble), UnsupportedError),
        (np.zeros((2, 0)), FormatError),
    ]:
        np.save(path, array, allow_pickle=True)
        with pytest.raises(FormatError) as caught:
            opened(path)
        assert isinstance(caught.value, error) or caught.value.code == "BAD_DIMS"
    np.save(path, numbers((5, 6, 7)))
    data = path.read_bytes()
    for count in (0, 5, 50, 200, len(data) - 1):
        path.write_bytes(data[:count])
        with pytest.raises(FormatError):
            opened(path)
    path.write_bytes(data[:-1])
    with pytest.raises(TruncatedError):
        opened(path)
