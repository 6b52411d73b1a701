"""Chunks of remote archives that are kept on disk: right, bounded, shared, dropped when changed."""

from __future__ import annotations

import errno
import logging
import os
import pickle
import threading
from pathlib import Path

import dask.config
import numpy as np
import pytest

import voxarray as vx
from voxarray.archive import handle_cache
from voxarray.storage import chunk_cache
from voxarray.storage.chunk_cache import ChunkCache
from voxarray.storage.remote import objects
from voxarray.storage.store import FileBlob


def save(bucket, seed=0, **options):
    voxels = np.random.default_rng(seed).integers(1, 900, (1, 60, 50, 40)).astype("i2")
    vx.ScalarImage(tensor=voxels).save(f"{bucket.url}/a.ome.zarr", chunks=16, **options)
    objects.forget()
    return voxels


def files(folder):
    return [file for file in Path(folder).rglob("*") if file.is_file()]


def reads_of(server):
    return [path for path in server.paths if "/c/" in path]


def test_chunks_are_fetched_once(server, bucket, kept):
    voxels = save(bucket)
    for number in range(2):
        server.paths.clear()
        scan = vx.ScalarImage(f"{bucket.url}/a.ome.zarr")
        np.testing.assert_array_equal(scan[3:44, 5:, 7:19].numpy(), voxels[:, 3:44, 5:, 7:19])
        assert bool(reads_of(server)) is (number == 0)
    np.testing.assert_array_equal(vx.ScalarImage(f"{bucket.url}/a.ome.zarr").numpy(), voxels)
    assert len(files(kept)) == 4 * 4 * 3
    handle_cache._shards.clear()
    server.paths.clear()
    np.testing.assert_array_equal(vx.ScalarImage(f"{bucket.url}/a.ome.zarr").numpy(), voxels)
    assert len(reads_of(server)) == 1  # the index of the shard, which says what chunks must be


def test_no_chunk_is_cached_unless_the_setting_asks_for_it(bucket, tmp_path):
    voxels = save(bucket)
    with dask.config.set({"voxarray.remote-cache-directory": str(tmp_path / "kept")}):
        np.testing.assert_array_equal(vx.ScalarImage(f"{bucket.url}/a.ome.zarr").numpy(), voxels)
    assert not (tmp_path / "kept").exists()


def test_chunks_of_a_changed_source_are_fetched_again(bucket, kept):
    for seed in (0, 1):
        voxels = save(bucket, seed, overwrite=bool(seed))
        np.testing.assert_array_equal(vx.ScalarImage(f"{bucket.url}/a.ome.zarr").numpy(), voxels)


@pytest.mark.parametrize("damage", ["cut", "flipped", "other", "empty", "gone"])
def test_damaged_chunks_are_fetched_again(bucket, kept, damage):
    voxels = save(bucket)
    assert vx.ScalarImage(f"{bucket.url}/a.ome.zarr").numpy().shape == voxels.shape
    whole = {file: file.read_bytes() for file in files(kept)}
    one, other, *_ = sorted(whole)
    changed = {
        "cut": whole[one][:-3],
        "flipped": bytes([whole[one][0] ^ 1]) + whole[one][1:],
        "other": whole[other],
        "empty": b"",
    }
    if damage == "gone":
        one.unlink()
    else:
        one.write_bytes(changed[damage])
    np.testing.assert_array_equal(vx.ScalarImage(f"{bucket.url}/a.ome.zarr").numpy(), voxels)
    assert {file: file.read_bytes() for file in files(kept)} == whole


@pytest.mark.parametrize("damaged", ["the block", "another block", "nothing"])
def test_small_boxes_read_the_blocks_that_they_need(server, bucket, kept, monkeypatch, damaged):
    voxels = np.random.default_rng(0).integers(1, 900, (1, 64, 64, 64)).astype("i2")
    vx.ScalarImage(tensor=voxels).save(f"{bucket.url}/a.ome.zarr", chunks=64)
    objects.forget()
    scan = vx.ScalarImage(f"{bucket.url}/a.ome.zarr")
    for _ in range(2):  # fetched, then read whole from the cache
        np.testing.assert_array_equal(scan[:, :, 40:44].numpy(), voxels[..., 40:44])
    (file,) = files(kept)
    whole = file.read_bytes()
    size = len(whole)
    at = {"the block": size * 42 // 64, "another block": size // 10, "nothing": None}[damaged]
    if at is not None:
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    lengths, read_into = [], FileBlob.read_into
    counted = lambda blob, offset, out: lengths.append(out.size) or read_into(blob, offset, out)  # noqa: E731
    monkeypatch.setattr(FileBlob, "read_into", counted)
    server.paths.clear()
    np.testing.assert_array_equal(scan[5:9, 3:, 41:44].numpy(), voxels[:, 5:9, 3:, 41:44])
    assert 0 < lengths[0] < size // 4
    # What is damaged is fetched anew, what is not needed is not looked at.
    assert len(lengths) == (2 if damaged == "the block" else 1)
    assert bool(reads_of(server)) is (damaged == "the block")
    assert (file.read_bytes() == whole) is (damaged != "another block")


def test_oldest_chunks_go_first(tmp_path):
    cache = ChunkCache(str(tmp_path), 1000)
    for number in range(30):
        cache.put(f"{number:032x}-0-50", bytes(50))
        os.utime(cache._path(f"{number:032x}-0-50"), ns=(number, number))
    assert cache.opened(f"{0:032x}-0-50") is None
    file = cache.opened(f"{29:032x}-0-50")
    assert file.read(0, 99) == bytes(50)
    file.close()
    assert cache.size() <= 1000
    cache.put("f" * 32, bytes(600))
    assert not cache.holds("f" * 32)  # it alone would drop half of the others


def test_what_others_keep_in_the_folder_is_neither_counted_nor_deleted(tmp_path):
    """Somebody names a folder that is not empty, such as a scratch disk's."""
    cache = ChunkCache(str(tmp_path), 1000)
    theirs = [tmp_path / "thesis.docx", tmp_path / f"0a/{0:032x}.txt", tmp_path / f"b/{1:032x}"]
    for file in theirs:
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(bytes(900))
        os.utime(file, ns=(1, 1))
    for number in range(60):
        cache.put(f"{number:032x}-0-50", bytes(50))
    assert all(file.read_bytes() == bytes(900) for file in theirs)
    assert 500 < cache.size() <= 1000


def test_full_disk_stops_no_reading(bucket, kept, monkeypatch, caplog):
    voxels = save(bucket)

    def refuse(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", refuse)
    with caplog.at_level(logging.WARNING):
        np.testing.assert_array_equal(vx.ScalarImage(f"{bucket.url}/a.ome.zarr").numpy(), voxels)
    assert files(kept) == []
    assert "takes no more chunks" in caplog.text


def test_folder_of_somebody_else_is_not_used(bucket, kept, monkeypatch, caplog):
    voxels = save(bucket)
    chunk_cache._cache.cache_clear()
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    np.testing.assert_array_equal(vx.ScalarImage(f"{bucket.url}/a.ome.zarr").numpy(), voxels)
    assert files(kept) == []
    chunk_cache._cache.cache_clear()


def test_what_another_process_of_this_number_writes_is_left_alone(tmp_path):
    cache = ChunkCache(str(tmp_path), 1000)
    name = f"{0:032x}-0-50"
    own = Path(f"{cache._path(name)}.{os.getpid()}-{threading.get_ident()}.part")
    own.parent.mkdir()
    own.write_bytes(b"half")
    cache.put(name, bytes(50))
    assert cache.holds(name)
    assert own.read_bytes() == b"half"


def test_threads_and_copies_share_it(bucket, kept):
    voxels = save(bucket)
    scan = vx.ScalarImage(f"{bucket.url}/a.ome.zarr")
    assert scan.shape == voxels.shape
    copies = [pickle.loads(pickle.dumps(scan)) for _ in range(4)]
    found = []
    threads = [
        threading.Thread(target=lambda one=one: found.append(one[2:50].numpy())) for one in copies
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(one, voxels[:, 2:50]) for one in found)
    assert len(found) == 4


def test_what_stays_is_named(tmp_path, caplog):
    cache = ChunkCache(str(tmp_path), 1000)
    chunk_cache._name(str(tmp_path))
    assert caplog.text == ""
    cache.put("0" * 32, b"x")
    chunk_cache._name(str(tmp_path))
    assert str(tmp_path) in caplog.text
