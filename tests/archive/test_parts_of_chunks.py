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


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("make", [smooth, lambda dtype: voxels((SIZE,), dtype)])
@pytest.mark.parametrize("dtype", ["u1", "i2", "f4"])
@pytest.mark.parametrize(("begin", "end"), [(0, 1), (70_000, 70_002), (1000, -9), (-1, -0), (0, 0)])
def test_decoding_part_of_a_chunk_gives_the_bytes_of_the_whole_chunk(
    codec, make, dtype, begin, end
):
    chunk = make(dtype)
    begin, end = begin % chunk.nbytes, end % chunk.nbytes or chunk.nbytes
    encoded = np.frombuffer(bytearray(b"".join(codec.encode(chunk))), np.uint8)
    out = np.zeros_like(chunk)
    codec.decode(encoded, out, begin, end)
    needed = slice(begin, end)
    assert out.view("u1")[needed].tobytes() == chunk.view("u1")[needed].tobytes()


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("itemsize", [1, 2, 4, 8, 16])
@pytest.mark.parametrize(
    "extra", [1, *(pytest.param(n, marks=pytest.mark.slow) for n in (7, 300)), 40_000]
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


@pytest.mark.parametrize("name", ["a.ome.zarr", "a.ozx"])
@pytest.mark.parametrize("codec", sorted(PROFILES))
@pytest.mark.parametrize("shape", [(1, 48, 48, 48), (2, 64, 64, 36), (12, 20, 22, 18)])
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
