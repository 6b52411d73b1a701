"""Decoding a gzip file in one call gives the bytes and errors of decoding it front to back."""

from __future__ import annotations

import gzip
import os
import zlib
from pathlib import Path
from unittest import mock

import dask.config
import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import voxarray as vx
from voxarray.core.errors import VoxarrayError
from voxarray.formats._voxels import gzip_at_once
from voxarray.formats._voxels.file_array import StoredVoxels
from voxarray.formats._voxels.gzip_at_once import bytes_at_once, feed_of
from voxarray.formats._voxels.stream_decoders import Bzipped, Deflated, VoxelFeed
from voxarray.formats.registry import open_source

deflate = pytest.importorskip("deflate")


def member(data: bytes, level: int = 6, named: bool = False) -> bytes:
    made = bytearray(gzip.compress(data, level, mtime=0))
    if named:  # FNAME, RFC 1952
        made[3] |= 8
        made[10:10] = b"scan.nii\0"
    return bytes(made)


def outcome(feed: VoxelFeed, count: int, piece: int) -> tuple[str, bytes]:
    """The bytes or the code of the error, whatever pieces they are read in."""
    data = bytearray(count)
    view = memoryview(data)
    try:
        while view:
            part = view[:piece]
            feed.read_exactly(part)
            view = view[len(part) :]
        feed.finish()
    except VoxarrayError as error:
        return error.code, b""
    return "", bytes(data)


def both(path: Path, decoder: Deflated, stored: StoredVoxels, piece: int) -> list[tuple]:
    fd = os.open(path, os.O_RDONLY)
    try:
        size = os.fstat(fd).st_size
        at_once = bytes_at_once(decoder, size, stored)
        feeds = feed_of(decoder, fd, stored, at_once), feed_of(decoder, fd, stored, 0)
        return [outcome(feed, stored.nbytes, piece) for feed in feeds]
    finally:
        os.close(fd)


@st.composite
def files(draw: st.DrawFn) -> tuple[bytes, int]:
    """Bytes that are a gzip file, or nearly, and how many its header promises."""
    texts = st.binary(max_size=300) | st.builds(bytes, st.integers(0, 5000))
    parts = draw(st.lists(texts, min_size=1, max_size=3))
    if draw(st.booleans()):
        parts = [parts[0]] * len(parts)  # equal members have equal trailers
    made = bytearray().join(
        member(part, draw(st.sampled_from((0, 1, 9))), draw(st.booleans())) for part in parts
    )
    change = draw(st.sampled_from(("none", "none", "cut", "flip", "garbage", "zeros", "trailer")))
    if change == "cut":
        del made[draw(st.integers(0, len(made) - 1)) :]
    elif change == "flip":
        made[draw(st.integers(0, len(made) - 1))] ^= 1 << draw(st.integers(0, 7))
    elif change == "garbage":
        made += draw(st.binary(min_size=1, max_size=20))
    elif change == "zeros":
        made += bytes(draw(st.integers(1, 20)))
    elif change == "trailer":
        made += made[-8:]
    whole = sum(map(len, parts))
    promised = draw(st.sampled_from((whole, len(parts[0]), whole + 1, max(1, whole - 1))))
    return bytes(made), max(1, promised)


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("gzip") / "a.gz"


@settings(max_examples=300, deadline=None)
@given(files(), st.sampled_from((None, 0, 3)), st.integers(1, 5000), st.data())
def test_bytes_and_errors_are_those_of_the_stream(place, file, trailer, piece, data):
    raw, promised = file
    offset = data.draw(st.integers(0, promised - 1))
    place.write_bytes(raw)
    stored = StoredVoxels((1, promised - offset, 1, 1), np.dtype("u1"), offset=offset)
    assert bytes_at_once(Deflated(trailer=trailer), len(raw), stored) > 0
    one, other = both(place, Deflated(trailer=trailer), stored, piece)
    assert one == other


@pytest.mark.parametrize("cut", ["members", "garbage", "length", "crc"])
def test_only_a_single_complete_gzip_member_is_decoded_at_once(place, cut):
    data = np.random.default_rng(0).integers(0, 50, 9000).astype("u1").tobytes()
    raw = bytearray(member(data))
    if cut == "members":
        raw += member(data)  # ends with the trailer of the first
    elif cut == "garbage":
        raw += b"more" + raw[-8:]
    elif cut == "length":
        raw[-1] ^= 1
    else:
        raw[-6] ^= 1
    place.write_bytes(raw)
    fd = os.open(place, os.O_RDONLY)
    try:
        assert gzip_at_once._decode_member(fd, 0, len(data), 1 << 20) is None
        place.write_bytes(member(data))
        assert gzip_at_once._decode_member(fd, 0, len(data), 1 << 20) == data
    finally:
        os.close(fd)


def test_length_that_wraps_around_is_read_front_to_back():
    stored = StoredVoxels((1, 1 << 16, 1 << 16, 1), np.dtype("u1"))
    assert bytes_at_once(Deflated(), 100, stored) == 0
    assert bytes_at_once(Bzipped(), 100, StoredVoxels((1, 9, 9, 9), np.dtype("u1"))) == 0


@pytest.mark.parametrize("suffix", [".nii.gz", ".mgz"])
def test_memory_is_projected_and_bounded(tmp_path, suffix):
    voxels = np.random.default_rng(0).integers(0, 99, (1, 60, 50, 40)).astype("i2")
    path = tmp_path / f"a{suffix}"
    vx.ScalarImage(tensor=voxels).save(path)
    needed = path.stat().st_size + voxels.nbytes
    with dask.config.set({"voxarray.memory-budget": 16 * needed}):  # and the header, so too little
        small = open_source(str(path))
        streamed = small.streaming_bytes
    with dask.config.set({"voxarray.memory-budget": 17 * needed}):
        large = open_source(str(path))
        assert streamed + needed <= large.streaming_bytes < streamed + needed + 1000
    for source in (small, large):
        out = np.empty((1, 40, 50, 60), "i2")
        with source.stream() as stream:
            stream.read_into(out)
            stream.finish()
        np.testing.assert_array_equal(out.transpose(0, 3, 2, 1), voxels)


def test_conversions_go_through_it_and_need_it_not(tmp_path, monkeypatch):
    voxels = np.random.default_rng(0).integers(0, 99, (1, 20, 30, 40)).astype("i2")
    path = tmp_path / "a.nii.gz"
    vx.ScalarImage(tensor=voxels).save(path)
    called, original = [], deflate.gzip_decompress

    class Library:
        DeflateError = deflate.DeflateError

        @staticmethod
        def gzip_decompress(data, size):
            called.append(size)
            return original(data, size)

    monkeypatch.setattr(gzip_at_once, "_library", lambda: Library)
    vx.convert(path, tmp_path / "a.ome.zarr")
    assert called == [352 + voxels.nbytes]
    monkeypatch.setattr(gzip_at_once, "_library", lambda: None)
    vx.convert(path, tmp_path / "b.ome.zarr")
    for name in ("a.ome.zarr", "b.ome.zarr"):
        np.testing.assert_array_equal(vx.ScalarImage(tmp_path / name).numpy(), voxels)
    assert zlib.crc32((tmp_path / "a.ome.zarr/manifest.json").read_bytes()) == zlib.crc32(
        (tmp_path / "b.ome.zarr/manifest.json").read_bytes()
    )


@settings(max_examples=20, deadline=None)
@given(
    st.tuples(*[st.integers(1, 9)] * 3),
    st.sampled_from(["u1", "<i2", ">i2", ">f4", "<f8"]),
    st.sampled_from([2, 4, 64]),
    st.integers(0, 9),
    st.booleans(),
)
def test_voxels_that_are_not_copied_are_archived_alike(
    tmp_path_factory, shape, dtype, chunk, gap, label
):
    """Wherever they begin, though numbers may then lie across words, and of either byte order."""
    voxels = np.random.default_rng(0).integers(0, 5, shape).astype(dtype)
    image = nibabel.Nifti1Image(voxels, np.eye(4))
    raw = bytearray(image.to_bytes())
    order = "<" if image.header.endianness == "<" else ">"
    raw[108:112] = np.array(352 + gap, f"{order}f4").tobytes()  # vox_offset
    folder = tmp_path_factory.mktemp("taken")
    path = folder / "a.nii.gz"
    path.write_bytes(member(bytes(raw[:352] + bytes(gap) + raw[352:])))
    vx.convert(path, folder / "a.ome.zarr", chunks=chunk, label=label)
    with mock.patch.object(gzip_at_once, "_library", return_value=None):
        vx.convert(path, folder / "b.ome.zarr", chunks=chunk, label=label)
    one, other = (folder / name / "manifest.json" for name in ("a.ome.zarr", "b.ome.zarr"))
    assert one.read_bytes() == other.read_bytes()
    np.testing.assert_array_equal(vx.ScalarImage(folder / "a.ome.zarr").numpy()[0], voxels)


def test_voxels_decoded_at_once_are_not_copied(tmp_path):
    voxels = np.random.default_rng(0).integers(0, 99, (1, 6, 5, 4)).astype("i2")
    path = tmp_path / "a.nii.gz"
    vx.ScalarImage(tensor=voxels).save(path)
    with open_source(str(path)).stream() as stream:
        parts = [stream.take((1, 2, 5, 6)) for _ in range(2)]
        stream.finish()
        taken = np.concatenate(parts, axis=1)
        assert stream.take((1, 2, 5, 6)) is None
    np.testing.assert_array_equal(taken.transpose(0, 3, 2, 1), voxels)
