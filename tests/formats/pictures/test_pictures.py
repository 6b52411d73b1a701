"""PNG, JPEG, BMP and TIFF against SimpleITK, which is how TorchIO 1.2.1 reads them."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import tifffile
from PIL import Image

from header_samples import assert_as_itk, everything, numbers, opened
from voxarray.core.errors import (
    FormatError,
    MissingPackageError,
    TruncatedError,
    UnsupportedError,
    VoxarrayWarning,
)
from voxarray.formats._voxels.file_array import PlainFile
from voxarray.formats.registry import open_source
from voxarray.formats.tiff.pages import PagedTiff
from voxarray.geometry.lps import ras_from_itk
from voxarray.geometry.selection import Selection
from voxarray.source.base import Channels

READERS = {
    ".png": "PNGImageIO",
    ".jpg": "JPEGImageIO",
    ".jpeg": "JPEGImageIO",
    ".bmp": "BMPImageIO",
}
MODES = {
    ".png": ["1", "L", "RGB", "RGBA", "P", "I;16"],
    ".jpg": ["L", "RGB", "CMYK"],
    ".jpeg": ["L"],
    ".bmp": ["L", "RGB", "P", "RGBA"],
}
PICTURES = [(suffix, mode) for suffix, modes in MODES.items() for mode in modes]


def picture(mode, height=70, width=50):
    if mode == "I;16":
        return Image.fromarray(numbers((height, width), "u2"))
    if mode == "CMYK":
        return Image.fromarray(numbers((height, width, 4), "u1"), "CMYK")
    return Image.fromarray(numbers((height, width, 3), "u1")).convert(mode)


@pytest.mark.parametrize(("suffix", "mode"), PICTURES)
def test_pictures(tmp_path, suffix, mode):
    path = tmp_path / f"a{suffix}"
    picture(mode).save(path, dpi=(72, 144))
    assert_as_itk(path, READERS[suffix])
    source, _ = opened(path)
    assert source.shape[1:] == (50, 70, 1)
    if suffix in (".jpg", ".jpeg") and mode != "CMYK":
        np.testing.assert_allclose(source.grid.spacing, (25.4 / 72, 25.4 / 144, 1))


def test_rows_run_along_h(tmp_path):
    """What TorchIO 1.2.1 returns for this file: (C, W, H, 1), with the affine diag(-1, -1, 1)."""
    array = numbers((7, 5, 3), "u1")
    Image.fromarray(array).save(tmp_path / "a.png")
    source, _ = opened(tmp_path / "a.png")
    assert np.array_equal(everything(source), array.transpose(2, 1, 0)[..., None])
    assert np.array_equal(source.affine, np.diag([-1, -1, 1, 1]))


@pytest.mark.parametrize("suffix", [".png", ".bmp"])
def test_sizes_for_printing_are_remarked(tmp_path, suffix):
    picture("RGB").save(tmp_path / f"a{suffix}", dpi=(72, 144))
    with pytest.warns(VoxarrayWarning, match=r"SPACING_NOT_USED.* 0\.353 x 0\.176 mm"):
        open_source(tmp_path / f"a{suffix}")
    picture("RGB").save(
        tmp_path / f"b{suffix}", **({} if suffix == ".png" else {"dpi": (25.4,) * 2})
    )
    assert opened(tmp_path / f"b{suffix}")[1] == []


def test_what_a_jpeg_states_and_nobody_uses_is_remarked(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    picture("L").save(tmp_path / "a.jpg", exif=exif)
    assert opened(tmp_path / "a.jpg")[1] == ["ORIENTATION_NOT_USED"]
    picture("L").save(tmp_path / "b.jpg")
    assert opened(tmp_path / "b.jpg")[1] == []
    data = bytearray((tmp_path / "b.jpg").read_bytes())
    assert data[6:11] == b"JFIF\0"
    data[13:18] = b"\0\0\2\0\1"
    (tmp_path / "b.jpg").write_bytes(data)
    assert opened(tmp_path / "b.jpg")[1] == ["ASPECT_NOT_USED"]


@pytest.mark.parametrize(("suffix", "mode"), PICTURES)
@pytest.mark.parametrize("share", [0, 0.01, 0.1, 0.5, 0.9, 0.99])
def test_cut_short(tmp_path, suffix, mode, share):
    path = tmp_path / f"a{suffix}"
    picture(mode).save(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(FormatError) as caught:
        everything(opened(path)[0])
    assert caught.value.path == str(path)


def test_a_jpeg_within_a_jpeg(tmp_path):
    """The end of a thumbnail is not the end of the picture."""
    picture("L", 16, 16).save(tmp_path / "small.jpg")
    thumbnail = (tmp_path / "small.jpg").read_bytes()
    picture("L").save(tmp_path / "a.jpg")
    data = (tmp_path / "a.jpg").read_bytes()
    segment = b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail
    whole = data[:2] + segment + data[2:]
    (tmp_path / "a.jpg").write_bytes(whole)
    assert_as_itk(tmp_path / "a.jpg", "JPEGImageIO")
    (tmp_path / "a.jpg").write_bytes(whole[:-100])
    with pytest.raises(TruncatedError):
        opened(tmp_path / "a.jpg")


def test_pixels_of_other_kinds(tmp_path):
    Image.fromarray(numbers((7, 5, 2), "u1"), "LA").save(tmp_path / "a.png")
    with pytest.raises(UnsupportedError) as caught:
        opened(tmp_path / "a.png")
    assert caught.value.code == "UNSUPPORTED_DTYPE"


def test_another_format_by_that_name(tmp_path):
    picture("L").save(tmp_path / "a.png")
    for name in ("a.jpg", "a.bmp", "a.tif"):
        (tmp_path / name).write_bytes((tmp_path / "a.png").read_bytes())
        with pytest.raises(FormatError):
            opened(tmp_path / name)


# --- TIFF -------------------------------------------------------------------------------------

STACK = numbers((6, 35, 20), "u2")

TIFFS = [
    {},
    {"compression": "zlib"},
    {"compression": "zlib", "predictor": 2},
    {"bigtiff": True},
    {"byteorder": ">"},
    {"byteorder": ">", "compression": "zlib"},
    {"rowsperstrip": 5},
    {"resolution": (4, 8), "resolutionunit": 2},
    {"resolution": (4, 8), "resolutionunit": 3},
    {"resolution": (4, 8), "resolutionunit": 1},
    {"contiguous": False},
    {"metadata": None},
]


@pytest.mark.parametrize("options", TIFFS)
@pytest.mark.parametrize("planes", [1, 6])
def test_tiff(tmp_path, options, planes):
    array = STACK[:planes] if planes > 1 else STACK[0]
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="minisblack", **options)
    assert_as_itk(tmp_path / "a.tif", "TIFFImageIO")
    expected = ["NO_UNIT"] if options.get("resolutionunit") == 1 else []
    expected += ["NO_SLICE_SPACING"] if planes > 1 else []
    assert opened(tmp_path / "a.tif")[1] == expected


@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "u2", "i4", "u4", "f4", "f8", "u8", "c8"])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_tiff_types(tmp_path, dtype, compression):
    array = numbers((3, 7, 5), dtype)
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="minisblack", compression=compression)
    found = everything(opened(tmp_path / "a.tif")[0])
    assert found.dtype == array.dtype
    assert np.array_equal(found[0], array.T)


@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}])
@pytest.mark.parametrize("planes", [1, 4])
def test_tiff_colours(tmp_path, options, planes):
    array = numbers((planes, 35, 20, 3), "u1")
    tifffile.imwrite(tmp_path / "a.tif", array.squeeze(), photometric="rgb", **options)
    assert_as_itk(tmp_path / "a.tif", "TIFFImageIO")
    if planes == 1:
        planar = array[0].transpose(2, 0, 1)
        tifffile.imwrite(
            tmp_path / "a.tif", planar, photometric="rgb", planarconfig="separate", **options
        )
        source, _ = opened(tmp_path / "a.tif")
        assert np.array_equal(everything(source), array.transpose(3, 2, 1, 0))


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_tiled(tmp_path, compression):
    """ITK turns these into 8-bit RGBA."""
    options = {"tile": (16, 16), "compression": compression, "photometric": "minisblack"}
    tifffile.imwrite(tmp_path / "a.tif", STACK, **options)
    source, _ = opened(tmp_path / "a.tif")
    assert isinstance(source, PagedTiff)
    assert np.array_equal(everything(source)[0], STACK.T)


@pytest.mark.parametrize(
    ("axes", "order", "kind"),
    [("ZCYX", (1, 3, 2, 0), "channel"), ("TZYX", (0, 3, 2, 1), "time"), ("ZYX", None, "channel")],
)
@pytest.mark.parametrize("name", ["a.tif", "a.ome.tif"])
def test_named_axes(tmp_path, axes, order, kind, name):
    array = numbers((3, 2, 7, 5), "u2")[: 3 if order else 1]
    array = array if order else array[0]
    options = {"imagej": True} if name == "a.tif" else {"compression": "zlib"}
    tifffile.imwrite(tmp_path / name, array, metadata={"axes": axes}, **options)
    source, _ = opened(tmp_path / name)
    expected = array.transpose(order) if order else array.T[None]
    assert np.array_equal(everything(source), expected)
    assert source.channels == Channels(kind)


def test_a_plane_reads_a_page(tmp_path, monkeypatch):
    tifffile.imwrite(tmp_path / "a.tif", STACK, photometric="minisblack", compression="zlib")
    source, _ = opened(tmp_path / "a.tif")
    assert source.chunks == (1, 20, 35, 1)
    decoded = []
    decode = PagedTiff._decode
    monkeypatch.setattr(
        PagedTiff, "_decode", lambda self, page: decoded.append(1) or decode(self, page)
    )
    part = Selection.whole(source.shape)[3:9, ::-2, 4]
    assert np.array_equal(source.read(part), STACK.T[None][part.slices()])
    source.read(part)
    assert len(decoded) == 1


def test_stacks_without_compression_are_read_by_offset(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", STACK, photometric="minisblack")
    assert isinstance(opened(tmp_path / "a.tif")[0], PlainFile)


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_tiff_cut_short(tmp_path, compression):
    path = tmp_path / "a.tif"
    for options in ({}, {"contiguous": False, "metadata": None}):
        with tifffile.TiffWriter(path) as writer:
            for plane in STACK:
                writer.write(plane, photometric="minisblack", compression=compression, **options)
        data = path.read_bytes()
        for share in (0, 0.01, 0.1, 0.5, 0.9, 0.999):
            path.write_bytes(data[: int(len(data) * share)])
            with pytest.raises(FormatError):
                everything(opened(path)[0])


def test_tiff_refusals(tmp_path):
    for mode in ("1", "P", "CMYK"):
        picture(mode).save(tmp_path / "a.tif")
        with pytest.raises(UnsupportedError, match="expected grey or RGB") as caught:
            opened(tmp_path / "a.tif")
        assert caught.value.code == "UNSUPPORTED_DTYPE"
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(STACK, photometric="minisblack")
        writer.write(STACK[:, :9].astype("f4"), photometric="minisblack")
    with pytest.raises(UnsupportedError, match="2 images of different kinds") as caught:
        opened(tmp_path / "a.tif")
    assert caught.value.code == "SEVERAL_SERIES"


def test_a_tiff_whose_planes_were_written_one_by_one(tmp_path):
    old, new = tmp_path / "old.tif", tmp_path / "new.tif"
    with tifffile.TiffWriter(old) as writer:
        for plane in STACK:
            writer.write(plane, photometric="minisblack")
    with pytest.raises(UnsupportedError, match="of one shape and type") as caught:
        opened(old)
    assert caught.value.code == "SEVERAL_SERIES"
    # What the message says to do:
    tifffile.imwrite(new, tifffile.imread(old, key=slice(None)), photometric="minisblack")
    np.testing.assert_array_equal(everything(opened(new)[0])[0], STACK.T)


def test_a_circle_of_pages(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", STACK[0], photometric="minisblack", metadata=None)
    data = bytearray((tmp_path / "a.tif").read_bytes())
    first = int.from_bytes(data[4:8], "little")
    count = int.from_bytes(data[first : first + 2], "little")
    end = first + 2 + 12 * count
    data[end : end + 4] = data[4:8]
    (tmp_path / "a.tif").write_bytes(data)
    with pytest.raises(FormatError, match="circle"):
        opened(tmp_path / "a.tif")


def test_without_tifffile(tmp_path, monkeypatch):
    tifffile.imwrite(tmp_path / "a.tif", STACK, photometric="minisblack")
    monkeypatch.setitem(sys.modules, "tifffile", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'voxarray\[tiff\]'") as caught:
        open_source(tmp_path / "a.tif")
    assert caught.value.code == "NOT_INSTALLED"
    assert caught.value.path == str(tmp_path / "a.tif")


def test_pixels_have_a_size(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", STACK[0], resolution=(20, 40), resolutionunit=3)
    affine = opened(tmp_path / "a.tif")[0].affine
    assert np.array_equal(affine, ras_from_itk([0.5, 0.25, 1], [0, 0, 0], np.eye(3).ravel()))
