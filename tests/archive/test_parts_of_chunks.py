"""Chunks of which only some blocks are decoded: the voxels are those of the whole."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from archive_samples import archive, voxels

import voxarray as vx
from voxarray.archive.blosc_frame import BloscFrame
from voxarray.archive.codecs import Codec
from voxarray.archive.profiles import PROFILES
from voxarray.archive.source import open_archive
from voxarray.core.errors import FormatError
from voxarray.geometry.selection import Selection

SIZE = 1 << 17
OFFERED = dict.fromkeys(
    codec
    for profile in PROFILES.values()
    for codec in (*profile.wide, *profile.narrow, *profile.long)
)
CODECS = [
    *(pytest.param(c, id=f"{c.cname}-{c.level}-{c.shuffle}-{c.block}") for c in OFFERED),
    pytest.param(Codec("zstd", 1, "bitshuffle", 4096), id="small blocks"),
]


def smooth(dtype: str) -> np.ndarray:
    return (np.arange(SIZE) // 7 % 1000).astype(dtype)


@pytest.mark.parametrize("dtype", ["u1", "i2", "f4", "c16"])
def test_blocks_have_the_size_that_the_profile_says(dtype):
    chunk = smooth(dtype)
    for codec in (one.values[0] for one in CODECS):
        if codec.block:
            frame = BloscFrame.parse(codec.encode(chunk)[0])
            assert frame.block == min(codec.block, chunk.nbytes), codec


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("make", [smooth, lambda dtype: voxels((SIZE,), dtype)])
@pytest.mark.parametrize("dtype", ["u1", "i2", "f4"])
def test_decoding_part_of_a_chunk_gives_the_bytes_of_the_whole_chunk(codec, make, dtype):
    chunk = make(dtype)
    encoded = b"".join(codec.encode(chunk))
    for begin, end in [(0, 1), (70_000, 70_002), (1000, -9), (-1, -0), (0, 0)]:
        needed = slice(begin % chunk.nbytes, end % chunk.nbytes or chunk.nbytes)
        out = np.zeros_like(chunk)
        own = np.frombuffer(bytearray(encoded), np.uint8)
        codec.decode(own, out, needed.start, needed.stop)
        assert out.view("u1")[needed].tobytes() == chunk.view("u1")[needed].tobytes(), needed


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize(
    ("itemsize", "extra"),
    [
        # Each size with little more than three blocks, or with most of a fourth; all in the soak.
        pytest.param(size, extra, marks=() if extra == usual else pytest.mark.slow)
        for size, usual in zip((1, 2, 4, 8, 16), (1, 40_000, 1, 40_000, 1), strict=True)
        for extra in (1, 7, 300, 40_000)
    ],
)
def test_the_shorter_last_block_of_a_chunk_is_decoded_alone(codec, itemsize, extra):
    # Three blocks of 64 KiB and a part of one: a frame with the last alone is none to c-blosc.
    items = (3 << 16) // itemsize + extra
    random = np.random.default_rng(extra)
    chunk = random.integers(0, 3, items * itemsize, np.uint8).view(f"V{itemsize}")
    encoded = np.frombuffer(b"".join(codec.encode(chunk)), np.uint8)
    size = chunk.nbytes
    for begin, end in [(size - itemsize, size), (3 << 16, size), ((3 << 16) - itemsize, size)]:
        out = np.zeros_like(chunk)
        codec.decode(encoded.copy(), out, begin, end)
        assert out.view("u1")[begin:end].tobytes() == chunk.view("u1")[begin:end].tobytes()


@pytest.mark.parametrize(
    ("shape", "codec", "name"),
    [
        # Each shape by each codec, in folders and zips in turns; all in the soak.
        pytest.param(shape, codec, name, marks=() if (k + n + m) % 2 else pytest.mark.slow)
        for k, shape in enumerate([(1, 48, 48, 48), (2, 64, 64, 36), (12, 20, 22, 18)])
        for n, codec in enumerate(sorted(PROFILES))
        for m, name in enumerate(["a.ome.zarr", "a.ozx"])
    ],
)
def test_each_plane_of_an_archive_is_read_alone(tmp_path, name, codec, shape):
    stored = np.random.default_rng(1).integers(0, 200, shape).astype("i2")
    opened = vx.ScalarImage(archive(tmp_path / name, stored, codec=codec, levels=2))
    for level in (opened, opened.level(1)):
        expected = level.numpy()
        for axis in (1, 2, 3):
            for place in range(expected.shape[axis]):
                window = [slice(None)] * 4
                window[axis] = slice(place, place + 1)
                np.testing.assert_array_equal(level[tuple(window)].numpy(), expected[tuple(window)])


def test_blocks_that_are_not_needed_are_left_alone():
    chunk = smooth("i2")
    codec = PROFILES["fast"].wide[0]
    encoded = np.frombuffer(bytearray(b"".join(codec.encode(chunk))), np.uint8)
    out = np.full_like(chunk, -1)
    codec.decode(encoded, out, 1 << 16, (1 << 16) + 2)
    block = (1 << 16) // 2
    assert (out[:block] == -1).all()
    np.testing.assert_array_equal(out[block : 2 * block], chunk[block : 2 * block])
    assert (out[2 * block : 3 * block] == -1).all()


def test_a_table_of_blocks_that_is_cut_off():
    header = struct.pack("<4B3I", 2, 1, 0x31, 2, 1 << 20, 1 << 10, 20)
    frame = BloscFrame.parse(bytearray(header + bytes(4)))
    with pytest.raises(FormatError, match="table of its blocks"):
        frame.decode_part(np.empty(1 << 20, np.uint8), 1 << 19, (1 << 19) + 1)


@pytest.mark.parametrize("seed", range(20))
def test_boxes_of_an_archive(tmp_path, seed):
    random = np.random.default_rng(seed)
    shape = (2, 70, 66, 129)
    stored = voxels(shape, "i2")
    stored[0] = np.arange(129) // 3  # of which there is something to compress
    source = open_archive(archive(tmp_path / "a.ome.zarr", stored, levels=1))
    starts = [int(random.integers(0, n)) for n in shape]
    stops = [int(random.integers(a + 1, n + 1)) for a, n in zip(starts, shape, strict=True)]
    steps = random.choice([1, 1, 2, 5], 4)
    ranges = [range(a, b, int(s)) for a, b, s in zip(starts, stops, steps, strict=True)]
    selection = Selection(tuple(r if random.random() < 0.7 else r[::-1] for r in ranges))
    np.testing.assert_array_equal(source.read(selection), stored[selection.slices()])
