"""Small boxes of chunks that were read before: by blocks, equal to numpy, and checked."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import dask.config
import numpy as np
import pytest
from archive_samples import archive, voxels

from voxarray.archive import accelerated, checked_blocks, reader
from voxarray.archive.checked_blocks import CheckedBlocks
from voxarray.archive.codecs import Codec
from voxarray.archive.source import ArchiveSource, open_archive
from voxarray.core.errors import ChecksumError, VoxarrayError
from voxarray.geometry.selection import Selection, Shape4
from voxarray.storage.store import FileBlob

BLOCK = 1 << 16
KEY = "scale0/image/c/0/0/0/0"


class Reads:
    """What was read: bytes of shards, and whether of blocks alone."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bytes, self.blocks, self.refused = 0, 0, 0
        read_into, read = FileBlob.read_into, CheckedBlocks.read

        def counted(blob, offset, out):
            self.bytes += len(out)
            return read_into(blob, offset, out)

        def noted(blocks, *rest):
            done = read(blocks, *rest)
            self.blocks, self.refused = self.blocks + done, self.refused + (not done)
            return done

        monkeypatch.setattr(FileBlob, "read_into", counted)
        monkeypatch.setattr(CheckedBlocks, "read", noted)


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch) -> Iterator[None]:
    monkeypatch.setattr(checked_blocks, "_kept", {})
    monkeypatch.setattr(checked_blocks, "_borders", 0)
    # Which tests before these may have compiled: chunks read whole by them are not seen by blocks.
    monkeypatch.setattr(accelerated, "loops", lambda *_: None)
    return


@pytest.fixture
def reads(monkeypatch) -> Reads:
    return Reads(monkeypatch)


def stored(shape: Shape4, dtype: str, seed: int) -> np.ndarray:
    """Steps with a little noise, which is compressed, and noise, which is stored as it is."""
    steps = (np.arange(np.prod(shape)).reshape(shape) // 7 % 90).astype(dtype)
    steps[:, ::3] += np.random.default_rng(seed).integers(0, 3, shape).astype(dtype)[:, ::3]
    steps[:, :, :, shape[3] // 2 :] = voxels(shape, dtype, seed)[:, :, :, shape[3] // 2 :]
    return steps


def small_box(random: np.random.Generator, shape: Shape4) -> Selection:
    """Thin in any direction, of any step and order, as often at an end as within."""
    ranges = []
    for size in shape:
        start = int(random.choice([0, size - 1, random.integers(size)]))
        stop = min(size, start + int(random.choice([1, 2, 16, 40])))
        found = range(start, stop, int(random.choice([1, 1, 1, 3])))
        ranges.append(found if random.random() < 0.7 else found[::-1])
    n, x, y, z = ranges
    return Selection((n, x, y, z))


def source_of(path: Path, voxels: np.ndarray, **options) -> ArchiveSource:
    return open_archive(archive(path, voxels, levels=1, **options))


@pytest.mark.parametrize(
    ("name", "shape", "dtype", "chunk", "codec"),
    [
        ("a.ome.zarr", (1, 70, 66, 97), "i2", 64, "default"),
        ("a.ozx", (2, 65, 47, 66), "f4", 64, "fast"),
        ("a.ome.zarr", (1, 131, 37, 130), "u1", 128, "default"),
        ("a.ozx", (3, 61, 64, 59), "f8", 64, "labels"),
        ("a.ome.zarr", (1, 67, 129, 127), "i4", 128, "compact"),
        ("a.ome.zarr", (1, 33, 33, 65), "c16", 32, "fast"),
        ("a.ozx", (1, 90, 80, 100), "u2", 48, "default"),
    ],
)
def test_small_boxes_are_numpys_however_often_they_are_read(
    tmp_path, reads, name, shape, dtype, chunk, codec
):
    expected = stored(shape, dtype, seed=shape[1])
    source = source_of(tmp_path / name, expected, chunk=chunk, codec=codec)
    random = np.random.default_rng(sum(shape))
    for _ in range(80):
        box = small_box(random, shape)
        assert source.read(box).tobytes() == expected[np.ix_(*box.ranges)].tobytes(), box
    assert reads.blocks > 20
    assert not reads.refused


@pytest.mark.parametrize("itemsize", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("items", [4 * BLOCK, 4 * BLOCK + 16, 5 * BLOCK - 16, 9 * BLOCK + 4096])
def test_any_blocks_of_a_chunk_are_decoded(tmp_path, itemsize, items):
    chunk = np.random.default_rng(items).integers(0, 3, items, np.uint8).view(f"V{itemsize}")
    codec = Codec("zstd", 1, "shuffle", BLOCK)
    body, crc = codec.encode(chunk)
    blocks = CheckedBlocks.of(np.frombuffer(body, np.uint8), int.from_bytes(crc, "little"))
    assert blocks is not None
    (tmp_path / "shard").write_bytes(b"before" + body + crc)
    flat = chunk.view(np.uint8)
    with FileBlob(os.open(tmp_path / "shard", os.O_RDONLY), 0, 6 + len(body) + 4) as blob:
        random = np.random.default_rng(1)
        for _ in range(30):
            begin, end = sorted(random.choice(items + 1, 2, replace=False).tolist())
            begin, end = random.choice([[begin, end], [begin, begin + 1], [items - 1, items]])
            out = np.zeros(items, np.uint8)
            assert blocks.read(blob, 6, out, int(begin), min(int(end), items))
            assert out[begin:end].tobytes() == flat[begin:end].tobytes()


def test_a_small_box_reads_its_blocks_alone(tmp_path, reads):
    expected = stored((1, 64, 64, 64), "i2", 0)
    source = source_of(tmp_path / "a.ome.zarr", expected, codec="default")
    size = (tmp_path / "a.ome.zarr" / KEY).stat().st_size
    box = Selection((range(1), range(8, 24), range(8, 24), range(8, 16)))
    for share in (1.25, 0.25):
        reads.bytes = 0
        assert source.read(box).tobytes() == expected[np.ix_(*box.ranges)].tobytes()
        assert reads.bytes < share * size
    assert reads.blocks == 2
    # Of another part of the chunk, too, and not for half of it.
    source.read(Selection((range(1), range(64), range(64), range(40, 50))))
    assert reads.blocks == 3
    source.read(Selection((range(1), range(64), range(64), range(32))))
    assert reads.blocks == 3


@pytest.mark.parametrize("background", [False, True])
def test_blocks_at_a_corner_of_chunks_are_read_without_other_threads(
    tmp_path, monkeypatch, background
):
    expected = stored((1, 100, 100, 100), "i2", 0)
    if background:
        expected[:, 64:, 64:] = 0
    source = source_of(tmp_path / "a.ome.zarr", expected, codec="default")
    box = Selection((range(1), range(56, 72), range(56, 72), range(56, 72)))
    shared = []
    share = reader.share
    monkeypatch.setattr(reader, "share", lambda *rest: (shared.append(1), share(*rest)))
    with dask.config.set({"voxarray.threads": 2}):
        for _ in range(3):  # whole chunks at first, which threads share
            assert source.read(box).tobytes() == expected[np.ix_(*box.ranges)].tobytes()
            assert len(shared) == 1
        checked_blocks._kept.clear()
        source.read(box)
        assert len(shared) == 2


@pytest.mark.parametrize("seed", range(4))
def test_damage_in_blocks_that_were_seen_before_is_an_error(tmp_path, reads, seed):
    expected = stored((1, 64, 64, 64), "i2", seed)
    source = source_of(tmp_path / "a.ome.zarr", expected, codec="default")
    file = tmp_path / "a.ome.zarr" / KEY
    box = Selection((range(1), range(64), range(64), range(16, 24)))  # block 2
    wanted = expected[np.ix_(*box.ranges)].tobytes()
    assert source.read(box).tobytes() == source.read(box).tobytes() == wanted
    (blocks,) = checked_blocks._kept.values()
    whole = file.read_bytes()
    random = np.random.default_rng(seed)
    for _ in range(40):
        at = int(random.integers(blocks.borders[2], blocks.borders[3]))
        damaged = bytearray(whole)
        damaged[at] ^= 1 << int(random.integers(8))
        with open(file, "r+b") as out:
            out.write(damaged)
        with pytest.raises(ChecksumError, match="crc32c"):
            source.read(box)
    with open(file, "r+b") as out:
        out.truncate(blocks.borders[3] - 1)
    with pytest.raises(VoxarrayError) as error:
        source.read(box)
    assert error.value.code == "TRUNCATED"
    with open(file, "r+b") as out:
        out.write(whole)
    assert source.read(box).tobytes() == wanted


def test_block_checksums_are_kept_only_of_intact_chunks():
    chunk = np.arange(4 * BLOCK, dtype="i4") // 5
    body, crc = Codec("zstd", 1, "shuffle", BLOCK).encode(chunk)
    sum_ = int.from_bytes(crc, "little")
    blocks = CheckedBlocks.of(np.frombuffer(body, np.uint8), sum_)
    assert blocks is not None
    assert len(blocks.sums) == len(blocks.borders) == 17
    assert CheckedBlocks.of(np.frombuffer(body, np.uint8), sum_ ^ 1) is None
    assert CheckedBlocks.of(np.frombuffer(body[:-1], np.uint8), sum_) is None
    assert CheckedBlocks.of(np.frombuffer(body[:9], np.uint8), sum_) is None
    swapped = body[:16] + body[20:24] + body[16:20] + body[24:]
    assert CheckedBlocks.of(np.frombuffer(swapped, np.uint8), sum_) is None
    noise = voxels((4 * BLOCK,), "u1")
    body, crc = Codec("zstd", 1, "noshuffle", BLOCK).encode(noise)
    assert CheckedBlocks.of(np.frombuffer(body, np.uint8), int.from_bytes(crc, "little")) is None


def test_the_cache_of_block_checksums_is_bounded(monkeypatch):
    monkeypatch.setattr(checked_blocks, "_MAX_BORDERS", 100)
    blocks = CheckedBlocks(b"", 0, 1, tuple(range(9)), tuple(range(9)))
    for slot in range(50):
        checked_blocks.keep(7, slot, blocks)
        assert len(checked_blocks._kept) <= 11
        assert checked_blocks.known(7, slot) is blocks
    assert checked_blocks.known(8, 49) is None
