"""MetaImage against SimpleITK, in every type, encoding and byte order; and what is refused."""

from __future__ import annotations

import itertools
import zlib

import numpy as np
import pytest
import SimpleITK as sitk

from header_samples import assert_as_itk, everything, numbers, opened
from voxarray.core.errors import FormatError, TruncatedError, UnsupportedError, VoxarrayError
from voxarray.formats._voxels.compressed_file import CompressedFile
from voxarray.formats._voxels.file_array import PlainFile
from voxarray.source.base import Channels

TYPES = {
    "u1": "MET_UCHAR", "i1": "MET_CHAR", "i2": "MET_SHORT", "u2": "MET_USHORT", "i4": "MET_INT",
    "u4": "MET_UINT", "i8": "MET_LONG_LONG", "u8": "MET_ULONG_LONG", "f4": "MET_FLOAT",
    "f8": "MET_DOUBLE",
}  # fmt: skip
PLACE = "TransformMatrix = 0 1 0 -1 0 0 0 0 1\nOffset = 1 2 3\nElementSpacing = 2 3 4\n"


def header(sizes=(3, 4, 5), dtype="i2", extra=PLACE, msb=False, last="LOCAL", name=None):
    return (
        f"ObjectType = Image\nNDims = {len(sizes)}\nBinaryData = True\n"
        f"BinaryDataByteOrderMSB = {msb}\n{extra}DimSize = {' '.join(map(str, sizes))}\n"
        f"ElementType = {name or TYPES[dtype]}\nElementDataFile = {last}\n"
    )


def write(path, text, data=b""):
    path.write_bytes(text.encode() + data)
    return path


@pytest.mark.parametrize(
    ("dtype", "msb", "compressed", "channels"),
    list(itertools.product(TYPES, [False, True], [False, True], [1, 3])),
)
def test_types_and_byte_orders(tmp_path, dtype, msb, compressed, channels):
    array = numbers((5, 4, 3, channels), dtype)
    data = array.astype(array.dtype.newbyteorder(">" if msb else "<")).tobytes()
    extra = PLACE + f"ElementNumberOfChannels = {channels}\n"
    if compressed:
        data = zlib.compress(data)
        extra += f"CompressedData = True\nCompressedDataSize = {len(data)}\n"
    path = write(tmp_path / "a.mha", header((3, 4, 5), dtype, extra, msb), data)
    source, _ = opened(path)
    assert isinstance(source, CompressedFile if compressed else PlainFile)
    assert np.array_equal(everything(source), array.transpose(3, 2, 1, 0))
    assert_as_itk(path, "MetaImageIO")


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("vector", [False, True])
@pytest.mark.parametrize("suffix", [".mha", ".mhd"])
def test_what_itk_writes(tmp_path, compressed, vector, suffix):
    image = sitk.GetImageFromArray(numbers((5, 4, 3, 2) if vector else (5, 4, 3)), isVector=vector)
    image.SetSpacing((2, 3, 4))
    image.SetOrigin((0.1, 1 / 3, 7))
    image.SetDirection((0, 0.6, 0.8, -1, 0, 0, 0, -0.8, 0.6))
    sitk.WriteImage(image, tmp_path / f"a{suffix}", compressed)
    assert_as_itk(tmp_path / f"a{suffix}", "MetaImageIO")


@pytest.mark.parametrize(
    "extra",
    [
        "",
        PLACE.replace("0 1 0 -1", "0 2 0 -2"),
        PLACE.replace("0 1 0 -1 0 0", "1 0 0 0.6 0.8 0"),
        PLACE.replace("= 2 3", "= -2 3"),
        "ElementSize = 2 3 4\n",
        "ElementSize = 2 3 4\nElementSpacing = 5 6 7\n",
        "Position = 1 2 3\nOrientation = 0 1 0 -1 0 0 0 0 1\n",
        "Origin = 1 2 3\nRotation = 0 1 0 -1 0 0 0 0 1\n",
        "AnatomicalOrientation = LPS\nCenterOfRotation = 9 9 9\nComment = x = y\n",
        "ElementSpacing: 2 3 4\n",
    ],
)
def test_geometry(tmp_path, extra):
    path = write(tmp_path / "a.mha", header(extra=extra), numbers(60).tobytes())
    assert_as_itk(path, "MetaImageIO")


@pytest.mark.parametrize(
    ("sizes", "name", "dtype", "extra"),
    [
        ((3, 4), "MET_SHORT", "i2", "ElementSpacing = 1 2\nOffset = 3 4\n"),
        ((3, 4, 5, 2), "MET_SHORT", "i2", "ElementSpacing = 1 2 3 4\nOffset = 1 2 3 4\n"),
        ((3, 4, 5), "MET_SHORT_ARRAY", "i2", "ElementNumberOfChannels = 2\n"),
        ((3, 4, 5), "MET_LONG", "i4", ""),
        ((3, 4, 5), "MET_ULONG", "u4", ""),
        ((3, 4, 5), "MET_ASCII_CHAR", "i1", ""),
    ],
)
def test_layouts(tmp_path, sizes, name, dtype, extra):
    array = numbers(240, dtype)
    path = write(tmp_path / "a.mha", header(sizes, extra=extra, name=name), array.tobytes())
    assert_as_itk(path, "MetaImageIO")
    # The fourth spacing is the time step, in the seconds that ITK reads elsewhere.
    expected = Channels("time", opened(path)[0].channels.step) if len(sizes) == 4 else Channels()
    assert opened(path)[0].channels == expected
    if len(sizes) == 4 and not extra:
        assert expected.step == 0


def test_text(tmp_path):
    array = numbers((5, 4, 3))
    text = header().replace("BinaryData = True", "BinaryData = False")
    path = write(tmp_path / "a.mha", text, (" ".join(map(str, array.ravel())) + "\n").encode())
    assert_as_itk(path, "MetaImageIO")


@pytest.mark.parametrize(("size", "before"), [("0", b""), ("7", b"1234567"), ("-1", b"12345")])
def test_detached(tmp_path, size, before):
    array = numbers((5, 4, 3))
    (tmp_path / "a b.raw").write_bytes(before + array.tobytes())
    text = header(extra=PLACE + f"HeaderSize = {size}\n", last="a b.raw")
    path = write(tmp_path / "a.mhd", text)
    assert_as_itk(path, "MetaImageIO")
    source, _ = opened(path)
    assert source.path == str(path)
    assert source.bytes_on_disk == len(text) + len(before) + array.nbytes


def test_remarks(tmp_path):
    for extra, code in [
        ("DistanceUnits = um\n", "NOT_MILLIMETRES"),
        ("ElementToIntensityFunctionSlope = 2\n", "SCALE_IGNORED"),
    ]:
        path = write(tmp_path / "a.mha", header(extra=extra), bytes(120))
        assert opened(path)[1] == [code]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (header().replace("= Image", "= Tube"), "NOT_METAIMAGE"),
        (header(extra="Offset = 1 2\n"), "BAD_HEADER"),
        (header(extra="Offset = 1 2 x\n"), "BAD_HEADER"),
        (header(extra="Offset = 1 2 3\nOffset = 1 2 3\n"), "BAD_HEADER"),
        (header(extra="Offset = 1 2 nan\n"), "BAD_AFFINE"),
        (header(extra="TransformMatrix = 1 0 0 1 0 0 0 0 1\n"), "BAD_AFFINE"),
        (header(extra="ElementSpacing = 1 0 1\n"), "BAD_SPACING"),
        (header(extra="ElementSpacing = 1 inf 1\n"), "BAD_SPACING"),
        (header(extra="CompressedData = perhaps\n"), "BAD_HEADER"),
        (header(extra="ElementByteOrderMSB = True\n"), "BAD_HEADER"),
        (header(extra="HeaderSize = 5\n"), "BAD_OFFSET"),
        (header(extra="CompressedData = True\nCompressedDataSize = 1000\n"), "TRUNCATED"),
        (header((3, 4, 0)), "BAD_DIMS"),
        (header((3, 4, -5)), "BAD_DIMS"),
        (header((32767, 32767, 32767)), "TRUNCATED"),
        (header((32767, 32767, 32767), extra="CompressedData = True\n"), "DIMS_EXCEED_FILE"),
        (header((3,), extra=""), "UNSUPPORTED_DIMS"),
        (header((1, 3, 4, 5, 6), extra=""), "UNSUPPORTED_DIMS"),
        (header((1, 3, 4, 5), extra="ElementNumberOfChannels = 2\n"), "UNSUPPORTED_DIMS"),
        (header(name="MET_OTHER"), "UNSUPPORTED_DTYPE"),
        (header(last="LIST"), "SEVERAL_DATA_FILES"),
        (header(last="a%02d.raw 1 5 1"), "SEVERAL_DATA_FILES"),
        (header(last="/etc/passwd"), "OUTSIDE_ROOT"),
        (header(last="../a.raw"), "OUTSIDE_ROOT"),
        (header(last="none.raw"), "NOT_FOUND"),
    ],
)
def test_refusals(tmp_path, text, code):
    path = write(tmp_path / "a.mha", text, bytes(120))
    with pytest.raises(Exception, match=code) as caught:
        opened(path)
    assert caught.value.code == code


def test_damage(tmp_path):
    data = zlib.compress(numbers(60).tobytes())
    extra = "CompressedData = True\n"
    for changed, sizes, code in [
        (data[:-5], (3, 4, 5), "TRUNCATED"),
        (data[:-1] + bytes([data[-1] ^ 1]), (3, 4, 5), "BAD_CRC"),
        (data, (3, 4, 4), "BOMB"),
        (data, (3, 4, 6), "TRUNCATED"),
    ]:
        source, _ = opened(write(tmp_path / "a.mha", header(sizes, extra=extra), changed))
        with pytest.raises(FormatError) as caught:
            everything(source)
        assert caught.value.code == code


def test_cut_short(tmp_path):
    whole = write(tmp_path / "a.mha", header(), bytes(120)).read_bytes()
    for count in range(0, len(whole), 5):
        (tmp_path / "a.mha").write_bytes(whole[:count])
        with pytest.raises(VoxarrayError) as caught:  # with "LOCA" it is a missing file
            opened(tmp_path / "a.mha")
        assert isinstance(caught.value, TruncatedError) or count < len(header()) - 1


def test_other_dimensions_in_the_matrix(tmp_path):
    matrix = np.eye(4)
    matrix[3, 0] = 1
    extra = f"TransformMatrix = {' '.join(map(str, matrix.ravel()))}\n"
    with pytest.raises(UnsupportedError, match="fourth dimension"):
        opened(write(tmp_path / "a.mha", header((3, 4, 5, 2), extra=extra), bytes(240)))


@pytest.mark.parametrize(
    ("unit", "mm"), [("um", 1e-3), ("mm", 1), ("cm", 10), ("?", 1), ("m", 1e3)]
)
def test_distances_are_millimetres(tmp_path, unit, mm):
    place = "ElementSpacing = 1 2 3\nOffset = 4 5 6\n"
    text = header(extra=f"DistanceUnits = {unit}\n{place}")
    source, remarks = opened(write(tmp_path / "a.mha", text, bytes(120)))
    np.testing.assert_allclose(source.grid.spacing, np.multiply((1, 2, 3), mm))
    np.testing.assert_allclose(source.affine[:3, 3], np.multiply((-4, -5, 6), mm))
    assert remarks == ([] if mm == 1 else ["NOT_MILLIMETRES"])
    text = header(extra="DistanceUnits = furlong\n")
    assert opened(write(tmp_path / "b.mha", text, bytes(120)))[1] == ["UNKNOWN_UNIT"]


def test_the_fourth_spacing_is_the_time_step(tmp_path):
    text = header((3, 4, 5, 2), extra="ElementSpacing = 1 2 3 1.5\n")
    source, _ = opened(write(tmp_path / "a.mha", text, bytes(240)))
    assert source.channels == Channels("time", 1.5)
