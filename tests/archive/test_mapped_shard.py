"""Chunks that are stored as they are: read in place, checked when they are touched first."""

from __future__ import annotations

import os
import time
import weakref
from pathlib import Path

import dask.config
import numpy as np
import pytest
from archive_samples import archive, blobs

from voxarray.archive.source import open_archive
from voxarray.core import page_cache
from voxarray.core.errors import ChecksumError, VoxarrayError
from voxarray.geometry.selection import Selection
from voxarray.storage import mapped_shard
from voxarray.storage.store import FileBlob

SHAPE = (2, 9, 10, 11)


@pytest.fixture(params=["a.ome.zarr", "a.ozx"])
def source(request, tmp_path: Path):
    return open_archive(archive(tmp_path / request.param, blobs(SHAPE), chunk=4, codec="raw"))


@pytest.mark.parametrize("key", [(...,), (slice(1, 8, 3), slice(None, None, -2), 4)])
def test_every_part_is_what_was_stored(source, key):
    selection = Selection.whole(SHAPE)[key]
    found = source.read(selection)
    np.testing.assert_array_equal(found, blobs(SHAPE)[selection.slices()])
    found += 1  # nobody else's memory


def test_reading_into_memory_of_the_caller(source):
    selection = Selection.whole(SHAPE)[2:7, ::-1, 3]
    out = np.empty((2, 1, 10, 5), "i2").transpose(0, 3, 2, 1)
    source.read_into(selection, out)
    np.testing.assert_array_equal(out, blobs(SHAPE)[selection.slices()])


def test_a_chunk_is_checked_again_after_its_pages_were_given_back(source, monkeypatch):
    monkeypatch.setattr(
        mapped_shard.MappedShard, "look", lambda *_: None
    )  # a disk changes no times
    whole = Selection.whole(SHAPE)
    source.read(whole)
    file = Path(source.path)
    shard = file if file.is_file() else file / "scale0/image/c/0/0/0/0"
    damage(shard)
    source.read(whole)  # found intact before: not checked again
    mapped_shard.forget()
    with pytest.raises(ChecksumError, match="chunk"):
        source.read(whole)


@pytest.mark.parametrize("keeps_time", [False, True])  # cp, or cp -p
def test_a_chunk_is_checked_again_after_its_file_was_written_in_place(source, keeps_time):
    whole = Selection.whole(SHAPE)
    source.read(whole)
    file = Path(source.path)
    shard = file if file.is_file() else file / "scale0/image/c/0/0/0/0"
    before = shard.stat()
    time.sleep(0.02)  # as coarse as times of files are
    damage(shard)
    if not keeps_time:
        os.utime(shard)
    assert (shard.stat().st_mtime_ns == before.st_mtime_ns) == keeps_time
    for _ in range(2):
        with pytest.raises(VoxarrayError, match=r"chunk|SOURCE_CHANGED"):
            source.read(whole)


def test_a_file_with_new_rights_and_times_is_the_same(source):
    whole = Selection.whole(SHAPE)
    source.read(whole)
    for file in [one for one in Path(source.path).rglob("c/0/0/0/0") if one.is_file()]:
        file.chmod(0o640)
        os.utime(file)
    np.testing.assert_array_equal(source.read(whole), blobs(SHAPE))


def test_a_shard_that_cannot_be_mapped_is_named(source, monkeypatch):
    def too_short(_):
        raise ValueError("mmap length is greater than file size")

    monkeypatch.setattr(FileBlob, "mapped", too_short)
    with pytest.raises(VoxarrayError, match=r"scale0/image/c/0/0/0/0.*mmap length") as caught:
        source.read(Selection.whole(SHAPE))
    assert caught.value.path == source.path


def test_no_shard_is_mapped_for_background(tmp_path, monkeypatch):
    voxels = np.zeros(SHAPE, "i2")
    voxels[:, 0, 0, 0] = 1
    source = open_archive(archive(tmp_path / "a.ome.zarr", voxels, chunk=4, codec="raw"))
    asked, given = [], FileBlob.mapped
    monkeypatch.setattr(FileBlob, "mapped", lambda one: asked.append(one) or given(one))
    whole = Selection.whole(SHAPE)
    assert not source.read(whole[:, 4:, 4:, 4:]).any()
    assert asked == []
    assert source.read(whole).sum() == 2
    assert len(asked) == 1


def test_chunks_are_checked_again_beyond_the_limit_of_caches(source, monkeypatch):
    monkeypatch.setattr(mapped_shard, "_LOOK_AT_LIMIT", 256)
    given = []
    monkeypatch.setattr(mapped_shard, "forget", lambda: given.append(1))
    mapped_shard._checked_bytes = 0
    with dask.config.set({"voxarray.block-cache": 1000}):
        source.read(Selection.whole(SHAPE))
    assert given


def test_pages_that_count_as_resident_are_few(tmp_path, monkeypatch):
    source = open_archive(archive(tmp_path / "a.ome.zarr", blobs(SHAPE), chunk=4, codec="raw"))
    monkeypatch.setattr(page_cache, "MOST_BYTES", 200)
    monkeypatch.setattr(page_cache, "LEAST_BYTES", 100)
    monkeypatch.setattr(page_cache, "_allowed", 0)
    monkeypatch.setattr(page_cache, "_maps", weakref.WeakSet())
    monkeypatch.setattr(mapped_shard, "_open", weakref.WeakSet())
    dropped = []
    give_back = page_cache.give_back
    monkeypatch.setattr(page_cache, "give_back", lambda: dropped.append(give_back()))
    with dask.config.set({"voxarray.threads": 1}):
        np.testing.assert_array_equal(source.read(Selection.whole(SHAPE)), blobs(SHAPE))
    assert len(dropped) > 3
    assert len(page_cache._maps) == len(mapped_shard._open) > 0
    assert all(shard.checked for shard in mapped_shard._open)  # what is intact is known to be


def damage(path: Path) -> None:
    """Flip a bit of the first chunk that holds voxels, as a disk does: nobody changed the file."""
    before = path.stat()
    with open(path, "r+b") as file:
        content = file.read()
        chunk = blobs(SHAPE)[0, 4:8, :4, :4].transpose(2, 1, 0).tobytes()
        at = content.index(chunk)
        file.seek(at)
        file.write(bytes([content[at] ^ 1]))
        os.fsync(file.fileno())
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_what_is_being_checked_while_its_file_is_written_is_checked_again(tmp_path):
    path = tmp_path / "shard"
    path.write_bytes(bytes(64))
    with open(path, "rb") as file:
        shard = mapped_shard.MappedShard(file.fileno(), 0, 64)
    shard.look(str(path))
    checked = shard.checked  # as a thread has it that checks a chunk now
    os.utime(path, ns=(1, 1))
    shard.look(str(path))  # another thread
    shard.note(checked, 0, 8)
    assert 0 not in shard.checked


def test_who_sees_the_new_times_of_a_file_finds_no_chunk_checked(tmp_path):
    class Watched(mapped_shard.MappedShard):
        def __setattr__(self, name, value):
            if name == "_times" and value is not None:  # another thread looks at this moment
                assert 0 not in self.checked
            super().__setattr__(name, value)

    path = tmp_path / "shard"
    path.write_bytes(bytes(64))
    with open(path, "rb") as file:
        shard = Watched(file.fileno(), 0, 64)
    shard.look(str(path))
    shard.note(shard.checked, 0, 8)
    os.utime(path, ns=(1, 1))
    shard.look(str(path))
