"""Shards that stay open for the next read, and how few files a process may have open."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import dask.config
import numpy as np
import pytest
from archive_samples import archive, blobs

from voxarray.archive import handle_cache
from voxarray.archive.source import open_archive
from voxarray.geometry.selection import Selection

resource = pytest.importorskip("resource")

ARCHIVES = 80

READ_ALL = """
import resource, sys
import voxarray as vx
from voxarray.geometry.selection import Selection

def voxels(image):  # without tensors, which take longer to load than all this
    return image.source.read(Selection.whole(image.shape))

folder, limit, number = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
images = [vx.ScalarImage(f"{folder}/{i}.ome.zarr") for i in range(number)]
for _ in range(2):
    for i, image in enumerate(images):
        assert (voxels(image) == i).all()
others = []
try:
    while True:
        others.append(open("/dev/null"))
except OSError:
    for file in others[-3:]:
        file.close()
for i in range(number):
    assert (voxels(vx.ScalarImage(f"{folder}/{i}.ome.zarr")) == i).all()
"""


@pytest.mark.parametrize("codec", ["default", pytest.param("raw", marks=pytest.mark.slow)])
def test_many_archives_are_read_where_few_files_may_be_open(tmp_path, codec):
    for i in range(ARCHIVES):
        archive(tmp_path / f"{i}.ome.zarr", np.full((1, 4, 5, 6), i, "i2"), codec=codec)
    command = [sys.executable, "-c", READ_ALL, str(tmp_path), "64", str(ARCHIVES)]
    seen = subprocess.run(command, capture_output=True, text=True, check=False)
    assert seen.returncode == 0, seen.stderr


def test_many_shards_are_read_where_few_files_may_be_open(tmp_path):
    stored = blobs((40, 9, 10, 11))
    path = archive(tmp_path / "a.ome.zarr", stored, chunk=2)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Beside what earlier tests of this process keep open, such as connections to buckets.
    few = len(os.listdir("/dev/fd")) + 150
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, few), hard))
    try:
        source = open_archive(path)
        assert len(list(source.array.layout.shards())) > 200
        np.testing.assert_array_equal(source.read(Selection.whole(source.shape)), stored)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_threads_that_want_one_shard_open_it_once(tmp_path, monkeypatch):
    source = open_archive(archive(tmp_path / "a.ome.zarr", blobs((1, 40, 40, 40)), chunk=10))
    opened, opening = [], handle_cache._open
    started = threading.Barrier(4)

    def slowly(*arguments):
        opened.append(arguments[2])
        threading.Event().wait(0.05)
        return opening(*arguments)

    def read():
        started.wait()
        source.read(Selection.whole(source.shape))

    monkeypatch.setattr(handle_cache, "_open", slowly)
    with dask.config.set({"voxarray.threads": 4}):
        readers = [threading.Thread(target=read) for _ in range(4)]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
    assert len(opened) == len(set(opened))
