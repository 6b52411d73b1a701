"""Pages that are too large to be decoded whole: read by strips and tiles, as tifffile reads all."""

from __future__ import annotations

import contextlib
import gc
import os
import struct
import weakref

import dask.config
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

import voxarray as vx
from header_samples import everything, opened
from voxarray.core.errors import FormatError, TruncatedError
from voxarray.formats.tiff.pages import PagedTiff, opened_tiff
from voxarray.geometry.selection import Selection
from voxarray.source.block_cache import BLOCKS

TINY = {"voxarray.memory-budget": "2 KiB"}
"""Pages of more than 256 bytes are large where the file is opened with this."""

CODECS = [None, "zlib", "lzma"]
with contextlib.suppress(ImportError):
    import imagecodecs  # noqa: F401

    CODECS += ["lzw", "zstd", "packbits"]

OFFSETS, COUNTS = (324, 273), (325, 279)


def opened_as_large(path):
    with dask.config.set(TINY):
        return opened(path)[0]


@st.composite
def layouts(draw):
    """An array, and options of `tifffile.imwrite` that store it in one of the ways there are."""
    height, width, pages = (draw(st.integers(1, most)) for most in (70, 70, 3))
    samples = draw(st.sampled_from([1, 1, 3, 4]))
    planar = draw(st.sampled_from(["contig", "separate"])) if samples > 1 else None
    inner = (height, width)
    if planar == "separate":
        inner = (samples, height, width)
    elif planar:
        inner = (height, width, samples)
    codec = draw(st.sampled_from(CODECS))
    dtype = draw(st.sampled_from(["u1", "i2", "u2", "i4", "f4", "f8"]))
    options = {
        "compression": codec,
        "photometric": "minisblack" if samples == 1 else "rgb",
        "planarconfig": planar,
        "byteorder": draw(st.sampled_from("<>")),
        "bigtiff": draw(st.booleans()),
        "metadata": None,
    }
    if codec in ("zlib", "lzw", "zstd") and dtype[0] != "f":
        options["predictor"] = draw(st.booleans())
    if draw(st.booleans()):
        options["tile"] = tuple(draw(st.sampled_from([16, 32, 48])) for _ in range(2))
    else:
        options["rowsperstrip"] = draw(st.integers(1, height))
    shape = (pages, *inner) if pages > 1 else inner
    seed = draw(st.integers(0, 99))
    array = np.random.default_rng(seed).integers(0, 90, shape).astype(dtype)
    return array, {name: value for name, value in options.items() if value is not None}


def boxes(draw, shape):
    ranges = []
    for size in shape:
        start = draw(st.integers(0, size - 1))
        stop = draw(st.integers(start + 1, size))
        step = draw(st.sampled_from([1, 1, 2, 3, 20]))
        taken = range(start, stop, step)
        ranges.append(taken[::-1] if draw(st.booleans()) else taken)
    return Selection(tuple(ranges))


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_any_layout_reads_as_tifffile_reads_all_of_it(tmp_path_factory, data):
    array, options = data.draw(layouts())
    path = tmp_path_factory.mktemp("tiff") / "a.tif"
    tifffile.imwrite(path, array, **options)
    whole = everything(opened(path)[0])  # pages decoded whole, which other tests hold to tifffile
    BLOCKS.clear()
    source = opened_as_large(path)
    for _ in range(4):
        box = boxes(data.draw, source.shape)
        np.testing.assert_array_equal(source.read(box), whole[box.slices()])
    np.testing.assert_array_equal(everything(source), whole)
    assert sorted(everything(source).ravel()) == sorted(tifffile.imread(path).ravel())


def large(path, array=None, **options):
    array = np.arange(70 * 90, dtype="i4").reshape(70, 90) if array is None else array
    options = {"tile": (32, 32), "compression": "zlib", "photometric": "minisblack"} | options
    tifffile.imwrite(path, array, metadata=None, **options)
    BLOCKS.clear()
    source = opened_as_large(path)
    assert source.page_block != source._page_shape
    return source


def test_a_read_decodes_the_tiles_that_it_touches_and_no_other(tmp_path, monkeypatch):
    source = large(tmp_path / "a.tif")
    decoded, decode = [], PagedTiff._decode_segment

    def counted(self, page, number, held):
        decoded.append(number)
        return decode(self, page, number, held)

    monkeypatch.setattr(PagedTiff, "_decode_segment", counted)
    source.read(Selection.box((0, 1), (40, 50), (40, 60), (0, 1)))
    assert decoded == [4]
    decoded.clear()
    source.read(Selection((range(1), range(0, 90, 70), range(1), range(1))))
    assert decoded == [0, 2]  # a stride steps over the second


def test_chunks_hold_whole_tiles(tmp_path):
    large(tmp_path / "a.tif")
    image = vx.ScalarImage(tmp_path / "a.tif")
    with dask.config.set(TINY):
        assert image.chunks == (1, 32, 32, 1)
    assert image.array.data.chunks[1] == (32, 32, 26)
    assert np.array_equal(image.array.compute().values[0, ..., 0].T.ravel(), np.arange(6300))


def test_tables_survive_pickling_and_tokens_do_not_change(tmp_path):
    import pickle

    source = large(tmp_path / "a.tif")
    again = pickle.loads(pickle.dumps(source))
    assert again.token() == source.token() == opened(tmp_path / "a.tif")[0].token()
    assert np.array_equal(everything(again), everything(source))


@pytest.mark.parametrize("pages", [1, 3])
def test_a_closed_file_is_let_go_before_garbage_is_collected(tmp_path, pages):
    large(tmp_path / "a.tif", np.zeros((pages, 70, 90), "i4"))
    gc.collect()
    gc.disable()
    try:
        with opened_tiff(os.fspath(tmp_path / "a.tif")) as file:
            page = file.series[0].pages[pages - 1]
            page.asarray()
            held = [weakref.ref(one) for one in (file.pages, page, page.keyframe)]
            del file, page
        assert [one() for one in held] == [None] * 3
    finally:
        gc.enable()


def with_table(path, tags, number, value):
    """Change one entry of the table of offsets or sizes of the first page."""
    with tifffile.TiffFile(path) as file:
        tag = next(file.pages[0].tags[code] for code in tags if code in file.pages[0].tags)
        size = struct.calcsize(tag.dataformat[-1])
        place, kind = tag.valueoffset + number * size, file.byteorder + tag.dataformat[-1]
    data = bytearray(path.read_bytes())
    data[place : place + size] = struct.pack(kind, value)
    path.write_bytes(data)


@pytest.mark.parametrize("options", [{}, {"tile": None, "rowsperstrip": 16}, {"bigtiff": True}])
@pytest.mark.parametrize(
    ("tags", "value"), [(COUNTS, 0), (OFFSETS, 0), (OFFSETS, 60_000), (COUNTS, 60_000)]
)
def test_missing_parts_are_errors_where_they_are_needed(tmp_path, options, tags, value):
    path = tmp_path / "a.tif"
    large(path, **options)
    with_table(path, tags, 2, value)
    source = opened_as_large(path)
    source.read(Selection.box((0, 1), (0, 20), (0, 16), (0, 1)))
    with pytest.raises(TruncatedError, match="beyond the end of the file, or has no position"):
        everything(source)


def test_a_tile_that_is_no_stream_is_an_error(tmp_path):
    path = tmp_path / "a.tif"
    large(path)
    with tifffile.TiffFile(path) as file:
        start = file.pages[0].dataoffsets[4]
    data = bytearray(path.read_bytes())
    data[start : start + 20] = b"\xff" * 20
    path.write_bytes(data)
    with pytest.raises(FormatError) as raised:
        everything(opened_as_large(path))
    assert raised.value.code == "BAD_HEADER"


def test_a_tile_of_more_bytes_than_its_pixels_take_is_a_bomb(tmp_path):
    path = tmp_path / "a.tif"
    rng = np.random.default_rng(0)
    large(path, rng.integers(0, 1 << 30, (900, 90), "i4"))
    with_table(path, COUNTS, 2, 20_000)
    with pytest.raises(FormatError) as raised:
        everything(opened_as_large(path))
    assert raised.value.code == "BOMB"


def test_a_tile_of_too_few_pixels_is_an_error(tmp_path):
    path = tmp_path / "a.tif"
    large(path, compression=None)
    with_table(path, COUNTS, 4, 64)
    with pytest.raises(FormatError):
        everything(opened_as_large(path))


def test_a_segment_beyond_the_budget_is_refused_unread(tmp_path):
    large(tmp_path / "a.tif", np.zeros((64, 64), "f8"))
    with dask.config.set(TINY), pytest.raises(vx.MemoryBudgetError, match="a strip or tile"):
        everything(opened(tmp_path / "a.tif")[0])
