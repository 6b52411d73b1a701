"""Reads of remote archives whose chunks are all in the cache: right, whatever others do to it."""

from __future__ import annotations

import importlib.util
import json
import os
import random
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import dask.config
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import buckets
import voxarray as vx
from voxarray.archive import accelerated, checked_blocks
from voxarray.archive.checked_blocks import CheckedBlocks
from voxarray.storage.chunk_cache import ChunkCache
from voxarray.storage.remote import objects

HAS_LOOPS = importlib.util.find_spec("numba") is not None
BY = [pytest.param(True, marks=pytest.mark.skipif(not HAS_LOOPS, reason="no numba")), False]


def save(bucket, name="a", profile="default", shape=(2, 45, 50, 40), chunk=16):
    voxels = np.random.default_rng(len(profile)).integers(1, 900, shape).astype("i2")
    voxels[:, :20, :20, :20] = 0  # background
    made = vx.ScalarImage(tensor=voxels)
    made.save(f"{bucket.url}/{name}.ome.zarr", chunks=chunk, codec=profile)
    objects.forget()
    return voxels


def whole(bucket):
    """All voxels, by an image that has read none yet."""
    return vx.ScalarImage(f"{bucket.url}/a.ome.zarr").numpy()


@contextmanager
def reading(by_loops, threads=1):
    """Reads by compiled loops, or without; notes how many chunks the former read in each call."""
    done, inner = [], accelerated.Box.read_rows

    def counted(self, first, stop, table):
        found = inner(self, first, stop, table)
        done.append(found - first)
        return found

    with (
        dask.config.set({"voxarray.threads": threads}),
        mock.patch.object(accelerated, "_WORTHWHILE", 0 if by_loops else 1 << 60),
    ):
        if by_loops:
            assert accelerated.loops(1) is not None  # the chunks of their trial are not counted
        with mock.patch.object(accelerated.Box, "read_rows", counted):
            yield done


def files(folder):
    return sorted(file for file in Path(folder).rglob("*") if file.is_file())


def descriptors():
    return len(os.listdir("/proc/self/fd"))


def damage(file, how):
    """What may become of a file: other processes evict, disks err, somebody copies."""
    data = file.read_bytes()
    if how == "gone":
        file.unlink()
    else:
        middle = len(data) // 2
        flipped = data[:middle] + bytes([data[middle] ^ 16]) + data[middle + 1 :]
        file.write_bytes({"cut": data[:-5], "flipped": flipped, "long": data + b"x"}[how])


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("by_loops", BY)
def test_a_warm_read_asks_for_nothing_and_opens_each_chunk_once(
    server, bucket, kept, monkeypatch, by_loops, threads
):
    voxels = save(bucket)
    np.testing.assert_array_equal(whole(bucket), voxels)
    opened, inner = [], ChunkCache.opened
    monkeypatch.setattr(
        ChunkCache, "opened", lambda cache, name: opened.append(name) or inner(cache, name)
    )
    server.paths.clear()
    with reading(by_loops, threads) as done:
        np.testing.assert_array_equal(whole(bucket), voxels)
    assert not [path for path in server.paths if "/c/" in path]
    assert len(opened) == len(set(opened)) == len(files(kept))
    assert sum(done) == (2 * 3 * 4 * 3 if by_loops else 0)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("by_loops", BY)
@pytest.mark.parametrize("how", ["cut", "flipped", "long", "gone"])
def test_chunks_that_are_damaged_after_they_were_found(
    bucket, kept, monkeypatch, how, by_loops, threads
):
    voxels = save(bucket)
    np.testing.assert_array_equal(whole(bucket), voxels)
    intact = {file: file.read_bytes() for file in files(kept)}
    holds, left = ChunkCache.holds, {list(intact)[3], list(intact)[-2]}

    def found(cache, name):
        is_there, path = holds(cache, name), Path(cache._path(name))
        if path in left:
            left.remove(path)
            damage(path, how)
        return is_there

    monkeypatch.setattr(ChunkCache, "holds", found)
    with reading(by_loops, threads):
        np.testing.assert_array_equal(whole(bucket), voxels)
        assert not left
        np.testing.assert_array_equal(whole(bucket), voxels)
    if how != "long" or not by_loops:  # the loops read as many bytes as the index says
        assert {file: file.read_bytes() for file in files(kept)} == intact


def test_a_small_part_is_decoded_from_its_blocks_the_first_time_too(bucket, kept, monkeypatch):
    """Or a forged chunk could give one result now, and another one later; as in local archives."""
    voxels = save(bucket, shape=(1, 64, 64, 64), chunk=64)
    np.testing.assert_array_equal(whole(bucket), voxels)
    monkeypatch.setattr(checked_blocks, "_kept", {})
    decoded, inner = [], CheckedBlocks.read

    def read(self, *arguments):
        decoded.append(inner(self, *arguments))
        return decoded[-1]

    monkeypatch.setattr(CheckedBlocks, "read", read)
    image = vx.ScalarImage(f"{bucket.url}/a.ome.zarr")
    for number in (1, 2):
        np.testing.assert_array_equal(image[..., 40:42].numpy(), voxels[..., 40:42])
        assert decoded == [True] * number


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="asks Linux what is open")
@pytest.mark.parametrize("by_loops", BY)
def test_few_files_are_open_at_once_and_none_afterwards(bucket, kept, monkeypatch, by_loops):
    voxels = save(bucket, shape=(1, 60, 50, 40), chunk=8)
    np.testing.assert_array_equal(whole(bucket), voxels)
    counts, inner = [], ChunkCache.opened

    def opened(cache, name):
        file = inner(cache, name)
        counts.append(descriptors())
        return file

    monkeypatch.setattr(ChunkCache, "opened", opened)
    with reading(by_loops):
        before = descriptors()
        np.testing.assert_array_equal(whole(bucket), voxels)
        assert descriptors() == before
        assert len(counts) > 200
        assert max(counts) - before <= (64 if by_loops else 1)
        for interruption in (KeyboardInterrupt, MemoryError):
            where = (accelerated.Box, "read_rows") if by_loops else (np, "copyto")
            with monkeypatch.context() as patch:
                patch.setattr(*where, mock.Mock(side_effect=interruption))
                patch.setattr("voxarray.archive.reader.copy_rows", np.copyto)
                with pytest.raises(interruption):
                    whole(bucket)
            assert descriptors() == before


@pytest.mark.parametrize("by_loops", BY)
def test_a_chunk_that_was_read_is_not_the_next_to_go(bucket, kept, by_loops):
    save(bucket)
    assert whole(bucket).any()
    for number, file in enumerate(files(kept)):
        os.utime(file, ns=(number, number))
    with reading(by_loops):
        assert vx.ScalarImage(f"{bucket.url}/a.ome.zarr")[:20, 30:, 30:].numpy().any()
    read = {file for file in files(kept) if file.stat().st_mtime > time.time() - 600}
    assert 0 < len(read) < len(files(kept))
    cache = ChunkCache(str(kept), sum(file.stat().st_size for file in read) * 10 // 9 + 2)
    cache.shrink()
    assert read == set(files(kept))


@pytest.fixture(scope="module")
def archives(object_server):
    """Archives of all profiles, and their voxels."""
    object_server.faults, object_server.delay, object_server.probability = (), 0.0, 0.2
    bucket = buckets.Bucket("bucket-kept", object_server.url, object_server)
    with buckets.reached_through(object_server.url):
        yield [
            (f"{bucket.url}/{name}.ome.zarr", save(bucket, name, name))
            for name in ("default", "training", "fast", "compact", "labels", "raw")
        ]


@st.composite
def boxes(draw, shape):
    found = []
    for size in shape:
        start = draw(st.integers(0, size - 1))
        stop = draw(st.integers(start + 1, size))
        step = draw(st.sampled_from([1, 1, 1, 1, 2, -1]))
        found.append(slice(start, stop, step) if step > 0 else slice(stop - 1, None, -1))
    return tuple(found)


@settings(
    deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_any_box_after_any_damage(archives, kept, data):
    """By loops or not, in one thread or several: the voxels of NumPy, and a cache that heals."""
    path, voxels = data.draw(st.sampled_from(archives))
    scan = vx.ScalarImage(path)
    by_loops = HAS_LOOPS and data.draw(st.booleans())
    shutil.rmtree(kept, ignore_errors=True)  # of the example before
    chance = random.Random(data.draw(st.integers(0, 99)))
    with reading(by_loops, data.draw(st.sampled_from([1, 3]))):
        for _ in range(data.draw(st.integers(2, 4))):
            there = files(kept)
            for file in chance.sample(there, min(len(there), data.draw(st.integers(0, 3)))):
                damage(file, data.draw(st.sampled_from(["cut", "flipped", "long", "gone"])))
            box = data.draw(boxes(voxels.shape))
            np.testing.assert_array_equal(scan[box].numpy(), voxels[box])


READER = """
import json, os, random, sys, time
facts = json.loads(sys.argv[1])
import dask.config
import numpy as np
import voxarray as vx
from voxarray.archive import accelerated
from voxarray.geometry.selection import Selection
dask.config.set(facts["config"])
accelerated._WORTHWHILE = 0 if facts["by_loops"] else 1 << 60
voxels, chance = np.load(facts["voxels"]), random.Random(facts["seed"])
scan = vx.ScalarImage(facts["path"])
ends, opened = time.monotonic() + facts["seconds"], None
while time.monotonic() < ends:
    starts = [chance.randrange(n - 24) for n in voxels.shape[1:]]
    box = (slice(None), *(slice(s, s + chance.randint(12, 24)) for s in starts))
    part = scan[box]
    found = part.source.read(Selection.whole(part.shape))  # tensors take longer to load
    assert np.array_equal(found, voxels[box]), box
    if os.path.exists("/proc/self/fd"):
        count = len(os.listdir("/proc/self/fd"))
        opened = opened or count
        assert count <= opened + 40, (opened, count)
"""


@pytest.mark.parametrize("seconds", [1.2, pytest.param(10, marks=pytest.mark.slow)])
def test_processes_read_while_others_evict_and_damage(bucket, kept, tmp_path, seconds):
    """The cache holds a third of the archive: each deletes what the others are about to read."""
    voxels = save(bucket, shape=(1, 64, 64, 64), chunk=16)
    np.save(tmp_path / "voxels.npy", voxels)
    limit = voxels.nbytes // 3
    config = {
        "voxarray.remote-options": {"s3": buckets.options(bucket.endpoint)},
        "voxarray.remote-cache": limit,
        "voxarray.remote-cache-directory": str(kept),
        "voxarray.threads": 2,
    }
    facts = {"config": config, "path": f"{bucket.url}/a.ome.zarr", "seconds": seconds}
    facts["voxels"] = str(tmp_path / "voxels.npy")
    readers = [
        subprocess.Popen(
            [
                sys.executable,
                "-c",
                READER,
                json.dumps({**facts, "seed": seed, "by_loops": HAS_LOOPS and seed > 0}),
            ],
            stderr=subprocess.PIPE,
            text=True,
        )
        for seed in range(3)
    ]
    chance, damaged = random.Random(0), 0
    try:
        while any(reader.poll() is None for reader in readers):
            for file in chance.sample(there := files(kept), min(2, len(there))):
                try:
                    damage(file, chance.choice(["cut", "flipped", "gone"]))
                    damaged += 1
                except (OSError, IndexError):  # evicted meanwhile, or cut before
                    continue
            time.sleep(0.005)
    finally:
        for reader in readers:
            reader.kill()
    errors = [reader.communicate()[1] for reader in readers]
    assert [reader.returncode for reader in readers] == [0, 0, 0], errors
    assert damaged > 20
    assert ChunkCache(str(kept), limit).size() <= limit * 1.25  # each may add before it looks
