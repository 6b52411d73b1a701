"""Compressed NIfTI: damage is found, and decoding is done once."""

from __future__ import annotations

import gzip
import itertools
import os
import pickle

import dask
import nibabel as nib
import numpy as np
import pytest

from voxarray.core.errors import ChecksumError, FormatError, TruncatedError, VoxarrayError
from voxarray.formats._voxels.gzip_index import SeekIndex
from voxarray.formats.nifti.gzip_source import INDEXES
from voxarray.formats.nifti.read import open_nifti
from voxarray.geometry.selection import Selection
from voxarray.source.block_cache import BLOCKS
from voxarray.testing.counting import count_reads

SHAPE = (20, 24, 28)
PART = np.s_[3:9, 4:20, 10:15]


@pytest.fixture(params=["whole", "slabs"])
def mode(request, monkeypatch):
    """Both ways to read a part: the whole image in the cache, or slabs of about four planes."""
    if request.param == "whole":
        yield request.param
        return
    monkeypatch.setattr("voxarray.formats._voxels.compressed_file.SLAB_BYTES", 4 << 10)
    with dask.config.set({"voxarray.gzip-whole-limit": "1 kB"}):
        yield request.param


def scan(seed=0):
    rng = np.random.default_rng(seed)
    z = np.linspace(0, 900, SHAPE[2])
    return (rng.normal(0, 5, SHAPE) + z).astype(np.int16)


def nifti_bytes(array):
    return nib.Nifti1Image(array, np.eye(4)).to_bytes()


def save(path, array, level=6):
    path.write_bytes(gzip.compress(nifti_bytes(array), level, mtime=0))
    return path


def whole(source):
    return source.read(Selection.whole(source.shape))[0]


def part(source, key=PART):
    return source.read(Selection.whole(source.shape)[key])[0]


def streamed(source):
    out = np.empty((1, *SHAPE[::-1]), source.dtype)
    with source.stream() as stream:
        for start in range(0, SHAPE[2], 5):
            stream.read_into(out[:, start : start + 5])
        stream.finish()
    return out[0].T


# --- Damage -----------------------------------------------------------------------------------


def survives(path, array):
    """Whether every way to read gives the right voxels or an error of ours; if none errs."""
    errors = 0
    for read, expected in [(whole, array), (part, array[PART]), (streamed, array)]:
        try:
            assert np.array_equal(read(open_nifti(path)), expected), "silently wrong voxels"
        except VoxarrayError as error:
            assert error.code  # noqa: PT017
            assert error.path == str(path)  # noqa: PT017
            errors += 1
    return errors == 0


@pytest.mark.filterwarnings("ignore::voxarray.core.errors.VoxarrayWarning")
def test_bit_flips_are_never_silent(tmp_path, mode):
    array = scan()
    good = save(tmp_path / "good.nii.gz", array).read_bytes()
    rng = np.random.default_rng(0)
    harmless = []
    for number in range(300):
        bad = bytearray(good)
        position = int(rng.integers(len(bad) * 8)) if number > 80 else number
        bad[position // 8] ^= 1 << position % 8
        path = tmp_path / f"{number}.nii.gz"
        path.write_bytes(bad)
        if survives(path, array):
            harmless.append(position // 8)
        path.unlink()
    # Flags that hide nothing, time, extra flags and operating system of the gzip header.
    assert set(harmless) <= {3, *range(4, 10)}


def test_truncations_are_never_silent(tmp_path, mode):
    array = scan()
    good = save(tmp_path / "good.nii.gz", array).read_bytes()
    rng = np.random.default_rng(1)
    path = tmp_path / "bad.nii.gz"
    for size in [0, 1, 5, 12, *range(len(good) - 10, len(good)), *rng.integers(0, len(good), 86)]:
        path.write_bytes(good[: int(size)])
        assert not survives(path, array)
    path.write_bytes(good[:-4])
    with pytest.raises(TruncatedError, match="ends before its trailer"):
        whole(open_nifti(path))


@pytest.mark.parametrize("position", [-1, -6])
def test_a_wrong_trailer_is_named(tmp_path, mode, position):
    array = scan()
    bad = bytearray(save(tmp_path / "a.nii.gz", array).read_bytes())
    bad[position] ^= 1
    (tmp_path / "a.nii.gz").write_bytes(bad)
    for read in (whole, part, streamed):
        with pytest.raises(ChecksumError, match="damaged") as caught:
            read(open_nifti(tmp_path / "a.nii.gz"))
        assert caught.value.code == "BAD_CRC"


def test_members_padding_and_garbage(tmp_path, mode):
    array = scan()
    raw = nifti_bytes(array)
    cuts = [0, 100, 352, 5000, 5000, 20000, len(raw)]
    members = b"".join(gzip.compress(raw[a:b]) for a, b in itertools.pairwise(cuts))
    path = tmp_path / "a.nii.gz"
    for data in (members, members + bytes(7000), members + gzip.compress(b"more")):
        path.write_bytes(data)
        assert survives(path, array)
    for garbage in (b"garbage", b"\0\0\0junk that is longer than a header"):
        path.write_bytes(members + garbage)
        assert not survives(path, array)
    with pytest.raises(FormatError) as caught:
        part(open_nifti(path))
    assert caught.value.code == "TRAILING_GARBAGE"
    path.write_bytes(gzip.compress(raw[:-2]))
    for read in (whole, part, streamed):
        with pytest.raises(TruncatedError, match="from a file that was too short"):
            read(open_nifti(path))


def test_a_promise_that_deflate_cannot_keep(tmp_path):
    header = nib.Nifti1Header()
    header.set_data_shape((2100, 2100, 2100))
    header["vox_offset"] = 352
    path = tmp_path / "a.nii.gz"
    path.write_bytes(gzip.compress(header.binaryblock + bytes(5000)))
    with pytest.raises(FormatError, match="cannot hold them") as caught:
        open_nifti(path)
    assert caught.value.code == "DIMS_EXCEED_FILE"


def test_the_most_compressible_image_is_no_lie(tmp_path):
    path = tmp_path / "a.nii.gz"
    path.write_bytes(gzip.compress(nifti_bytes(np.zeros((256, 256, 64), np.int16)), 9))
    assert not whole(open_nifti(path)).any()


def test_a_disk_that_returns_other_bytes_later(tmp_path):
    raw = os.urandom(50_000)
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(raw, 0))
    fd = os.open(path, os.O_RDWR)
    index = SeekIndex.build(fd, [0, 20_000, 50_000])
    view = memoryview(bytearray(30_000))
    index.read(fd, 1, view)
    assert view == raw[20_000:]
    os.pwrite(fd, b"????", 10_000)
    with pytest.raises(ChecksumError, match="other bytes"):
        index.read(fd, 0, view[:20_000])
    os.close(fd)


# --- Decoding once ----------------------------------------------------------------------------


def grid_pass(source):
    """64 patches that tile the image, each the size of a quarter of every axis."""
    edges = [n // 4 for n in SHAPE]
    for corner in itertools.product(range(4), repeat=3):
        yield tuple(slice(c * e, (c + 1) * e) for c, e in zip(corner, edges, strict=True))


def test_a_grid_pass_decodes_once(tmp_path, mode):
    array = scan()
    source = open_nifti(save(tmp_path / "a.nii.gz", array))
    with count_reads() as reads:
        for key in grid_pass(source):
            assert np.array_equal(part(source, key), array[key])
    assert (reads.calls, reads.passes) == (64, 1)
    once = 352 + array.nbytes
    assert reads.decoded <= (once if mode == "whole" else 2 * once)
    with count_reads() as reads:
        part(pickle.loads(pickle.dumps(source)))
    assert reads.decoded == 0


def test_reading_the_whole_image_keeps_nothing(tmp_path, mode):
    array = scan()
    source = open_nifti(save(tmp_path / "a.nii.gz", array))
    with count_reads() as reads:
        assert np.array_equal(whole(source), array)
        assert np.array_equal(source.read(Selection.whole(source.shape)[::-1])[0], array[::-1])
    assert reads.passes == 2
    assert BLOCKS.nbytes == INDEXES.nbytes == 0


def test_a_cached_volume_serves_the_whole_image(tmp_path):
    array = scan()
    source = open_nifti(save(tmp_path / "a.nii.gz", array))
    part(source)
    with count_reads() as reads:
        assert np.array_equal(whole(source), array)
    assert reads.passes == 0
    assert BLOCKS.nbytes == array.nbytes


def test_a_small_cache_is_respected(tmp_path, mode):
    array = scan()
    source = open_nifti(save(tmp_path / "a.nii.gz", array))
    with dask.config.set({"voxarray.block-cache": "9 kB"}):
        for key in grid_pass(source):
            assert np.array_equal(part(source, key), array[key])
            assert BLOCKS.nbytes <= 9000


def test_an_image_larger_than_the_cache_is_read_in_slabs(tmp_path):
    source = open_nifti(save(tmp_path / "a.nii.gz", np.zeros((512, 512, 80), np.int16)))
    with dask.config.set({"voxarray.block-cache": "36 MiB"}):
        assert source.chunks == (1, 512, 512, 36)
    assert source.chunks == (1, 512, 512, 36)  # two of them fit
    assert open_nifti(source.path).chunks == source.shape


def test_chunks_of_series(tmp_path):
    array = np.zeros((64, 64, 32, 200), np.uint8)
    source = open_nifti(save(tmp_path / "a.nii.gz", array))
    with dask.config.set({"voxarray.gzip-whole-limit": "1 MiB"}):
        assert source.chunks == (200, 64, 64, 32)


def test_results_can_be_written_to(tmp_path, mode):
    array = scan()
    source = open_nifti(save(tmp_path / "a.nii.gz", array))
    part(source)[...] = 0
    assert np.array_equal(part(source), array[PART])


@pytest.mark.parametrize("level", [0, 1, 9])
def test_seek_index_at_every_kind_of_boundary(tmp_path, level):
    rng = np.random.default_rng(3)
    raw = bytes(30_000) + rng.bytes(30_000) + b"ab" * 30_000
    packed = gzip.compress(raw[:70_000], level) + gzip.compress(raw[70_000:], level)
    path = tmp_path / "a.gz"
    path.write_bytes(packed)
    bounds = sorted({0, 70_000, len(raw), *rng.integers(0, len(raw), 40).tolist()})
    fd = os.open(path, os.O_RDONLY)
    index = SeekIndex.build(fd, bounds)
    for number in rng.permutation(len(bounds) - 1).tolist():
        view = memoryview(bytearray(bounds[number + 1] - bounds[number]))
        index.read(fd, number, view)
        assert view == raw[bounds[number] : bounds[number + 1]]
    assert index.nbytes > 0
    os.close(fd)
