"""NRRD against SimpleITK, in every type, encoding, byte order and space; and what is refused."""

from __future__ import annotations

import bz2
import gzip
import itertools

import numpy as np
import pytest
import SimpleITK as sitk

from header_samples import assert_as_itk, everything, numbers, opened
from voxarray.core.errors import FormatError, TruncatedError, UnsupportedError
from voxarray.formats._voxels.compressed_file import CompressedFile
from voxarray.formats._voxels.decoded_file import DecodedFile
from voxarray.formats._voxels.file_array import PlainFile
from voxarray.source.base import Channels

TYPES = {
    "u1": "uchar", "i1": "signed char", "i2": "short", "u2": "ushort", "i4": "int", "u4": "uint",
    "i8": "int64", "u8": "uint64", "f4": "float", "f8": "double",
}  # fmt: skip
ENCODINGS = {
    "raw": bytes,
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "hex": lambda data: data.hex("\n", -32).encode(),
}
SPACE = "space: LPS\nspace directions: (2,0,0) (0,3,0.5) (0,0,4)\nspace origin: (10,20,30)\n"


def write(path, fields, data=b"", magic="NRRD0005"):
    path.write_bytes(f"{magic}\n{fields}\n".encode() + data)
    return path


def header(sizes, dtype="i2", encoding="raw", endian="little", extra=SPACE):
    return (
        f"type: {TYPES[dtype]}\ndimension: {len(sizes)}\nsizes: {' '.join(map(str, sizes))}\n"
        f"encoding: {encoding}\nendian: {endian}\n{extra}"
    )


@pytest.mark.parametrize(
    ("dtype", "encoding", "endian"), list(itertools.product(TYPES, ENCODINGS, ["little", "big"]))
)
def test_types_encodings_and_byte_orders(tmp_path, dtype, encoding, endian):
    array = numbers((5, 4, 3), dtype)
    stored = array.astype(array.dtype.newbyteorder("<" if endian == "little" else ">"))
    path = write(
        tmp_path / "a.nrrd",
        header((3, 4, 5), dtype, encoding, endian),
        ENCODINGS[encoding](stored.tobytes()),
    )
    source, _ = opened(path)
    kinds = {"raw": PlainFile, "text": DecodedFile, "hex": DecodedFile}
    assert isinstance(source, kinds.get(encoding, CompressedFile))
    assert np.array_equal(everything(source)[0], array.T)
    if encoding != "bzip2":  # which ITK was built without
        assert_as_itk(path, "NrrdImageIO")


@pytest.mark.parametrize("dtype", ["u1", "i2", "i8", "f4", "f8"])
def test_text(tmp_path, dtype):
    array = numbers((5, 4, 3), dtype)
    text = "\n ".join(" ".join(map(repr, row.tolist())) for row in array.reshape(-1, 3))
    path = write(tmp_path / "a.nrrd", header((3, 4, 5), dtype, "ascii"), text.encode())
    assert np.array_equal(everything(opened(path)[0])[0], array.T)
    if dtype not in ("u1", "i8"):  # ITK reads uchar as characters, and 64 bits through a double
        assert_as_itk(path, "NrrdImageIO")


SPACES = [
    *("right-anterior-superior", "RAS", "left-posterior-superior", "LPS"),
    *("left-anterior-superior", "LAS", "scanner-xyz", "3D-right-handed", "3D-left-handed"),
]


@pytest.mark.parametrize("space", SPACES)
def test_spaces(tmp_path, space):
    fields = header((3, 4, 5), extra=SPACE.replace("LPS", space))
    path = write(tmp_path / "a.nrrd", fields, numbers(60).tobytes())
    assert_as_itk(path, "NrrdImageIO")
    anatomical = space.lower()[0] in "rl"
    assert opened(path)[1] == ([] if anatomical else ["UNKNOWN_SPACE"])


def test_space_with_time_is_what_the_format_says(tmp_path):
    """ITK takes right-anterior-superior-time for LPS, and is alone with that."""
    fields = header(
        (3, 4, 5, 2),
        extra="space: RAST\nspace directions: (2,0,0,0) (0,3,0,0) (0,0,4,0) (0,0,0,1.5)\n"
        "space origin: (1,2,3,9)\n",
    )
    source, _ = opened(write(tmp_path / "a.nrrd", fields, numbers(120).tobytes()))
    assert np.array_equal(source.affine, [[2, 0, 0, 1], [0, 3, 0, 2], [0, 0, 4, 3], [0, 0, 0, 1]])
    assert source.channels == Channels("time", 1.5)
    assert np.array_equal(
        everything(source), numbers(120).reshape(2, 5, 4, 3).transpose(0, 3, 2, 1)
    )


NONE_FIRST = "space: RAS\nspace directions: none (1,0,0) (0,2,0) (0,0,3)\nspace origin: (1,2,3)\n"
LAYOUTS = [
    ((2, 3, 4, 5), "i2", "kinds: vector domain domain domain\n" + NONE_FIRST),
    ((2, 3, 4, 5), "i2", "kinds: list domain domain domain\n" + NONE_FIRST),
    ((1, 3, 4, 5), "i2", "kinds: stub domain domain domain\n" + NONE_FIRST),
    ((2, 3, 4, 5), "f4", "kinds: complex domain domain domain\n" + NONE_FIRST),
    ((2, 3, 4, 5), "f8", "kinds: complex domain domain domain\n" + NONE_FIRST),
    ((3, 4, 5, 2), "i2", "kinds: domain domain domain list\nspace: RAS\n"
     "space directions: (1,0,0) (0,2,0) (0,0,3) none\nspace origin: (1,2,3)\n"),
    ((3, 4, 2, 5), "i2", "kinds: domain domain list domain\nspace: RAS\n"
     "space directions: (1,0,0) (0,2,0) none (0,0,3)\nspace origin: (1,2,3)\n"),
    ((3, 4, 5, 2), "i2", "spacings: 1 2 3 4\n"),
    ((3, 4, 5), "i2", ""),
    ((3, 4, 5), "i2", "spacings: 1 2 3\n"),
    ((3, 4), "i2", "spacings: 2 3\n"),
    ((3, 4), "i2", "spacings: 2 3\naxis mins: 5 6\ncenterings: cell cell\n"),
    ((3, 4), "i2", "spacings: 2 3\naxis mins: 5 6\ncenterings: node node\n"),
    ((3, 4), "i2", "space dimension: 2\nspace directions: (2,1) (0,3)\nspace origin: (5,6)\n"),
    ((3, 4, 5), "i2", "space dimension: 3\nspace directions: (2,0,0) (0,3,0) (0,0,4)\n"
     "space origin: (5,6,7)\n"),
    ((3, 4, 5), "u1", "kinds: RGB-color domain domain\nspacings: nan 2 3\n"),
    ((3, 4, 5), "i2", "space: LPS\nspace directions: (2,0,0) (1,3,0) (0,0,4)\n"),
]  # fmt: skip


@pytest.mark.parametrize(("sizes", "dtype", "extra"), LAYOUTS)
def test_layouts(tmp_path, sizes, dtype, extra):
    array = numbers(int(np.prod(sizes)), dtype)
    path = write(tmp_path / "a.nrrd", header(sizes, dtype, extra=extra), array.tobytes())
    assert_as_itk(path, "NrrdImageIO")


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("vector", [False, True])
@pytest.mark.parametrize("suffix", [".nrrd", ".nhdr"])
def test_what_itk_writes(tmp_path, compressed, vector, suffix):
    image = sitk.GetImageFromArray(numbers((5, 4, 3, 2) if vector else (5, 4, 3)), isVector=vector)
    image.SetSpacing((2, 3, 4))
    image.SetOrigin((0.1, 1 / 3, 7))
    image.SetDirection((0, 0.6, 0.8, -1, 0, 0, 0, -0.8, 0.6))
    sitk.WriteImage(image, tmp_path / f"a{suffix}", compressed)
    assert_as_itk(tmp_path / f"a{suffix}", "NrrdImageIO")


def test_parts_of_interleaved_channels(tmp_path):
    array = numbers((5, 4, 3, 2))
    extra = "kinds: vector domain domain domain\n" + NONE_FIRST
    path = write(tmp_path / "a.nrrd", header((2, 3, 4, 5), extra=extra), array.tobytes())
    source, _ = opened(path)
    from voxarray.geometry.selection import Selection

    for key in [(1, ..., 2), (slice(None, None, -1), slice(2), 3, ...), (0, 1, 2, 3)]:
        key = key if len(key) == 4 else (key[0], slice(None), slice(None), key[-1])
        part = Selection.whole(source.shape)[key]
        assert np.array_equal(source.read(part), array.transpose(3, 2, 1, 0)[part.slices()])


@pytest.mark.parametrize(
    ("skips", "before"),
    [("line skip: 2\n", b"a\nb\n"), ("byte skip: 3\n", b"abc"), ("byte skip: -1\n", b"abcdef"),
     ("line skip: 1\nbyte skip: 3\n", b"line\nabc")],
)  # fmt: skip
def test_skips(tmp_path, skips, before):
    array = numbers((5, 4, 3))
    (tmp_path / "data file.raw").write_bytes(before + array.tobytes())
    fields = header((3, 4, 5)) + skips + "data file: data file.raw"
    path = write(tmp_path / "a.nhdr", fields)
    assert np.array_equal(everything(opened(path)[0])[0], array.T)


def test_bytes_skipped_in_what_was_compressed(tmp_path):
    array = numbers((5, 4, 3))
    for encoding in ("gzip", "bzip2"):
        data = ENCODINGS[encoding](b"abc" + array.tobytes())
        path = write(
            tmp_path / "a.nrrd", header((3, 4, 5), encoding=encoding) + "byteskip: 3\n", data
        )
        assert np.array_equal(everything(opened(path)[0])[0], array.T)


def test_comments_keys_and_crlf(tmp_path):
    text = "NRRD0004\n# a comment\nkey:=value: with colon\n" + header((3, 4, 5)) + "\n"
    array = numbers((5, 4, 3))
    for ends in ("\n", "\r\n"):
        (tmp_path / "a.nrrd").write_bytes(text.replace("\n", ends).encode() + array.tobytes())
        assert np.array_equal(everything(opened(tmp_path / "a.nrrd")[0])[0], array.T)


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ("type: block\n", "UNSUPPORTED_DTYPE"),
        ("sizes: 3 4 0\n", "BAD_DIMS"),
        ("sizes: 3 -4 5\n", "BAD_DIMS"),
        ("sizes: 3 4\n", "BAD_DIMS"),
        ("sizes: 3 4 five\n", "BAD_HEADER"),
        ("sizes: 32767 32767 32767\n", "TRUNCATED"),
        ("sizes: 3 4 99999999999999999999\n", "BAD_DIMS"),
        ("encoding: zstd\n", "UNSUPPORTED_ENCODING"),
        ("endian: middle\n", "BAD_HEADER"),
        ("space: somewhere\n", "BAD_HEADER"),
        ("space directions: (2,0,0) (0,3,0) (0,nan,4)\n", "BAD_AFFINE"),
        ("space directions: (2,0,0) (0,3,0) (0,3,0)\n", "BAD_AFFINE"),
        ("space directions: (2,0,0) (0,3,0) (0,0,0)\n", "BAD_AFFINE"),
        ("space directions: (2,0) (0,3) (0,0)\n", "BAD_HEADER"),
        ("space origin: (inf,0,0)\n", "BAD_AFFINE"),
        ("byte skip: 1000\n", "BAD_OFFSET"),
        ("byte skip: 1\n", "TRUNCATED"),
        ("line skip: 99\n", "BAD_OFFSET"),
        ("spacings: 1 1 1\n", "BAD_HEADER"),
        ("colour: red\n", "BAD_HEADER"),
        ("data file: LIST\n", "SEVERAL_DATA_FILES"),
        ("data file: LIST\na.raw\nb: c.raw\n", "SEVERAL_DATA_FILES"),
        ("data file: LIST 2\na.raw\n", "SEVERAL_DATA_FILES"),
        ("data file: a%03d.raw 1 5 1\n", "SEVERAL_DATA_FILES"),
        ("data file: /etc/passwd\n", "OUTSIDE_ROOT"),
        ("data file: ../b.raw\n", "OUTSIDE_ROOT"),
        ("data file: none.raw\n", "NOT_FOUND"),
    ],
)
def test_refusals(tmp_path, changed, code):
    (tmp_path / "b.raw").write_bytes(bytes(1000))
    folder = tmp_path / "folder"
    folder.mkdir()
    field = changed.split(":")[0]
    kept = [line for line in header((3, 4, 5)).splitlines() if line.split(":")[0] != field]
    path = write(folder / "a.nrrd", "\n".join(kept) + "\n" + changed, bytes(120))
    with pytest.raises(Exception, match=code) as caught:
        opened(path)
    assert caught.value.code == code
    assert caught.value.path is not None


@pytest.mark.parametrize("spacings", ["", "spacings: 1 2 3\n"])
@pytest.mark.parametrize(
    "place",
    [
        "space: RAS\n",
        "space: left-anterior-superior\n",
        "space: LPS\nspace origin: (1,2,3)\n",
        "space dimension: 3\nspace origin: (1,2,3)\n",
    ],
)
def test_a_space_without_directions(tmp_path, spacings, place):
    """The axes were taken for those of LPS, and the origin was left out, without a word."""
    array = numbers((5, 4, 3))
    path = write(tmp_path / "a.nrrd", header((3, 4, 5), extra=spacings + place), array.tobytes())
    with pytest.raises(FormatError, match="no space directions") as caught:
        opened(path)
    assert (caught.value.code, caught.value.path) == ("BAD_HEADER", str(path))
    plain = header((3, 4, 5), extra=spacings + "space: LPS\n")
    path = write(tmp_path / "b.nrrd", plain, array.tobytes())
    np.testing.assert_array_equal(np.sign(np.diag(opened(path)[0].affine)), (-1, -1, 1, 1))


def test_spacings_that_are_none(tmp_path):
    for spacings in ("0 1 1", "-1 1 1", "nan 1 1", "inf 1 1"):
        path = write(
            tmp_path / "a.nrrd", header((3, 4, 5), extra=f"spacings: {spacings}\n"), bytes(120)
        )
        with pytest.raises(FormatError, match="spacing") as caught:
            opened(path)
        assert caught.value.code == "BAD_SPACING"


def test_a_link_out_of_the_folder(tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(120))
    (tmp_path / "in").mkdir()
    (tmp_path / "in/b.raw").symlink_to(secret)
    path = write(tmp_path / "in/a.nhdr", header((3, 4, 5)) + "data file: b.raw\n")
    with pytest.raises(FormatError, match="outside of its own folder") as caught:
        opened(path)
    assert caught.value.code == "OUTSIDE_ROOT"


def test_compressed_refusals(tmp_path):
    array = numbers((5, 4, 3))
    good = gzip.compress(array.tobytes())
    flipped = good[:-6] + bytes([good[-6] ^ 1]) + good[-5:]
    cases = [
        (good[:-20], (3, 4, 5), "TRUNCATED"),
        (flipped, (3, 4, 5), "BAD_CRC"),
        (good, (3, 4, 4), "BOMB"),
        (good, (3, 4, 6), "TRUNCATED"),
    ]
    for data, sizes, code in cases:
        source, _ = opened(write(tmp_path / "a.nrrd", header(sizes, encoding="gzip"), data))
        with pytest.raises(FormatError) as caught:
            everything(source)
        assert caught.value.code == code
    path = write(tmp_path / "a.nrrd", header((9999, 9999, 9999), encoding="gzip"), good)
    with pytest.raises(FormatError, match=r"\d compressed bytes cannot hold that many") as caught:
        opened(path)
    assert caught.value.code == "DIMS_EXCEED_FILE"


@pytest.mark.parametrize("encoding", ["gzip", "bzip2"])
def test_bombs_stop_early(tmp_path, encoding):
    """A stream that would go on for 64 MiB and more behind 120 promised bytes."""
    import tracemalloc

    data = ENCODINGS[encoding](bytes(128 << 20) if encoding == "bzip2" else bytes(64 << 20))
    source, _ = opened(write(tmp_path / "a.nrrd", header((3, 4, 5), encoding=encoding), data))
    del data
    tracemalloc.start()
    with pytest.raises(FormatError) as caught:
        everything(source)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert caught.value.code == "BOMB"
    assert peak < 8 << 20


def test_cut_short(tmp_path):
    whole = write(tmp_path / "a.nrrd", header((3, 4, 5)), bytes(120)).read_bytes()
    for count in range(0, len(whole), 7):
        (tmp_path / "a.nrrd").write_bytes(whole[:count])
        with pytest.raises(FormatError):
            everything(opened(tmp_path / "a.nrrd")[0])


def test_too_many_axes(tmp_path):
    for sizes, extra in [((5,), ""), ((2, 3, 4, 5, 6), ""), ((2, 3, 4, 5, 2), "")]:
        path = write(tmp_path / "a.nrrd", header(sizes, extra=extra), bytes(2000))
        with pytest.raises(UnsupportedError) as caught:
            opened(path)
        assert caught.value.code == "UNSUPPORTED_DIMS"


def test_text_refusals(tmp_path):
    cases = {b"1 2 3": TruncatedError, b"1 " * 61: FormatError, b"x " * 60: FormatError,
             b"300 " * 60: FormatError}  # fmt: skip
    for data, error in cases.items():
        fields = header((3, 4, 5), "u1", "ascii")
        with pytest.raises(error):
            everything(opened(write(tmp_path / "a.nrrd", fields, data.ljust(119)))[0])


@pytest.mark.parametrize(("unit", "mm"), [("um", 1e-3), ("mm", 1), ("cm", 10), ("\u00b5m", 1e-3)])
@pytest.mark.parametrize("by_space", [True, False])
def test_lengths_are_millimetres(tmp_path, unit, mm, by_space):
    named = f'"{unit}" "{unit}" "{unit}"'
    if by_space:
        extra = (
            "space: left-posterior-superior\nspace directions: (1,0,0) (0,2,0) (0,0,3)\n"
            f"space origin: (4,5,6)\nspace units: {named}\n"
        )
    else:
        extra = f"spacings: 1 2 3\nunits: {named}\n"
    path = write(tmp_path / "a.nrrd", header((3, 4, 5), extra=extra), bytes(120))
    source, remarks = opened(path)
    np.testing.assert_allclose(source.grid.spacing, np.multiply((1, 2, 3), mm), rtol=1e-9)
    if by_space:
        np.testing.assert_allclose(source.affine[:3, 3], np.multiply((-4, -5, 6), mm))
    assert ("NOT_MILLIMETRES" in remarks) == (mm != 1)


def test_a_unit_that_is_none_is_remarked(tmp_path):
    extra = 'spacings: 1 2 3\nunits: "mm" "parsec" "mm"\n'
    path = write(tmp_path / "a.nrrd", header((3, 4, 5), extra=extra), bytes(120))
    assert "UNKNOWN_UNIT" in opened(path)[1]


@pytest.mark.parametrize(("unit", "step"), [("s", 1.5), ("ms", 1.5e-3), ("???", 1.5)])
def test_a_time_axis_has_a_unit(tmp_path, unit, step):
    extra = (
        f'kinds: domain domain domain time\nspacings: 1 1 1 1.5\nunits: "mm" "mm" "mm" "{unit}"\n'
    )
    path = write(tmp_path / "a.nrrd", header((3, 4, 5, 2), extra=extra), bytes(240))
    assert opened(path)[0].channels == Channels("time", step)
